package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/backup/rangeproof"
)

func (a *app) checkCommand() *cobra.Command {
	f, asOf := filter{}, ""
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check an evidence file or a certificate offline, with the trust file alone",
		Long: `Check a file that 'stele prove', 'stele search --prove' or 'stele erase certificate' wrote. It needs the
trust file and no archive, no key and no network; nothing is fetched. It says line by line what the file
shows and by whose key, then what it could have shown and does not, then what no such file shows.

The exit code is 0 if every record is shown from its writer's key to the head of the control log, every
erasure from its request to its custodians (what that could not close is said, and is not held against it),
and every leaf of every log that a search has to see, each match with its writer's signature; 11 if
a part of that is missing from the file, 12 if only the witnesses or anchors are missing that the trust file
wants, 10 if something in it does not hold (then it shows nothing), and 3 if it is no evidence file, or damaged.

Whoever has an archive can have it answer any question. With --kind, --model, --since and --until as they
were asked, an answer to another question ends with 11, and be it a wider or narrower one; with --as-of, one
that is older.`,
		Example: `  stele check case-7.evidence --trust trust.stele
  stele check errors.evidence --kind error --since 2026-11-27 --until 2026-11-28 --as-of 2026-11-29
  stele check case-7.evidence --json | jq -r '.records[0].fields.body | @base64d'`,
		Args: takes("FILE"),
	}
	cmd.RunE = a.verb(func(_ *cobra.Command, args []string) (answer, error) {
		changed := func(name string) bool { return cmd.Flags().Changed(name) }
		return a.check(args[0], &f, slices.ContainsFunc([]string{"kind", "model", "since", "until"}, changed), asOf)
	})
	f.addClear(cmd.Flags())
	cmd.Flags().StringVar(&asOf, "as-of", "", "the answer must be of this time, or of a later one")
	return cmd
}

// checkAnswer is what a file shows.
type checkAnswer struct {
	*evidence.Report
	Stele   string `json:"stele,omitempty"` // hides that of the report: every object of --json has one already
	Whole   bool   `json:"whole"`           // from each writer's key to the head of the control log
	Vouched bool   `json:"vouched"`         // and that head, by the witnesses and anchors that the trust file wants
}

func (a *app) check(path string, f *filter, asked bool, asOf string) (answer, error) {
	want, since, err := f.expected(asked, asOf)
	if err != nil {
		return nil, err
	}
	s, err := a.site("")
	if err != nil {
		return nil, err
	}
	trust, err := s.trustFile()
	if err != nil {
		return nil, err
	}
	file, err := readBounded(path, evidence.MaxLen+evidence.MaxLen/4)
	if errors.Is(err, fs.ErrNotExist) {
		err = hinted(err, "name a file as 'stele prove --out FILE', 'stele search --prove --out FILE' and 'stele erase certificate --out FILE' write it")
	}
	if errors.Is(err, syscall.EISDIR) {
		err = usage("name the file in it", "%s is a directory", path)
	}
	if err != nil {
		return nil, err
	}
	report, err := evidence.Check(trust, file)
	var wrong *evidence.FailedError
	switch {
	case errors.As(err, &wrong):
		return nil, &failure{exitIntegrity, err, failedHint(err, s.Trust)}
	case errors.Is(err, evidence.ErrFormat):
		return nil, &failure{exitRefused, err, "nothing is said of what it should show. Copy it again, or ask who made it ('stele prove', 'stele search --prove', 'stele erase certificate') for another one"}
	case err != nil:
		return nil, err
	}
	if want != nil || !since.IsZero() {
		for _, lack := range report.Answer.Lacks(want, since) {
			report.Missing = append(report.Missing, evidence.Statement{About: "archive", What: "question", Detail: lack})
		}
	}
	ans := &checkAnswer{Report: report, Whole: report.Whole(), Vouched: report.Vouched()}
	switch {
	case !ans.Whole:
		return ans, exit(exitIncomplete)
	case !ans.Vouched:
		return ans, exit(exitAnchoring)
	}
	return ans, nil
}

// failedHint says what to do about a file that does not hold.
func failedHint(err error, trust string) string {
	if f := new(evidence.FailedError); errors.As(err, &f) && f.Foreign {
		return "nothing is said of the file: --trust names the trust file of its own archive; this one was " + trust
	}
	return "nothing in it counts. Compare " + trust + " with the trust file that you were given, and get the file anew from who made it: " +
		"a file that was changed on its way and one under other keys look alike"
}

