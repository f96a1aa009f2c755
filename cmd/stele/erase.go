package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/logpipe"
)

func (a *app) eraseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "erase",
		Short: "Ask for an erasure, approve it, see where it stands",
		Long: `Erase what the archive holds of a person, a session, a tenant or a class: the keys of their records are
destroyed, and with them every copy of the records, in backups too. Somebody asks, two others approve, the key
service carries it out. What is asked for is written in a request file, for those who approve; the archive's
control log has a salted hash of it only.`,
		Example: `  stele erase request --subject user-17 --reason 'letter of 3 May' --as reader
  stele erase approve 5b0f9e0c --as anna.stele --file request-5b0f9e0c.json
  stele erase run
  stele erase status`,
	}
	cmd.AddCommand(a.eraseRequestCommand(), a.eraseApproveCommand(), a.eraseRejectCommand(), a.eraseRunCommand(), a.eraseStatusCommand(),
		a.eraseCertificateCommand())
	return a.group(cmd)
}

// targetFlags say what a request or a hold is about.
type targetFlags struct {
	target         erase.Target
	ids            string
	since, until   string
	urgent, dryRun bool
	out            string
}

// check reports a selection that is not exactly one thing: what is asked for by two would be neither both nor either.
func (f *targetFlags) check(verb, others string) error {
	var given []string
	for _, o := range []struct {
		flag string
		set  bool
	}{
		{"--tenant", f.target.Tenant != ""}, {"--subject", f.target.Subject != ""}, {"--session", f.target.Session != ""},
		{"--class", f.target.Class != ""}, {"--ids", f.ids != ""}, {"--since/--until", f.since != "" || f.until != ""},
	} {
		if o.set {
			given = append(given, o.flag)
		}
	}
	hint := "'stele " + verb + " --help' says what each takes; --subject takes a person in all tenants, --session a session whoever is in it"
	switch len(given) {
	case 1:
		return nil
	case 0:
		return usage(hint, "say what it is about, with one of --tenant, --subject, --session%s", others)
	}
	return usage(hint, "say one of %s: together they would select neither what both do nor what either does", strings.Join(given, ", "))
}

func (f *targetFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.target.Tenant, "tenant", "", "everything of this tenant")
	flags.StringVar(&f.target.Subject, "subject", "", "everything about this person")
	flags.StringVar(&f.target.Session, "session", "", "everything of this conversation or run")
	flags.StringVar(&f.target.Reason, "reason", "", "why; it is in the request file only")
	flags.StringVar(&f.out, "out", "", "the request file (default: request-ID.json in the current directory)")
}

func (a *app) eraseRequestCommand() *cobra.Command {
	f := targetFlags{}
	cmd := &cobra.Command{
		Use:   "request",
		Short: "Ask that something be erased",
		Long: `Ask that something be erased, and write a request file: hand it to those who approve, over a channel that
may carry personal data, and delete it when it is done. Without --as, the reader identity asks; approvers,
holders and the policy root may ask, too.

What is asked for is one thing: a tenant, a person in all tenants, a session, a class, records by id, or all of a
time. Scopes are the smallest unit that can be erased: records of one person, session and class within an hour. A
request by record ids or by time takes whole scopes: --dry-run says what else goes, and changes nothing.`,
		Example: `  stele erase request --subject user-17 --dry-run
  stele erase request --subject user-17 --reason 'letter of 3 May'
  stele erase request --ids ids.txt --urgent --as anna.stele`,
		Args: takes(),
		RunE: a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.eraseRequest(cmd.Context(), f) }),
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.target.Class, "class", "", "everything of this retention class")
	flags.StringVar(&f.ids, "ids", "", "the scopes of records whose ids are in this file, one a line")
	flags.StringVar(&f.since, "since", "", "the scopes of records from this time on")
	flags.StringVar(&f.until, "until", "", "the scopes of records before this time")
	flags.BoolVar(&f.urgent, "urgent", false, "do not wait for the next batch")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only say what would be erased")
	return cmd
}

// eraseAnswer is about a request or a hold that was made, or would be.
type eraseAnswer struct {
	ID     string         `json:"id,omitempty"`
	File   string         `json:"file,omitempty"` // path of the request file
	DryRun bool           `json:"dry_run,omitempty"`
	Takes  *backup.Census `json:"takes,omitempty"`
	Scopes int            `json:"scopes,omitempty"`
	Known  *int           `json:"known,omitempty"` // scopes of whom it is about that have keys now; absent: it was not looked up
	what   string
	next   string // what has to come before it has an effect
	unseen bool   // it could not be looked up
}

func (e eraseAnswer) print(w io.Writer) {
	if t := e.Takes; t != nil {
		fmt.Fprintf(w, "takes     %s in %s\n", count(t.Records, "record"), count(e.Scopes, "scope"))
		if other := t.Records - t.Asked; other > 0 {
			fmt.Fprintf(w, "          %s of them nobody asked for: they share a scope with one that was\n", count(other, "record"))
		}
		if t.Missing > 0 {
			fmt.Fprintf(w, "          %s in the file that no record has\n", count(t.Missing, "id"))
		}
	}
	if e.DryRun {
		fmt.Fprintln(w, "dry run: nothing was asked for")
		return
	}
	fmt.Fprintf(w, "%s %s\n", e.what, e.ID)
	if e.File != "" {
		fmt.Fprintf(w, "file      %s: it names whom this is about. Hand it to those who decide, and delete it afterwards\n", e.File)
	}
	switch {
	case e.unseen:
		fmt.Fprintln(w, "look      whether the archive holds anything of it could not be seen from here; 'stele erase status' says so once it was carried out")
	case e.Known != nil && *e.Known == 0:
		fmt.Fprintln(w, "NOTHING   the archive holds nothing of it that can be read: it was never there, is erased already, or has not arrived yet. If that is a mistake, 'stele erase reject'")
	}
	if e.next != "" {
		fmt.Fprintf(w, "next      %s\n", e.next)
	}
}

