package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup"
)

func (a *app) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show one record whole, with a reader identity",
		Long: `Show a record with all its fields and where it lies in the archive. ID is that of the archive, 32 hex
digits as 'stele search' prints it, or its beginning, at least four, if no other record begins so; or the
caller's own. Ids of callers need not be unique, so all records that carry one are shown. Only the whole id
of the archive is looked up in the index; for the others all records are read.`,
		Example: `  stele show 0b9f1c2d3e4f5a6b7c8d9e0f1a2b3c4d
  stele show 0b9f1c2d
  stele show req-7 --json | jq -r '.found[].event.body'`,
		Args: takes("ID"),
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) { return a.show(cmd.Context(), args[0]) }),
	}
}

// showAnswer holds the records with an id.
type showAnswer struct {
	Found      []found      `json:"found"`
	Unreadable []unreadable `json:"unreadable,omitempty"`
}

func (a *app) show(ctx context.Context, id string) (answer, error) {
	ans := &showAnswer{Found: []found{}}
	take := func(f *backup.Found) (bool, error) {
		one, err := newFound(f)
		ans.Found = append(ans.Found, one)
		return true, err
	}
	q := backup.Query{Erased: true}
	copied := 0
	if b, err := hex.DecodeString(id); err == nil && len(b) == len(q.ID) {
		copied = copy(q.ID[:], b)
	}
	if copied > 0 && q.ID != [16]byte{} { // which asks for every record
		if err := a.each(ctx, q, take, &ans.Unreadable); err != nil {
			return nil, err
		}
	}
	if len(ans.Found)+len(ans.Unreadable) == 0 {
		if err := a.showScan(ctx, id, ans, take); err != nil {
			return nil, err
		}
	}
	switch {
	case len(ans.Found) == 0 && len(ans.Unreadable) == 0:
		return nil, hinted(fmt.Errorf("the archive has no record %q", id), "'stele search' finds ids; what was captured just now is not committed yet")
	case len(ans.Unreadable) > 0:
		return ans, exit(exitUnreadable)
	}
	return ans, nil
}

// leastID is how many digits the beginning of an id has at least, and mostCandidates how many are named if it is that of several.
const (
	leastID        = 4
	mostCandidates = 10
)

// showScan looks through all records for the id of a caller or, if none has it, for the only one whose id begins with it.
func (a *app) showScan(ctx context.Context, id string, ans *showAnswer, take func(*backup.Found) (bool, error)) error {
	begins := len(id) >= leastID && strings.Trim(id, "0123456789abcdef") == ""
	var candidates []found
	n := 0
	err := a.each(ctx, backup.Query{Erased: begins}, func(f *backup.Found) (bool, error) {
		if f.CallerID == id && !f.Erased {
			return take(f)
		}
		if begins && strings.HasPrefix(f.ID.String(), id) {
			if n++; n <= mostCandidates {
				one, err := newFound(f)
				candidates = append(candidates, one)
				return true, err
			}
		}
		return true, nil
	}, &ans.Unreadable)
	switch {
	case err != nil || len(ans.Found) > 0 || n == 0:
		return err
	case n == 1:
		ans.Found = candidates
		return nil
	}
	var names []string
	for _, c := range candidates {
		names = append(names, fmt.Sprintf("%s (%s, %s)", c.ID, c.record.Kind, c.record.Time.UTC().Format(time.RFC3339)))
	}
	if more := n - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %s more", grouped(more)))
	}
	return usage("give more of it: "+strings.Join(names, ", "), "the ids of %s begin with %q", count(n, "record"), id)
}

func (s *showAnswer) print(w io.Writer) {
	for i, f := range s.Found {
		if i > 0 {
			fmt.Fprintln(w)
		}
		f.print(w)
	}
}

func (f found) print(w io.Writer) {
	r := f.record
	rows := [][]string{{"id", f.ID}, {"kind", r.Kind.String()}, {"time", r.Time.Format(time.RFC3339Nano)}, {"class", r.Class},
		{"tenant", r.Tenant}, {"subject", r.Subject}, {"session", r.Session}, {"caller's id", r.CallerID},
		{"trace", r.TraceID}, {"span", r.SpanID}, {"parent", r.ParentID}, {"attributes", string(r.Attributes)},
		{"content type", r.ContentType}, {"flags", strings.Join(f.Flags, " ")},
		{"log", fmt.Sprintf("%s leaf %d", f.Log, f.Index)}, {"stream", fmt.Sprintf("%s seq %d", f.Stream, f.Seq)}}
	for _, row := range rows {
		if row[1] != "" {
			fmt.Fprintf(w, "%-13s %s\n", row[0], printable(row[1], 4000))
		}
	}
	for _, p := range r.Parts {
		if p.URI != "" {
			fmt.Fprintf(w, "%-13s %s (%s, SHA-256 %x)\n", "refers to", printable(p.URI, 400), size(p.Size), p.SHA256)
		}
	}
	body := bodyOf(r)
	switch {
	case f.Erased:
		fmt.Fprintln(w, "\n(erased: the key is gone, only the clear fields are left)")
	case f.Expired:
		fmt.Fprintln(w, "\n(expired: its time was over and the data were removed, only the clear fields are left)")
	case f.Withheld:
		fmt.Fprintln(w, "\n(withheld: redaction failed when it was captured, so the body was not kept)")
	case !utf8.Valid(body):
		fmt.Fprintf(w, "\n(%s that are no text; --json has them in base64)\n", size(len(body)))
	case len(body) > 0:
		fmt.Fprintf(w, "\n%s\n", printableLines(string(body)))
	}
}

// printableLines makes text safe for a terminal and keeps its lines and tabs.
func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		cells := strings.Split(line, "\t")
		for j, cell := range cells {
			cells[j] = printable(cell, len(cell))
		}
		lines[i] = strings.Join(cells, "\t")
	}
	return strings.Join(lines, "\n")
}