// expected is the question that was asked, nil for any, and since when an answer to it counts.
func (f *filter) expected(asked bool, asOf string) (q *rangeproof.Query, since time.Time, err error) {
	now := time.Now()
	query, err := f.query(now)
	if err == nil && asked {
		x := f.clear(query)
		q, err = &x, x.Check()
	}
	if err == nil && asOf != "" {
		if since, err = parseTime(asOf, now); err != nil {
			err = usage("", "--as-of: %w", err)
		}
	}
	return q, since, err
}

// readBounded reads a file that may be from anybody.
func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = &failure{exitRefused, fmt.Errorf("%s has more than %s, which no such file has", path, size(most)), ""}
	}
	return data, err
}

// sentence says what a statement means.
func sentence(what string) string {
	text, known := map[string]string{
		"control":        "the control log has this head",
		"roster":         "the policy root says who may do what",
		"signed":         "its writer's stream signed it",
		"certified":      "a service key let that stream sign",
		"writer":         "the access policy names that service key",
		"log":            "it is in a log, under a signed head",
		"head":           "that head is in the control log",
		"field":          "this is what was captured",
		"scope":          "the writer put it into this scope",
		"complete":       "every leaf of this run is shown",
		"logs":           "these logs there are, and no others",
		"outside":        "what is left out cannot match",
		"question":       "what was asked",
		"forgotten":      "its key was left out of a new generation",
		"erased":         "keys were left out of a new generation",
		"request":        "it was asked for",
		"selection":      "this was asked for",
		"approved":       "it was approved",
		"single-control": "single control",
		"records":        "the records of the key store follow each other",
		"list":           "these keys went",
		"difference":     "nothing else went",
		"custodian":      "a custodian destroyed its key",
		"dead":           "the old generation cannot be opened",
		"best-effort":    "destroyed, best effort",
		"archive":        "after this time no copy of the archive opens it",
		"transport":      "after this time no copy of the transport opens it",
		"late":           "this came later and was destroyed on arrival",
		"open":           "this is assumed, not shown",
		"witness":        "others have seen that head",
		"cosigned":       "a witness has seen this head, or one that continues it",
		"quorum":         "as many witnesses as the trust file wants have seen that head",
		"anchored":       "it is in the log of an anchor",
		"anchor":         "it is in the log of an anchor that the trust file names",
		"others":         "what else went",
		"unknown":        "this stele knows no such part",
	}[what]
	if !known {
		return what
	}
	return text
}

func (c *checkAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "archive %s (%s)\n", c.Name, c.Archive)
	for i := range c.Records {
		printEvidence(w, &c.Records[i])
	}
	if c.Answer != nil {
		printAnswer(w, c.Answer)
	}
	for i := range c.Ranges {
		printRange(w, &c.Ranges[i])
	}
	for _, s := range c.Holds {
		fmt.Fprintf(w, "holds      %s: %s: %s\n           by %s\n", printable(s.About, 80), sentence(s.What), printable(s.Detail, 400), printable(s.By, 200))
	}
	for _, s := range c.Missing {
		fmt.Fprintf(w, "not shown  %s: %s: %s\n", printable(s.About, 80), sentence(s.What), printable(s.Detail, 400))
	}
	for _, s := range c.Limits {
		fmt.Fprintf(w, "never      %s\n", s)
	}
}

// printEvidence prints a record as far as the file tells of it.
func printEvidence(w io.Writer, r *evidence.Record) {
	fmt.Fprintf(w, "record %s: %s, %s, class %s, stream %s seq %d\n", r.ID, strings.TrimSpace(r.Type+" "+r.Kind), r.Time.Format(time.RFC3339Nano), r.Class, r.Stream, r.Seq)
	for _, name := range slices.Sorted(maps.Keys(r.Clear)) {
		fmt.Fprintf(w, "  %-13s %s\n", name, printable(r.Clear[name], 200))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Fields)) {
		value := r.Fields[name]
		if !utf8.Valid(value) {
			fmt.Fprintf(w, "  %-13s (%s that are no text; --json has them in base64)\n", name, size(len(value)))
			continue
		}
		fmt.Fprintf(w, "  %-13s %s\n", name, printable(string(value), 4000))
	}
}
