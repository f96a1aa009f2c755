package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/counts"
)

func (a *app) auditCommand() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Say how complete each service and stream is, and compare with a count from outside",
		Long: `Say for each stream, one start of one writer, how much of it the archive holds: whether it is live,
closed or was recovered by its successor; what is missing; and what its writer declared lost.

What bypassed the library, and a first start that was suppressed whole, only a count from outside can
show. --expect FILE compares with one, by service and hour: lines of CSV under the header
service,hour,count, or JSON lines; a column "what" says whether "records" (if left out) or "calls" were
counted. Hours are those of the times in the records, in UTC. --hours lists them without a count.

Audit reads the commits, and for hours the rows of the index; 'stele verify' also checks that they tell
the truth. The exit code is 11 if anything is missing or lost that nobody has taken note of. A surplus,
more in the archive than was counted, is shown and changes no exit code.`,
		Example: `  stele audit
  stele audit --expect gateway.csv
  stele audit --json | jq '.streams[] | select(.complete|not)'
  stele audit ack 5b0f… --reason 'power cut in rack 4, ticket 1234'`,
		Args: takes(),
		RunE: a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.audit(cmd.Context(), f) }),
	}
	cmd.Flags().StringVar(&f.expect, "expect", "", "file with a count from outside, by service and hour")
	cmd.Flags().BoolVar(&f.hours, "hours", false, "count by service and hour, without a count from outside too")
	cmd.Flags().StringVar(&f.since, "since", "", "with --hours: from this time on")
	cmd.Flags().StringVar(&f.until, "until", "", "with --hours: before this time")
	cmd.AddCommand(a.auditAckCommand())
	return cmd
}

type auditFlags struct {
	expect, since, until string
	hours                bool
}

// auditAnswer lists services and streams and, if asked for, hours.
type auditAnswer struct {
	Name     string                `json:"name"`
	Services []serviceSum          `json:"services"`
	Streams  []backup.StreamReport `json:"streams"`
	Hours    []counts.Row          `json:"hours,omitempty"`
	Missing  uint64                `json:"missing"`            // by the count from outside, and nobody has taken note of it
	Surplus  uint64                `json:"surplus"`            // more than that count
	Newest   time.Time             `json:"newest,omitzero"`    // source time of the newest commit
	Compared int                   `json:"compared,omitempty"` // hours that were counted outside
}

// serviceSum is what the streams of a service add up to.
type serviceSum struct {
	Service  string `json:"service"`
	Streams  int    `json:"streams"`
	Complete int    `json:"complete"` // or acknowledged
	Leaves   uint64 `json:"leaves"`
	Lost     uint64 `json:"lost"` // declared
}

func (a *app) audit(ctx context.Context, f auditFlags) (answer, error) {
	expected, from, until, err := f.read(time.Now())
	if err != nil {
		return nil, err
	}
	s, err := a.site("")
	if err != nil {
		return nil, err
	}
	archive, err := s.archive(ctx)
	if err != nil {
		return nil, err
	}
	ans := auditAnswer{Name: archive.Name(), Streams: archive.Streams(time.Now())}
	ans.Services = sumUp(ans.Streams)
	if f.hours || f.expect != "" {
		held, err := archive.Count(ctx, from, until)
		if err != nil {
			return nil, err
		}
		ans.Newest, ans.Compared = held.Newest, len(expected)
		ans.Hours = counts.Reconcile(held, expected, archive.Acknowledged())
	}
	open := slices.ContainsFunc(ans.Streams, func(s backup.StreamReport) bool { return !s.Complete })
	for i := range ans.Hours {
		switch r := &ans.Hours[i]; {
		case r.Open():
			ans.Missing += uint64(-r.Difference)
			open = true
		case r.Surplus():
			ans.Surplus += uint64(r.Difference)
		}
	}
	if open {
		return ans, exit(exitIncomplete)
	}
	return ans, nil
}

