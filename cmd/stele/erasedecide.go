package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup/erase"
)

func (a *app) eraseApproveCommand() *cobra.Command {
	file := ""
	cmd := &cobra.Command{
		Use:   "approve ID",
		Short: "Approve a request, as one of two",
		Long: `Approve a request, with the role file of an approver. It takes effect when two approvers have approved it.
While the archive has fewer than two approvers the policy root approves alone, and certificates say so.

With --file you see what you approve: the request file is checked against the archive and shown. What a recovery
(see 'stele recover') would let go is in the control log and is shown in any case; look with 'stele erase status ID'
before you approve. ID may be the
beginning of an id, at least eight digits. The approval counts once a compactor has put it into the control log.`,
		Example: `  stele erase approve 5b0f9e0c --as anna.stele --file request-5b0f9e0c.json`,
		Args:    takes("ID"),
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
			return a.decide(cmd.Context(), args[0], file, true, (*erase.Desk).Approve)
		}),
	}
	cmd.Flags().StringVar(&file, "file", "", "the request file")
	return cmd
}

func (a *app) eraseRejectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reject ID",
		Short: "Take an approval back, or say no",
		Long: `Take your approval of a request back, or say no to it. A request ends when two approvers have rejected it, or
when who made it does so before it is approved.`,
		Example: `  stele erase reject 5b0f9e0c --as anna.stele`,
		Args:    takes("ID"),
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
			return a.decide(cmd.Context(), args[0], "", false, (*erase.Desk).Reject)
		}),
	}
}

// requestAnswer is about one request.
type requestAnswer struct {
	Request *erase.Request `json:"request"`
	About   *aboutWhat     `json:"about,omitempty"`
	Inbox   int            `json:"inbox,omitempty"` // entries that no compactor has taken in yet, about whatever
	blind   bool           // somebody decides, without the request file
}

