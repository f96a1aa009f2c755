package main

import (
	"encoding/json"
	"time"

	"github.com/spf13/pflag"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/logpipe/event"
)

// filter is what search and restore select by.
type filter struct {
	Tenant  string `json:"tenant,omitempty"`
	Subject string `json:"subject,omitempty"`
	Session string `json:"session,omitempty"`
	Kind    string `json:"kind,omitempty"`
	Model   string `json:"model,omitempty"`
	Since   string `json:"since,omitempty"`
	Until   string `json:"until,omitempty"`
	Limit   int    `json:"limit,omitempty"`
}

const filterHelp = `Tenant, subject and session are sealed: they are found through the key service, exactly as written,
and only what can match is read. Kind, model and time are found in the clear index. Times are RFC 3339,
a day in UTC, or how long ago (90m, 7d); --until is not included.`

func (f *filter) add(flags *pflag.FlagSet, limit int) {
	flags.StringVar(&f.Tenant, "tenant", "", "of this tenant")
	flags.StringVar(&f.Subject, "subject", "", "about this person")
	flags.StringVar(&f.Session, "session", "", "of this conversation or run")
	f.addClear(flags)
	flags.IntVar(&f.Limit, "limit", limit, "at most so many records; 0 means all")
}

// addClear adds what selects by clear columns.
func (f *filter) addClear(flags *pflag.FlagSet) {
	flags.StringVar(&f.Kind, "kind", "", "input, output, state or error")
	flags.StringVar(&f.Model, "model", "", "of this model (gen_ai.request.model)")
	flags.StringVar(&f.Since, "since", "", "from this time on")
	flags.StringVar(&f.Until, "until", "", "before this time")
}

// clear is the part of a query that can be proved complete.
func (f *filter) clear(q backup.Query) rangeproof.Query {
	return rangeproof.Query{Model: q.Model, Since: q.Since.UTC(), Until: q.Until.UTC(), Kind: f.Kind}
}

func (f *filter) query(now time.Time) (q backup.Query, err error) {
	q = backup.Query{Tenant: f.Tenant, Subject: f.Subject, Session: f.Session, Model: f.Model, Limit: f.Limit}
	if f.Kind != "" {
		if err := q.Kind.UnmarshalText([]byte(f.Kind)); err != nil {
			return q, usage("", "--kind is %q, none of input, output, state, error", f.Kind)
		}
	}
	if f.Since != "" {
		if q.Since, err = parseTime(f.Since, now); err != nil {
			return q, usage("", "--since: %w", err)
		}
	}
	if f.Until != "" {
		if q.Until, err = parseTime(f.Until, now); err != nil {
			return q, usage("", "--until: %w", err)
		}
	}
	if f.Limit < 0 {
		return q, usage("", "--limit is negative")
	}
	return q, nil
}

// found is a record as the answers show it: the event as it was captured, and where it lies.
type found struct {
	ID       string          `json:"id"` // the archive's
	Log      string          `json:"log"`
	Index    uint64          `json:"index"`
	Stream   string          `json:"stream"`
	Seq      uint64          `json:"seq"`
	Erased   bool            `json:"erased,omitempty"`
	Expired  bool            `json:"expired,omitempty"`
	Withheld bool            `json:"withheld,omitempty"`
	Flags    []string        `json:"flags,omitempty"`
	Event    json.RawMessage `json:"event"`
	record   *backup.Found
}

func newFound(f *backup.Found) (found, error) {
	line, err := event.Append(nil, &f.Record)
	if err != nil {
		return found{}, err
	}
	return found{f.ID.String(), f.Log, f.Index, f.Stream, f.Seq, f.Erased, f.Expired, f.Withheld, f.Flags, line[:len(line)-1], f}, nil
}

// unreadable is a record that cannot be given out.
type unreadable struct {
	Log    string `json:"log"`
	Index  uint64 `json:"index"`
	Reason string `json:"reason"`
}