func (a *app) eraseRequest(ctx context.Context, f targetFlags) (answer, error) {
	if err := f.check("erase request", ", --class, --ids, or times"); err != nil {
		return nil, err
	}
	s, desk, err := a.desk(ctx, "reader", "reader.stele")
	if err != nil {
		return nil, err
	}
	ans := eraseAnswer{DryRun: f.dryRun, what: "request  "}
	if err := f.resolve(ctx, s, &ans); err != nil {
		return nil, err
	}
	if f.dryRun {
		return ans, nil
	}
	filed, err := desk.Request(ctx, erase.Ask{Target: f.target, Urgent: f.urgent})
	if err != nil {
		return nil, err
	}
	ans.next = fmt.Sprintf("for those who approve: 'stele erase approve %s --file FILE --as THEIRS'", filed.ID[:12])
	return f.written(ans, filed)
}

// resolve finds the scopes of a request by ids or time, and counts what goes if that is asked for.
func (f *targetFlags) resolve(ctx context.Context, s *site, ans *eraseAnswer) error {
	whole := f.ids != "" || f.since != "" || f.until != ""
	if !whole && !f.dryRun {
		if f.target.Class == "" {
			ans.Known = f.known(ctx, s)
			ans.unseen = ans.Known == nil
		}
		return nil
	}
	archive, err := s.archive(ctx)
	if err != nil {
		return err
	}
	switch t := &f.target; {
	case whole:
		ans.Takes, err = f.wholeScopes(ctx, archive)
	case t.Class != "":
		return usage("", "a dry run of a class would count all of it: 'stele segments' shows classes and sizes")
	default:
		r, done, err := s.unlock(ctx, archive)
		if err != nil {
			return err
		}
		defer done()
		if ans.Takes, err = r.Census(ctx, t.Tenant, t.Subject, t.Session); err != nil {
			return err
		}
		if ans.Takes.Records == 0 {
			return errors.New("the archive holds nothing that can be read of it: it was never there, is erased already, or has not arrived yet")
		}
	}
	if err == nil {
		ans.Scopes = len(ans.Takes.Scopes)
	}
	return err
}

// known is how many scopes there are of whom a request is about; nil if that cannot be seen from here: who asks need not be
// able to look.
func (f *targetFlags) known(ctx context.Context, s *site) *int {
	if _, err := s.role("reader", "reader.stele", "recovery.stele"); err != nil {
		return nil
	}
	archive, err := s.archive(ctx)
	if err != nil {
		return nil
	}
	r, done, err := s.unlock(ctx, archive)
	if err != nil {
		return nil
	}
	defer done()
	n, err := r.Known(ctx, f.target.Tenant, f.target.Subject, f.target.Session)
	if err != nil {
		return nil
	}
	return &n
}

func (f *targetFlags) wholeScopes(ctx context.Context, archive *backup.Archive) (c *backup.Census, err error) {
	var since, until time.Time
	var ids []logpipe.ID
	now := time.Now()
	if f.ids != "" {
		if ids, err = readIDs(f.ids); err != nil {
			return nil, err
		}
		f.target.Asked = count(len(ids), "record id")
	}
	if f.since != "" {
		if since, err = parseTime(f.since, now); err != nil {
			return nil, usage("", "--since: %w", err)
		}
	}
	if f.until != "" {
		if until, err = parseTime(f.until, now); err != nil {
			return nil, usage("", "--until: %w", err)
		}
	}
	if ids == nil {
		f.target.Asked = fmt.Sprintf("records from %q until before %q", f.since, f.until)
	}
	if c, err = archive.Census(ctx, ids, since, until); err == nil && c.Asked == 0 {
		err = errors.New("no committed record is selected")
	}
	if err == nil {
		f.target.Scopes = c.Scopes
	}
	return c, err
}

// readIDs reads ids of records, one a line.
func readIDs(path string) (ids []logpipe.ID, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for n, line := range strings.Split(string(data), "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		raw, err := hex.DecodeString(line)
		if err != nil || len(raw) != len(logpipe.ID{}) {
			return nil, usage("'stele search --json' shows ids", "%s line %d: %q is no record id (32 hex digits)", path, n+1, line)
		}
		ids = append(ids, logpipe.ID(raw))
	}
	if len(ids) == 0 {
		return nil, usage("", "%s holds no ids", path)
	}
	return ids, nil
}

// written writes the request file.
func (f *targetFlags) written(ans eraseAnswer, filed *erase.Filed) (answer, error) {
	ans.ID, ans.File = filed.ID, f.out
	if ans.File == "" {
		ans.File = "request-" + filed.ID[:8] + ".json"
	}
	return done(ans, hinted(replaceFile(ans.File, filed.File), "it is asked for, but those who decide cannot see what: reject it and ask again"))
}
