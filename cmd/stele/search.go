package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup"
)

func (a *app) searchCommand() *cobra.Command {
	f, p := filter{}, proveFlags{}
	cmd := &cobra.Command{
		Use:   "search",
		Short: "Find records, with a reader identity",
		Long: `Find records and open them. Needs a reader identity (--as) and the key service, or, where none runs, the
keys folder or the setting custodians. Every record is checked against the archive and the writer's
commitment before it is shown; one that does not hold is named on standard error, and the exit code is 15.

` + filterHelp + `

` + searchProveHelp + `

With --json the answer is one object with all that was found, each as the event that was captured; for
more than fits in memory there is 'stele restore --out -'.`,
		Example: `  stele search --subject user-17 --since 7d
  stele search --kind error --model gpt-4o --since 2026-03-01 --until 2026-04-01
  stele search --kind error --since 2026-11-27 --until 2026-11-28 --prove --out errors.evidence
  stele search --session s-1 --json | jq -r '.found[].event.body'`,
		Args: takes(),
		RunE: a.verb(func(cmd *cobra.Command, _ []string) (answer, error) {
			if err := p.check(); err != nil {
				return nil, err
			}
			if p.prove {
				return a.searchProve(cmd.Context(), f, p, cmd.Flags().Changed("limit"))
			}
			return a.search(cmd.Context(), f)
		}),
	}
	f.add(cmd.Flags(), 100)
	p.add(cmd.Flags())
	return cmd
}

// searchAnswer holds what was found.
type searchAnswer struct {
	Found      []found      `json:"found"`
	Unreadable []unreadable `json:"unreadable,omitempty"`
	More       bool         `json:"more"` // the limit ended the search
}

func (a *app) search(ctx context.Context, f filter) (answer, error) {
	q, err := f.query(time.Now())
	if err != nil {
		return nil, err
	}
	q.Erased = true
	if q.Limit > 0 {
		q.Limit++ // to know whether there is more
	}
	ans := &searchAnswer{Found: []found{}}
	err = a.each(ctx, q, func(f *backup.Found) (bool, error) {
		if q.Limit > 0 && len(ans.Found) == q.Limit-1 {
			ans.More = true
			return false, nil
		}
		one, err := newFound(f)
		ans.Found = append(ans.Found, one)
		return true, err
	}, &ans.Unreadable)
	switch {
	case err != nil && len(ans.Found)+len(ans.Unreadable) == 0:
		return nil, err // nothing was found because nothing was searched
	case err == nil && len(ans.Unreadable) > 0:
		err = exit(exitUnreadable)
	}
	return ans, err
}

// each calls give for every record that a query selects, until it returns false. What cannot be given out is named on
// stderr and added to bad.
func (a *app) each(ctx context.Context, q backup.Query, give func(*backup.Found) (bool, error), bad *[]unreadable) error {
	s, err := a.site("reader")
	if err != nil {
		return err
	}
	archive, err := s.archive(ctx)
	if err != nil {
		return err
	}
	r, done, err := s.unlock(ctx, archive)
	if err != nil {
		return err
	}
	defer done()
	for f, err := range r.Records(ctx, q) {
		one := new(backup.RecordError)
		if errors.As(err, &one) {
			*bad = append(*bad, unreadable{one.Log, one.Index, one.Err.Error()})
			a.notOpened(one)
			continue
		}
		if err != nil {
			return err
		}
		more, err := give(&f)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

func (s *searchAnswer) print(w io.Writer) {
	rows := [][]string{{"ID", "TIME", "KIND", "TENANT", "SUBJECT", "SESSION", "SIZE", "BODY"}}
	for _, f := range s.Found {
		rows = append(rows, f.row())
	}
	if len(rows) > 1 {
		table(w, rows)
	}
	fmt.Fprintf(w, "%s found", count(len(s.Found), "record"))
	if len(s.Found)+len(s.Unreadable) == 0 {
		fmt.Fprint(w, "; what was captured just now is there when a compactor has committed it")
	}
	if s.More {
		fmt.Fprint(w, ", and there are more: raise --limit")
	}
	if len(s.Unreadable) > 0 {
		fmt.Fprintf(w, ", %d unreadable", len(s.Unreadable))
	}
	fmt.Fprintln(w)
}

func (f found) row() []string {
	r := f.record
	body := bodyOf(r)
	text := printable(strings.ToValidUTF8(string(body[:min(len(body), 200)]), "·"), 48)
	if f.Erased {
		text = "(erased)"
	} else if f.Expired {
		text = "(expired)"
	} else if f.Withheld {
		text = "(withheld: redaction failed when it was captured)"
	}
	return []string{f.ID, r.Time.UTC().Format("2006-01-02T15:04:05.000Z"), r.Kind.String(), short(r.Tenant), short(r.Subject),
		short(r.Session), size(len(body)), text}
}

// short makes a name fit into a column.
func short(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s, 24)
}

// bodyOf joins the literal parts of a body.
func bodyOf(r *backup.Found) []byte {
	if len(r.Parts) == 0 {
		return r.Body
	}
	var body []byte
	for _, p := range r.Parts {
		body = append(body, p.Data...)
	}
	return body
}
