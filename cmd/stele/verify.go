package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/cmd/internal/advice"
)

// maxFaults is how many faults, or streams, are printed one by one; --json has twice as many faults of each verdict, and
// counts all.
const maxFaults = 50

func (a *app) verifyCommand() *cobra.Command {
	var require []string
	var since []string
	var unlock bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check the whole archive against the trust file",
		Long: `Read every byte of the archive and check it: digests, signatures, chains, trees, heads, locks, and how
complete each writer's stream is. Verify trusts nothing but the public keys in trust.stele, and needs
no key that opens a payload. With --unlock and a reader identity it also opens every record and
compares it with the commitment that the writer signed.

Stele keeps the newest head of the control log that you saw of an archive, and an archive that does not
continue it has no integrity. --since does the same for heads from elsewhere: what an auditor kept, or
what a witness cosigned.

Each question has its own verdict: ` + strings.Join(backup.VerdictNames(), ", ") + `.
There is no single word for all of them. Without --require every verdict that was checked must hold.
With it those that are named must, and unchecked then counts as not holding. The exit code says which
failed: 'stele help exit-codes'.`,
		Example: `  stele verify
  stele verify --require integrity,completeness --json
  stele verify --archive file:///media/copy --trust trust.stele      # a plain copy is as good
  stele verify --since last-year.checkpoint
  stele verify --unlock --as /etc/stele/reader`,
		Args: takes(),
		RunE: a.verb(func(cmd *cobra.Command, _ []string) (answer, error) {
			if cmd.Flags().Changed("require") && len(require) == 0 {
				return nil, usage("name verdicts, or leave --require out", "--require is empty, so that nothing would be required")
			}
			return a.verify(cmd.Context(), require, since, unlock)
		}),
	}
	cmd.Flags().StringSliceVar(&require, "require", nil, "verdicts that must hold: "+strings.Join(backup.VerdictNames(), ","))
	cmd.Flags().StringSliceVar(&since, "since", nil, "files with signed heads of the control log that were seen before: the archive must continue them")
	cmd.Flags().BoolVar(&unlock, "unlock", false, "open every record, with a reader identity, and check its commitment")
	return cmd
}

// verifyAnswer is a report, and which exit codes follow from it.
type verifyAnswer struct {
	Require []string       `json:"require,omitempty"`
	Exits   []int          `json:"exits"` // of all required verdicts that do not hold
	Report  *backup.Report `json:"report"`
}

func (a *app) verify(ctx context.Context, require, since []string, unlock bool) (answer, error) {
	for _, name := range require {
		if !slices.Contains(backup.VerdictNames(), name) {
			return nil, usage("the verdicts are "+strings.Join(backup.VerdictNames(), ", "), "--require names no verdict %q", name)
		}
	}
	s, err := a.site("reader")
	if err != nil {
		return nil, err
	}
	archive, err := s.suspect(ctx)
	if err != nil {
		return nil, err
	}
	opt := backup.VerifyOptions{}
	if opt.Since, err = s.headsBefore(ctx, archive, since); err != nil {
		return nil, err
	}
	p := a.progress("verifying")
	opt.Progress = p.leaves
	if unlock && archive.Founded() == nil {
		r, done, err := s.unlock(ctx, archive)
		switch {
		case errors.Is(err, custodian.ErrDestroyed), errors.Is(err, custodian.ErrUnknown):
			opt.Locked = err // somebody did away with the keys: this is for the report
		case err != nil:
			return nil, err
		default:
			defer done()
			opt.Reader = r
		}
	}
	report, err := archive.Verify(ctx, opt)
	p.end()
	if err != nil {
		return nil, err
	}
	ans := verifyAnswer{require, failedVerdicts(report, require), report}
	code := report.ExitCode(require...)
	if err := archive.Founded(); code != exitOK && errors.As(err, new(*backup.ForeignError)) {
		return ans, &failure{code, err, advice.For(err, s.Settings)}
	}
	return ans, exit(code)
}