// aboutWhat is what a request file says.
type aboutWhat struct {
	Kind    string `json:"kind"`
	Value   string `json:"value,omitempty"`
	Scopes  int    `json:"scopes,omitempty"`
	Asked   string `json:"asked,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Checked bool   `json:"checked"` // by the pepper
}

func (r requestAnswer) print(w io.Writer) {
	q := r.Request
	fmt.Fprintf(w, "request   %s\n", q.ID)
	if b := r.About; b != nil {
		fmt.Fprintf(w, "about     %s\n", strings.TrimSpace(b.Kind+" "+b.Value+" "+b.Asked))
		if b.Reason != "" {
			fmt.Fprintf(w, "reason    %s\n", b.Reason)
		}
		if !b.Checked && b.Value != "" && b.Kind != "class" {
			fmt.Fprintln(w, "          your role file has no pepper: that it would erase just this could not be checked")
		}
	}
	if q.What == "" {
		fmt.Fprintln(w, "what you said waits in the inbox, and the request does, too: a compactor that runs takes both in within seconds, 'compactor --once' at once")
		return
	}
	fmt.Fprintf(w, "what      %s\nby        %s, %s\n", strings.TrimSpace(q.What+" "+q.Kind+q.Hold), q.By, q.Time.Format(time.RFC3339))
	if r := q.Recovery; r != nil {
		printRecovery(w, r)
	}
	for _, line := range q.Changes {
		fmt.Fprintf(w, "change    %s\n", line)
	}
	for _, v := range q.Approved {
		fmt.Fprintf(w, "approved  by %s, %s\n", v.By, v.Time.Format(time.RFC3339))
	}
	for _, v := range q.Rejected {
		fmt.Fprintf(w, "rejected  by %s, %s\n", v.By, v.Time.Format(time.RFC3339))
	}
	fmt.Fprintf(w, "standing  %s\n", inWords(q))
	if r.blind && q.What == "erase" {
		fmt.Fprintln(w, "blind     without the request file nothing shows whom it is about: --file FILE does, and 'stele erase reject' takes an approval back")
	}
	if q.Waits {
		fmt.Fprintln(w, "what you said just now waits in the inbox: "+takenIn)
	}
	if r.Inbox > 0 {
		fmt.Fprintf(w, "inbox     %s, of this request or another, that do not count yet: %s\n", count(r.Inbox, "entry"), takenIn)
	}
}

// problemWords say what a request waits for.
var problemWords = map[string]string{
	"custodian": "a custodian of the keys cannot be reached, or its disk is full or read-only: the log of the key service names it and says why; nothing is half done",
	"replica":   "the replica of the key store cannot be reached, or lacks something; nothing is half done",
	"selection": "the key service cannot open what it selects; reject it and ask again",
}

// inWords says where a request stands.
func inWords(q *erase.Request) string {
	out := q.Standing
	switch {
	case q.Standing == "pending":
		out = "pending, for approvals until " + q.Until.Format(time.RFC3339)
	case q.Standing == "expired":
		out = "expired: it was not approved by " + q.Until.Format(time.RFC3339) + "; ask again"
	case q.Standing == "superseded":
		out = "superseded: the policy has changed since; propose it again"
	case q.Left > 0:
		out += fmt.Sprintf(", under way: %d of %s erased, the others follow in parts, each when the control log has the one before", q.Erased, count(int(q.Erased+q.Left), "scope"))
	case q.Held > 0:
		out += fmt.Sprintf(", deferred: %s on hold until two approvers release it", count(q.Held, "scope"))
	case q.Retained > 0:
		out += fmt.Sprintf(", deferred: %s must be kept until %s", count(q.Retained, "scope"), q.Deferred.Format(time.RFC3339))
	case q.Problem != "":
		out += ", waits: " + problemWords[q.Problem]
	case q.Standing == "approved" && q.What == "erase" && q.Urgent:
		out += ", urgent: the key service carries it out within a minute"
	case q.Standing == "approved" && q.What == "erase":
		out += ", waits for the next batch; readers get no answer meanwhile, and 'stele erase run' does it now"
	case q.Batch > 1:
		out += fmt.Sprintf(", with %s", count(q.Batch-1, "other request"))
	case q.Nothing && q.Erased == 0:
		out += ": nothing is known that it selects, so nothing was erased and there is no certificate"
	}
	if !q.Overdue.IsZero() {
		out += "; overdue since " + q.Overdue.Format(time.RFC3339) + ": is the key service running, and which? 'stele verify' says more"
	}
	if q.Late > 0 {
		out += fmt.Sprintf("; %s granted too late, destroyed on arrival", count(q.Late, "scope"))
	}
	if q.Single {
		out += " (single control)"
	}
	return out
}

func (a *app) decide(ctx context.Context, id, file string, approves bool, say func(*erase.Desk, context.Context, string) (*erase.Request, error)) (answer, error) {
	_, desk, err := a.desk(ctx, "admin", "root.stele")
	if err != nil {
		return nil, err
	}
	ans := requestAnswer{blind: file == "" && approves}
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		o, err := desk.OpenFile(data)
		if o != nil && !strings.HasPrefix(o.ID, id) {
			return nil, usage("a request file is named after its request unless --out named it; ask for the right one who asked for the erasure", "%s is of the request %s, not of %s", file, o.ID, id)
		}
		if err != nil {
			return nil, err
		}
		id = o.ID // so it need not be in the log yet
		ans.About = &aboutWhat{o.Kind, o.Tenant + o.Subject + o.Session + o.Class, len(o.Scopes), o.Asked, o.Reason, o.Checked}
	}
	ans.Request, err = say(desk, ctx, id)
	return done(ans, err)
}

func (a *app) eraseStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status [ID]",
		Short: "Say where requests stand, and what was refused",
		Long: `List all requests, or say all that is known of one: who asked, who approved it, whether it is done, deferred
by a hold or a minimum retention, or waits for something. Refused entries are listed, too: somebody tried what
they may not. Needs the trust file only.`,
		Example: "  stele erase status\n  stele erase status 5b0f9e0c --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
			return a.eraseStatus(cmd.Context(), args)
		}),
	}
}

// statusAnswer lists requests.
type statusAnswer struct {
	Requests []erase.Request `json:"requests"`
	Refused  []erase.Refusal `json:"refused"`
	Clock    *erase.Clock    `json:"clock"`   // by which the key service erases what nobody asked for, beside its own
	Waiting  int             `json:"waiting"` // entries in the inbox, for a compactor to take in
}

func (s statusAnswer) print(w io.Writer) {
	rows := [][]string{{"REQUEST", "WHAT", "BY", "TIME", "APPROVALS", "STANDING"}}
	for i := range s.Requests {
		q := &s.Requests[i]
		rows = append(rows, []string{q.ID[:12], strings.TrimSpace(q.What + " " + q.Kind), q.By, q.Time.Format(time.RFC3339), fmt.Sprint(len(q.Approved)), inWords(q)})
	}
	table(w, rows)
	if word := apart(s.Clock, time.Now()); word != "" {
		fmt.Fprintf(w, "clock: %s\n", word)
	}
	if s.Waiting > 0 {
		fmt.Fprintf(w, "inbox: %s: %s\n", count(s.Waiting, "entry"), takenIn)
	}
	kinds := newAlike()
	for _, r := range slices.Backward(s.Refused) { // the newest first
		if kinds.one(r.Type + r.By + r.Why) {
			fmt.Fprintf(w, "refused: %s entry of %s on %s: %s\n", r.Type, whom(r.By), r.Time.Format(time.RFC3339), r.Why)
		}
	}
	if more := kinds.more(); more > 0 {
		fmt.Fprintf(w, "refused: … and %s more like these, older; --json lists all\n", grouped(more))
	}
}

func (a *app) eraseStatus(ctx context.Context, args []string) (answer, error) {
	_, desk, err := a.desk(ctx, "", "")
	if err != nil {
		return nil, err
	}
	if len(args) == 1 {
		r, err := desk.Find(ctx, args[0])
		if err != nil {
			return nil, err
		}
		ans := requestAnswer{Request: r}
		ans.Inbox, err = desk.Waiting(ctx)
		return done(ans, err)
	}
	var ans statusAnswer
	if ans.Requests, err = desk.Requests(ctx); err != nil {
		return nil, err
	}
	if ans.Clock, err = desk.Clock(ctx); err != nil {
		return nil, err
	}
	if ans.Waiting, err = desk.Waiting(ctx); err != nil {
		return nil, err
	}
	ans.Refused, err = desk.Refusals(ctx)
	return done(ans, err)
}

func whom(by string) string {
	if by == "" {
		return "somebody unknown"
	}
	return by
}
