package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/backup/rangeproof"
)

// Beyond so much, a proof of a search is not begun without a yes.
const (
	proveLeaves = 100_000
	proveBytes  = 16 << 20
)

// proveFlags are those of 'stele search --prove'.
type proveFlags struct {
	prove, whole, yes bool
	out               string
}

const searchProveHelp = `--prove --out FILE answers with nothing left out: the file shows every leaf of the segments that hold
records of that time, so whoever checks it ('stele check') finds the matches himself, each with its
writer's signature. It works for what is in clear, kind, model and times, and needs no reader identity.
What it takes is said first; above 100,000 leaves or 16 MB it asks, or wants --yes. That the leaves which
are left out are of other times is the word of the compactors whose commits say so; with --whole all
leaves of all logs are shown, and nobody has to believe that. A file answers its own question and no wider
or narrower one, with --whole too: only what was asked for is shown with its signatures.`

func (f *proveFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.prove, "prove", false, "write a file that shows every leaf in question, to --out")
	flags.StringVar(&f.out, "out", "", "with --prove: the file to write")
	flags.BoolVar(&f.whole, "whole", false, "with --prove: over whole logs")
	flags.BoolVar(&f.yes, "yes", false, "with --prove: do not ask, however much it is")
}

func (f *proveFlags) check() error {
	if !f.prove && (f.whole || f.yes || f.out != "") {
		return usage("add --prove", "--out, --whole and --yes are for a proof")
	}
	return nil
}

// searchProof says what was written.
type searchProof struct {
	Path    string             `json:"path"`
	Bytes   int                `json:"bytes"`
	Matches int                `json:"matches"`
	Signed  int                `json:"signed"` // matches that are shown with their writers' signatures
	Cost    rangeproof.Cost    `json:"cost"`
	Ranges  []rangeproof.Range `json:"ranges"`
	Answer  rangeproof.Summary `json:"answer"`
	Whole   bool               `json:"whole"`   // nothing is missing: 'stele check' ends with 0, or with 12
	Missing []string           `json:"missing"` // what is
}

func (a *app) searchProve(ctx context.Context, f filter, p proveFlags, limited bool) (answer, error) {
	q, err := f.query(time.Now())
	switch {
	case err != nil:
		return nil, err
	case f.Tenant+f.Subject+f.Session != "":
		return nil, usage("search without --prove, then 'stele prove ID…'", "tenant, subject and session are sealed: only what is in clear can be proved complete")
	case limited:
		return nil, usage("", "--limit leaves something out, and --prove is for nothing left out")
	case p.out == "":
		return nil, usage("", "--out is required: the file of the proof")
	}
	query := f.clear(q)
	if err := query.Check(); err != nil {
		return nil, usage("", "%w", err)
	}
	if _, err := os.Lstat(p.out); !errors.Is(err, fs.ErrNotExist) {
		return nil, usage("name another file, or remove it", "%s is there already", p.out)
	}
	s, err := a.site("")
	if err != nil {
		return nil, err
	}
	archive, err := s.archive(ctx)
	if err != nil {
		return nil, err
	}
	ans := &searchProof{Path: p.out}
	made, err := archive.Answer(ctx, query, p.whole, func(c rangeproof.Cost) error {
		ans.Cost = c
		return a.agree(c, p.yes)
	})
	if err != nil {
		return nil, err
	}
	trust, err := s.trustFile()
	if err != nil {
		return nil, err
	}
	report, err := evidence.Check(trust, made.File) // nobody should get a proof that does not hold
	if err != nil {
		return nil, fmt.Errorf("the proof does not hold, 'stele verify' says more: %w", err)
	}
	ans.Bytes, ans.Ranges, ans.Answer, ans.Whole, ans.Missing = len(made.File), report.Ranges, *report.Answer, report.Whole(), []string{}
	ans.Matches, ans.Signed = int(ans.Answer.Matches), int(ans.Answer.Signed)
	for _, m := range report.Missing {
		if m.What == "witness" {
			continue // nobody asked for one
		}
		ans.Missing = append(ans.Missing, fmt.Sprintf("%s: %s: %s", m.About, sentence(m.What), m.Detail))
	}
	return done(ans, os.WriteFile(p.out, made.File, 0o600))
}

