package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup"
)

// maxFaults is how many faults are printed one by one; --json has all.
const maxFaults = 50

func (a *app) verifyCommand() *cobra.Command {
	var require []string
	var unlock bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check the whole archive against the trust file",
		Long: `Read every byte of the archive and check it: digests, signatures, chains, trees, heads, locks, and how
complete each writer's stream is. Verify trusts nothing but the public keys in trust.stele, and needs
no key that opens a payload. With --unlock and a reader identity it also opens every record and
compares it with the commitment that the writer signed.

Each question has its own verdict: ` + strings.Join(backup.VerdictNames(), ", ") + `.
There is no single word for all of them. Without --require every verdict that was checked must hold.
With it those that are named must, and unchecked then counts as not holding. The exit code says which
failed: 'stele help exit-codes'.`,
		Example: `  stele verify
  stele verify --require integrity,completeness --json
  stele verify --archive file:///media/copy --trust trust.stele      # a plain copy is as good
  stele verify --unlock --as /etc/stele/reader`,
		Args: cobra.NoArgs,
		RunE: a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.verify(cmd.Context(), require, unlock) }),
	}
	cmd.Flags().StringSliceVar(&require, "require", nil, "verdicts that must hold: "+strings.Join(backup.VerdictNames(), ","))
	cmd.Flags().BoolVar(&unlock, "unlock", false, "open every record, with a reader identity, and check its commitment")
	return cmd
}

// verifyAnswer is a report, and which exit codes follow from it.
type verifyAnswer struct {
	Require []string       `json:"require,omitempty"`
	Exits   []int          `json:"exits"` // of all required verdicts that do not hold
	Report  *backup.Report `json:"report"`
}

func (a *app) verify(ctx context.Context, require []string, unlock bool) (answer, error) {
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
	p := a.progress("verifying")
	opt := backup.VerifyOptions{Progress: p.leaves}
	if unlock && archive.Founded() == nil {
		r, done, err := s.unlock(ctx, archive)
		if err != nil {
			return nil, err
		}
		defer done()
		opt.Reader = r
	}
	report, err := archive.Verify(ctx, opt)
	p.end()
	if err != nil {
		return nil, err
	}
	ans := verifyAnswer{require, failedVerdicts(report, require), report}
	return ans, exit(report.ExitCode(require...))
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
	if r.Disclosures > 0 {
		fmt.Fprintf(w, "\n%s in the control log: records left the archive unsealed\n", count(r.Disclosures, "disclosure"))
	}
	v.printLogs(w)
	v.printStreams(w)
	printFaults(w, "faults", r.Faults)
	printFaults(w, "seen, and harmless", r.Notices)
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
		printStreamTable(w, trouble)
	}
}

func printFaults(w io.Writer, heading string, faults []backup.Fault) {
	if len(faults) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s:\n", heading)
	for i, f := range faults {
		if i == maxFaults {
			fmt.Fprintf(w, "  and %d more; --json lists all\n", len(faults)-i)
			break
		}
		fmt.Fprintf(w, "  %s\n", printable(f.String(), 400))
	}
}
