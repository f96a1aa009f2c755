package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup/erase"
)

func (a *app) policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Show the access policy, propose a change of it, approve one",
		Long: `The access policy says who may do what, how long each class is kept, and what is erased without a request.
The policy root changes it alone until the archive has two approvers; from then on a change is proposed, and
takes effect when two approvers have approved it. Writers are the admin's business: 'stele key'.`,
		Example: `  stele policy show --draft > draft.json
  stele policy propose draft.json --as anna.stele
  stele policy approve 5b0f9e0c --as bert.stele`,
	}
	draft := false
	show := &cobra.Command{
		Use:   "show",
		Short: "Show the access policy",
		Long: `Show the access policy in force: who plays which role, what is kept and erased, and whether one person decided
it. What is proposed stands below: by whom, what it would change, who has approved it, and how many approvals
it lacks. With --draft, write the policy as JSON to be changed and proposed: all but the writers and intake
keys. Needs the trust file only.`,
		Example: "  stele policy show\n  stele policy show --draft > draft.json",
		Args:    takes(),
		RunE: a.verb(func(cmd *cobra.Command, _ []string) (answer, error) {
			ans, err := a.policyShow(cmd.Context())
			if ans != nil && draft {
				return draftAnswer{ans.Draft}, err
			}
			return done(ans, err)
		}),
	}
	show.Flags().BoolVar(&draft, "draft", false, "write a draft to change")
	propose := &cobra.Command{
		Use:   "propose FILE",
		Short: "Propose a change of the access policy",
		Long: `Propose that the access policy become what a draft says, changed from what 'stele policy show --draft' wrote. It
is refused if the policy has changed since, and if the archive could not go on with it: with another number of
partitions, a period or lock that there is not, or without any compactor, key service or reader.`,
		Example: "  stele policy propose draft.json --as anna.stele",
		Args:    takes("FILE"),
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
			return a.policyPropose(cmd.Context(), args[0])
		}),
	}
	approve := &cobra.Command{
		Use:   "approve ID",
		Short: "Approve a change of the access policy",
		Long: `Approve a proposed change, with the role file of an approver. See what it is first: 'stele erase status ID' shows
what goes and what comes.`,
		Example: "  stele policy approve 5b0f9e0c --as bert.stele",
		Args:    takes("ID"),
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
			return a.decide(cmd.Context(), args[0], "", true, (*erase.Desk).Approve)
		}),
	}
	roster := &cobra.Command{
		Use:   "roster",
		Short: "Have the policy root vouch for who is in the policy",
		Long: `Put a roster of the access policy in force into the control log: one hash over all names and keys, signed by the policy
root, by which evidence shows one of them in some hundred bytes. The root writes one behind each policy of its
own; after a policy that two approvers made, this does. Without it evidence carries the whole policy.`,
		Example: "  stele policy roster --as /media/usb/admin",
		Args:    takes(),
		RunE: a.verb(func(cmd *cobra.Command, _ []string) (answer, error) {
			_, desk, err := a.desk(cmd.Context(), "admin", "root.stele")
			if err != nil {
				return nil, err
			}
			return done(rosterAnswer{}, desk.Roster(cmd.Context()))
		}),
	}
	cmd.AddCommand(show, propose, approve, roster)
	return a.group(cmd)
}

// policyAnswer is the access policy in force.
type policyAnswer struct {
	Version   uint64          `json:"version"`
	Approvers []string        `json:"approvers"`
	Init      []string        `json:"made_by_init"`
	Single    bool            `json:"single_control"`
	Draft     json.RawMessage `json:"draft"`
	Proposed  []proposal      `json:"proposed"` // what waits for approvals
	Inbox     int             `json:"inbox"`    // entries that no compactor has taken in yet
}

// proposal is a change of the policy that waits.
type proposal struct {
	*erase.Request
	Lacks int `json:"lacks"` // approvals
}

func (p *policyAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "version    %d\n", p.Version)
	names := slices.Clone(p.Approvers)
	for i, n := range names {
		if slices.Contains(p.Init, n) {
			names[i] += " (key made by init)"
		}
	}
	if len(names) == 0 {
		names = []string{"none"}
	}
	fmt.Fprintf(w, "approvers  %s\n", strings.Join(names, ", "))
	if p.Single {
		fmt.Fprintln(w, "           single control: no two approvers have decided this policy, and certificates say so")
	}
	printDraft(w, p.Draft)
	p.printProposed(w)
}

// printProposed says what waits for approvals, and for how many.
func (p *policyAnswer) printProposed(w io.Writer) {
	for _, q := range p.Proposed {
		fmt.Fprintf(w, "\nwaits     policy %s, by %s, until %s: %s", q.ID[:12], q.By, q.Until.Format(time.RFC3339), count(q.Lacks, "more approval"))
		for i, v := range q.Approved {
			fmt.Fprintf(w, "%s %s", []string{"; approved by", ","}[min(i, 1)], v.By)
		}
		for i, v := range q.Rejected {
			fmt.Fprintf(w, "%s %s", []string{"; rejected by", ","}[min(i, 1)], v.By)
		}
		fmt.Fprintln(w)
		for _, line := range q.Changes {
			fmt.Fprintf(w, "          %s\n", printable(line, 400))
		}
		fmt.Fprintf(w, "next      %s\n", approveNext("policy", q.ID))
	}
	if p.Inbox > 0 {
		fmt.Fprintf(w, "\ninbox     %s: %s\n", count(p.Inbox, "entry"), takenIn)
	}
}

// draftAnswer is a draft alone.
type draftAnswer struct{ draft json.RawMessage }

func (d draftAnswer) print(w io.Writer) { fmt.Fprintf(w, "%s\n", d.draft) }
func (d draftAnswer) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"draft": d.draft})
}

func (a *app) policyShow(ctx context.Context) (*policyAnswer, error) {
	_, desk, err := a.desk(ctx, "", "")
	if err != nil {
		return nil, err
	}
	p, err := desk.Policy(ctx)
	if err != nil {
		return nil, err
	}
	ans := &policyAnswer{Version: p.Version, Approvers: p.Approvers, Init: p.Init, Single: p.Single, Draft: p.JSON, Proposed: []proposal{}}
	requests, err := desk.Requests(ctx)
	if err != nil {
		return nil, err
	}
	need := 1 // the policy root
	if p.Dual {
		need = 2
	}
	for i := range requests {
		if q := &requests[i]; q.What == "policy" && q.Standing == "pending" {
			ans.Proposed = append(ans.Proposed, proposal{q, max(0, need-len(q.Approved))})
		}
	}
	ans.Inbox, err = desk.Waiting(ctx)
	return ans, err
}

func (a *app) policyPropose(ctx context.Context, path string) (answer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	_, desk, err := a.desk(ctx, "admin", "root.stele")
	if err != nil {
		return nil, err
	}
	filed, err := desk.Propose(ctx, data)
	if err != nil {
		return nil, err
	}
	return eraseAnswer{ID: filed.ID, what: "proposed, for approval:", next: approveNext("policy", filed.ID)}, nil
}

// approveNext is what those do who decide, the verb of policy or erase.
func approveNext(verb, id string) string {
	return fmt.Sprintf("who decides looks with 'stele erase status %s', then 'stele %s approve %s --as FILE'", id[:12], verb, id[:12])
}

// rosterAnswer says that it is done.
type rosterAnswer struct{}

func (rosterAnswer) print(w io.Writer) {
	fmt.Fprintln(w, "the roster of the policy in force is in the control log")
}