// agree says what a proof takes, and asks if that is much.
func (a *app) agree(p rangeproof.Cost, yes bool) error {
	cost := fmt.Sprintf("the proof shows %s of %s; it reads %s in %s and makes a file of up to %s",
		count(p.Leaves, "leaf"), count(len(p.Logs), "log"), size(p.Read), count(p.Segments, "segment"), size(p.File))
	if yes || p.Leaves <= proveLeaves && p.File <= proveBytes {
		fmt.Fprintln(a.stderr, cost)
		return nil
	}
	if p.File > evidence.MaxLen {
		cost += fmt.Sprintf(", and no file may have more than %s", size(evidence.MaxLen))
	}
	return a.ask(cost, "ask for a shorter time, or say --yes")
}

func (p *searchProof) print(w io.Writer) {
	rows := [][]string{{"ID", "TIME", "KIND", "MODEL", "LOG", "LEAF"}}
	for i := range p.Ranges {
		for k := range p.Ranges[i].Matches {
			m := &p.Ranges[i].Matches[k]
			if len(rows) > shownMatches {
				break
			}
			rows = append(rows, []string{m.ID, m.Time.UTC().Format("2006-01-02T15:04:05.000Z"), m.Kind, printable(m.Clear["model"], 64), p.Ranges[i].Log, grouped(m.Index)})
		}
	}
	if len(rows) > 1 {
		table(w, rows)
		sayMore(w, p.Matches-(len(rows)-1))
	}
	fmt.Fprintf(w, "%s found, among all of %s\n", count(p.Matches, "record"), count(p.Cost.Leaves, "leaf"))
	if p.Cost.Open > 0 {
		fmt.Fprintf(w, "%s came since and cannot be proved yet\n", count(p.Cost.Open, "leaf"))
	}
	fmt.Fprintf(w, "wrote %s: %s; 'stele check %s --trust trust.stele' checks it anywhere with that file alone\n", p.Path, size(p.Bytes), p.Path)
	if !p.Whole {
		for _, m := range p.Missing {
			fmt.Fprintf(w, "not shown  %s\n", printable(m, 400))
		}
		fmt.Fprintln(w, "so 'stele check' ends with 11")
	}
}

// printAnswer says how far a file answers its question.
func printAnswer(w io.Writer, a *rangeproof.Summary) {
	as := "of a time that nobody signed"
	if !a.AsOf.IsZero() {
		as = "as of " + a.AsOf.UTC().Format(time.RFC3339) + ", by the clock of the compactor"
	}
	fmt.Fprintf(w, "question %s, %s\n%s, %s signed by their writers\n", printable(a.Query.String(), 400), as, count(a.Matches, "match"), grouped(a.Signed))
	for _, l := range a.Logs {
		fmt.Fprintf(w, "log %s: %s of %s shown\n", printable(l.Log, 200), grouped(l.Shown), count(l.Size, "leaf"))
	}
}

// printRange prints an answer with nothing left out.
func printRange(w io.Writer, r *rangeproof.Range) {
	match := "match"
	if len(r.Matches) == 1 {
		match = "matches"
	}
	fmt.Fprintf(w, "range %s, leaves %s to %s of %s: %s of %s %s\n", printable(r.Log, 200), grouped(r.First), grouped(r.First+r.Leaves-1), grouped(r.Size),
		grouped(len(r.Matches)), count(r.Records, "record"), match)
	for i := range r.Matches[:min(shownMatches, len(r.Matches))] {
		m := &r.Matches[i]
		fmt.Fprintf(w, "  %s  %s  %-6s %s  leaf %s\n", m.ID, m.Time.UTC().Format(time.RFC3339Nano), m.Kind, printable(m.Clear["model"], 64), grouped(m.Index))
	}
	sayMore(w, len(r.Matches)-shownMatches)
}

// shownMatches is how many matches are listed for people: a file holds a million, and what it shows stands behind them.
const shownMatches = 100

func sayMore(w io.Writer, more int) {
	if more > 0 {
		fmt.Fprintf(w, "  … and %s more, all of them in the file: --json lists them\n", grouped(more))
	}
}