// read reads the count from outside, and says which hours have to be counted.
func (f *auditFlags) read(now time.Time) (expected []counts.Expected, from, until time.Time, err error) {
	if f.expect == "" {
		if !f.hours && f.since+f.until != "" {
			return nil, from, until, usage("add --hours", "--since and --until are for hours; streams are judged whole")
		}
		if f.since != "" {
			if from, err = parseTime(f.since, now); err != nil {
				return nil, from, until, usage("", "--since: %w", err)
			}
		}
		if f.until != "" {
			if until, err = parseTime(f.until, now); err != nil {
				return nil, from, until, usage("", "--until: %w", err)
			}
		}
		return nil, from, until, nil
	}
	if f.since+f.until != "" {
		return nil, from, until, usage("the hours in the file are compared; leave out --since and --until", "--expect says itself which hours")
	}
	data, err := readBounded(f.expect, maxExpect)
	if err != nil {
		return nil, from, until, err
	}
	expected, err = counts.ParseExpected(data)
	if err != nil {
		return nil, from, until, &failure{exitRefused, fmt.Errorf("%s: %w", f.expect, err), "docs/formats/counts.md describes such files"}
	}
	from, until = expected[0].Hour, expected[0].Hour
	for _, e := range expected {
		if e.Hour.Before(from) {
			from = e.Hour
		}
		if e.Hour.After(until) {
			until = e.Hour
		}
	}
	return expected, from, until.Add(time.Hour), nil
}

// maxExpect bounds a file of counts.
const maxExpect = 128 << 20

// sumUp adds up the streams of each service.
func sumUp(streams []backup.StreamReport) []serviceSum {
	by := map[string]*serviceSum{}
	for i := range streams {
		s := &streams[i]
		sum := by[s.Service]
		if sum == nil {
			sum = &serviceSum{Service: s.Service}
			by[s.Service] = sum
		}
		sum.Streams++
		sum.Leaves += s.Leaves
		sum.Lost += s.Lost
		if s.Complete {
			sum.Complete++
		}
	}
	out := []serviceSum{}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		out = append(out, *by[name])
	}
	return out
}

func (n auditAnswer) print(w io.Writer) {
	if len(n.Streams) == 0 {
		fmt.Fprintln(w, "no streams: nothing was committed yet")
	} else {
		printStreamTable(w, n.Streams)
		fmt.Fprintln(w)
		rows := [][]string{{"SERVICE", "STREAMS", "COMPLETE", "LEAVES", "LOST"}}
		for _, s := range n.Services {
			rows = append(rows, []string{printable(s.Service, 60), grouped(s.Streams), grouped(s.Complete), grouped(s.Leaves), grouped(s.Lost)})
		}
		table(w, rows)
	}
	n.printHours(w)
}

func (n auditAnswer) printHours(w io.Writer) {
	if n.Newest.IsZero() && n.Compared == 0 {
		return
	}
	fmt.Fprintln(w)
	rows := [][]string{{"SERVICE", "HOUR", "WHAT", "COUNTED", "LOST", "SAMPLED OUT", "EXPECTED", "DIFFERENCE", ""}}
	for i := range n.Hours {
		r := &n.Hours[i]
		expected, difference := "-", "-"
		if r.Expected != nil {
			expected, difference = grouped(*r.Expected), signed(r.Difference)
		}
		rows = append(rows, []string{printable(r.Service, 60), when(r.Hour), r.What, grouped(r.Counted), grouped(r.Lost), grouped(r.Sampled),
			expected, difference, hourSays(r)})
	}
	table(w, rows)
	if n.Compared > 0 {
		fmt.Fprintf(w, "%s compared: %s missing, %s more than expected\n", count(n.Compared, "hour"), grouped(n.Missing), grouped(n.Surplus))
	}
	fmt.Fprintf(w, "the newest commit is of %s: what came later is not in the archive yet\n", when(n.Newest))
}

// signed writes a difference with its sign.
func signed(n int64) string {
	switch {
	case n < 0:
		return "-" + grouped(uint64(-n))
	case n > 0:
		return "+" + grouped(uint64(n))
	}
	return "0"
}

func hourSays(r *counts.Row) string {
	switch {
	case r.Expected == nil:
		return "not counted outside"
	case r.Open():
		return "missing"
	case r.Difference < 0 && r.Expired:
		return "expired: its rows are gone"
	case r.Difference < 0:
		return "missing; acknowledged: " + printable(r.Acknowledged, 120)
	case r.Surplus():
		return "surplus"
	}
	return ""
}

func printStreamTable(w io.Writer, streams []backup.StreamReport) {
	rows := [][]string{{"STREAM", "WRITER", "STATE", "LEAVES", "LOST", "LAST SIGN", "VERDICT"}}
	for _, s := range streams {
		verdict := s.Verdict
		if s.Acknowledged != "" {
			verdict += "; acknowledged: " + printable(s.Acknowledged, 120)
		}
		rows = append(rows, []string{s.Stream, s.Service, s.State, grouped(s.Leaves), grouped(s.Lost), when(s.LastBeat), verdict})
	}
	table(w, rows)
}

// when writes a time to the second, or a dash for none.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}