func (v verifyAnswer) print(w io.Writer) {
	r := v.Report
	fmt.Fprintf(w, "%s (%s)\n%s, %s, %s read, %s of the control log\n\n", r.Name, r.Archive, count(r.Records, "record"),
		count(len(r.Logs), "log"), size(r.Bytes), count(r.Control, "entry"))
	rows := [][]string{}
	for _, name := range backup.VerdictNames() {
		state := string(r.Verdicts[name].State)
		if slices.Contains(v.Require, name) {
			state += " (required)"
		}
		rows = append(rows, []string{name, state, r.Verdicts[name].Detail})
	}
	table(w, rows)
	v.printAnchors(w)
	for _, since := range r.Since {
		fmt.Fprintf(w, "\ncontinues the head of %s that was seen before; %s since\n", count(since.Size, "entry"), count(since.Added, "entry"))
	}
	if r.Disclosures > 0 {
		fmt.Fprintf(w, "\n%s in the control log: records left the archive unsealed\n", count(r.Disclosures, "disclosure"))
	}
	v.printLogs(w)
	v.printStreams(w)
	v.printQuarantine(w)
	faults, notices := uint64(0), uint64(0)
	for _, verdict := range r.Verdicts {
		faults, notices = faults+verdict.Faults, notices+verdict.Notices
	}
	printFaults(w, "faults", r.Faults, faults)
	printFaults(w, "seen, and harmless", r.Notices, notices)
	if len(r.Faults) > 0 {
		fmt.Fprintln(w, "\nwhat to do: docs/OPERATIONS.md, 'Exit codes'; do not delete or mend anything before")
	}
}

// printQuarantine says what was set aside, and where it lies.
func (v verifyAnswer) printQuarantine(w io.Writer) {
	r := v.Report
	if r.Quarantined == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s in quarantine: no valid frames of authentic streams, so they were set aside\n", count(r.Quarantined, "message"))
	for _, reason := range slices.Sorted(maps.Keys(r.QuarantinedFor)) {
		fmt.Fprintf(w, "  %s: %s\n", grouped(r.QuarantinedFor[reason]), printable(reason, 200))
	}
	fmt.Fprintln(w, "each line of these objects says where a message came from and why it lies here:")
	for i, key := range r.Quarantine {
		if i == maxQuarantine {
			fmt.Fprintf(w, "  … and %d more; --json lists a hundred, 'stele segments --json' all\n", len(r.Quarantine)-i)
			break
		}
		fmt.Fprintf(w, "  %s\n", key)
	}
}

// maxQuarantine is how many quarantine objects are printed one by one.
const maxQuarantine = 5

// printAnchors says how much of the control log others have seen.
func (v verifyAnswer) printAnchors(w io.Writer) {
	rows := [][]string{{"SEEN BY", "", "ENTRIES", "BEHIND", "WHEN"}}
	for _, a := range v.Report.Anchors {
		rows = append(rows, []string{a.Name, a.Kind, grouped(a.Size), grouped(a.Behind), when(a.Time)})
	}
	if len(rows) > 1 {
		fmt.Fprintln(w)
		table(w, rows)
	}
}

func (v verifyAnswer) printLogs(w io.Writer) {
	rows := [][]string{{"LOG", "COMMITS", "LEAVES", "PROVABLE", "NEWEST"}}
	for _, l := range v.Report.Logs {
		rows = append(rows, []string{l.Origin, grouped(l.Commits), grouped(l.Size), grouped(l.Provable), when(l.Newest)})
	}
	if len(rows) > 1 {
		fmt.Fprintln(w)
		table(w, rows)
	}
}

// printStreams prints the streams that are not plainly complete.
func (v verifyAnswer) printStreams(w io.Writer) {
	var trouble []backup.StreamReport
	for _, s := range v.Report.Streams {
		if !s.Complete || s.Acknowledged != "" {
			trouble = append(trouble, s)
		}
	}
	if len(trouble) > 0 {
		fmt.Fprintf(w, "\n%s of %s with trouble:\n", grouped(len(trouble)), count(len(v.Report.Streams), "stream"))
		printStreamTable(w, trouble[:min(len(trouble), maxFaults)])
		if more := len(trouble) - maxFaults; more > 0 {
			fmt.Fprintf(w, "… and %s more: 'stele audit' lists all\n", grouped(more))
		}
	}
}

func printFaults(w io.Writer, heading string, faults []backup.Fault, all uint64) {
	if len(faults) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s:\n", heading)
	shown, kinds := uint64(0), newAlike()
	for _, f := range faults {
		if shown == maxFaults {
			break
		}
		if kinds.one(f.Verdict + f.Detail) {
			shown++
			fmt.Fprintf(w, "  %s\n", printable(f.String(), 400))
		}
	}
	if more := all - shown; more > 0 {
		of := ""
		if kinds.more() > 0 {
			of = " (of one kind ten are shown)"
		}
		fmt.Fprintf(w, "  … and %s more%s; --json lists the first hundred of each verdict and counts all\n", grouped(more), of)
	}
}
