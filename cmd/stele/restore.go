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
	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/logpipe/event"
)

// restoreFlags say what is restored, and where to.
type restoreFlags struct {
	filter
	out       string
	resume    string
	erased    string
	plaintext bool
}

func (a *app) restoreCommand() *cobra.Command {
	f := restoreFlags{}
	cmd := &cobra.Command{
		Use:   "restore --out DIR|-",
		Short: "Get the records back as they were captured, with a reader identity",
		Long: `Restore records as JSON lines, in the schema of 'stele capture': what went in comes out equal. Needs a
reader identity (--as) and the key service, or, where none runs, the keys folder or the setting
custodians. Every record is checked against the archive and the writer's commitment before it is
written; one that does not hold is named on standard error and left out, and the exit code is 15.
Records of one session come in the order of their capture.

--out DIR writes DIR/records.jsonl, which must not exist. --out - writes to standard output; the
summary, with --json the object, then goes to standard error.

--resume FILE keeps the state of the restore in FILE. Run the same command again after an interruption
and it goes on without a record twice or missing; run it later and it adds what was committed since.
On standard output a kill -9 may repeat the records of the last second.

--erased says what to do with records whose key was erased: omit them (they are counted), or write a
stub of the fields that stayed in clear, with the attribute stele.erased.

--out kafka://host:port/topic publishes the records, unsealed, to a topic that exists, one message each,
without keys; the records of one log go to one partition. That needs --plaintext, and the archive's control
log says from before the first message on that records left it: the reader needs the right to create
objects under control/inbox/. Brokers that fail in the middle may store messages twice, a restore that is
killed and gone on with does not.

` + filterHelp,
		Example: `  stele restore --out /srv/restored --as /etc/stele/reader
  stele restore --out - --subject user-17 | jq -r .body
  stele restore --out /srv/restored --resume /srv/restored.state
  stele restore --out kafka://broker:9092/restored --plaintext --since 7d --resume /srv/restored.state`,
		Args: takes(),
		RunE: a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.restore(cmd.Context(), f) }),
	}
	flags := cmd.Flags()
	f.add(flags, 0)
	flags.StringVar(&f.out, "out", "", "a directory, - or kafka://host:port/topic (required)")
	flags.StringVar(&f.resume, "resume", "", "file that keeps the state, to go on after an interruption")
	flags.StringVar(&f.erased, "erased", "omit", "stub or omit")
	flags.BoolVar(&f.plaintext, "plaintext", false, "allow records to leave unsealed, to Kafka")
	return cmd
}

// restoreAnswer counts what was restored.
type restoreAnswer struct {
	Path       string       `json:"path"`
	Records    uint64       `json:"records"` // by this run
	Total      uint64       `json:"total"`   // by all runs with this state file
	Bytes      int64        `json:"bytes"`
	Erased     uint64       `json:"erased"`            // omitted or written as stubs
	Expired    uint64       `json:"expired,omitempty"` // likewise
	Stubs      bool         `json:"stubs"`
	Unreadable []unreadable `json:"unreadable,omitempty"` // the first hundred
	Missed     uint64       `json:"missed,omitempty"`     // all of them
	State      string       `json:"state,omitempty"`
	Disclosure *disclosure  `json:"disclosure,omitempty"`
}

// disclosure is what the control log says of records that left for a topic: a salted hash of the filters.
type disclosure struct {
	Salted string `json:"salted"`
	Salt   string `json:"salt"`
}

func (r *restoreAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "restored %s (%s) to %s\n", count(r.Records, "record"), size(r.Bytes), r.Path)
	if r.Total != r.Records {
		fmt.Fprintf(w, "%s with the runs before\n", count(r.Total, "record"))
	}
	done := "left out"
	if r.Stubs {
		done = "written as stubs"
	}
	if r.Erased > 0 {
		fmt.Fprintf(w, "%s erased: %s\n", count(r.Erased, "record"), done)
	}
	if r.Expired > 0 {
		fmt.Fprintf(w, "%s expired: %s\n", count(r.Expired, "record"), done)
	}
	if r.Missed > 0 {
		fmt.Fprintf(w, "%s left out because they do not open or are not what was captured\n", count(r.Missed, "record"))
	}
	if d := r.Disclosure; d != nil {
		fmt.Fprintf(w, "disclosure %s…: a compactor puts it into the control log with its next heads\n", d.Salted[:16])
	}
}

func (f *restoreFlags) check() error {
	switch {
	case f.out == "":
		return usage("--out - writes to standard output", "--out is required")
	case f.erased != "stub" && f.erased != "omit":
		return usage("", "--erased is %q, neither stub nor omit", f.erased)
	case strings.Contains(f.out, "://") && !strings.HasPrefix(f.out, "kafka://"):
		return usage("write a path without a scheme", "--out %s: records are restored to a directory, to standard output or to kafka://", f.out)
	case strings.HasPrefix(f.out, "kafka://") && !f.plaintext:
		return usage("add --plaintext if that is what you want; it is logged as a disclosure", "records leave the archive unsealed when they go to a topic")
	case f.resume != "" && f.Limit > 0:
		return usage("", "--resume and --limit exclude each other")
	case strings.HasPrefix(f.out, "kafka://"):
		if err := location.CheckTransport(f.out); err != nil {
			return usage("", "--out: %w", err)
		}
	}
	return nil
}

func (a *app) restore(ctx context.Context, f restoreFlags) (answer, error) {
	a.streaming = f.out == "-"
	if err := f.check(); err != nil {
		return nil, err
	}
	q, err := f.query(time.Now())
	if err != nil {
		return nil, err
	}
	q.Erased = true // to count them
	s, err := a.site("reader")
	if err != nil {
		return nil, err
	}
	archive, err := s.archive(ctx)
	if err != nil {
		return nil, err
	}
	r, done, err := s.unlock(ctx, archive)
	if err != nil {
		return nil, err
	}
	defer done()
	job := &restoring{app: a, flags: f, answer: &restoreAnswer{Stubs: f.erased == "stub", State: f.resume}}
	err = job.open(ctx, archive.Name(), func(state restoreState, resumed bool) (sink, error) {
		return s.sink(ctx, r, f, state, resumed)
	})
	if err != nil {
		return nil, err
	}
	q.From = job.from()
	err = job.run(ctx, r.Records(ctx, q))
	err = errors.Join(err, job.close(ctx))
	if err == nil && job.answer.Missed > 0 {
		err = exit(exitUnreadable)
	}
	return job.answer, err
}

// sink opens the output.
func (s *site) sink(ctx context.Context, r *backup.Reader, f restoreFlags, state restoreState, resumed bool) (sink, error) {
	switch {
	case f.out == "-":
		return newStreamSink(s.app.stdout), nil
	case isKafka(f.out):
		return s.openTopicSink(ctx, r, f, state.Topic)
	}
	return openFileSink(f.out, state.Bytes, resumed)
}

// line writes a record as it is restored; nil if it is left out.
func (f *restoreFlags) line(dst []byte, r *backup.Found) ([]byte, error) {
	if r.Erased || r.Expired {
		if f.erased == "omit" {
			return nil, nil
		}
		stub(r)
	}
	return event.Append(dst, &r.Record)
}

// stub marks a record of which only the clear fields are left.
func stub(r *backup.Found) {
	why := "erased"
	if r.Expired {
		why = "expired"
	}
	mark := fmt.Appendf(nil, `"stele.%s":{"id":"%s","log":"%s","index":%d}}`, why, r.ID, r.Log, r.Index)
	if n := len(r.Attributes); n > len("{}") {
		r.Attributes = append(append(r.Attributes[:n-1:n-1], ','), mark...)
	} else {
		r.Attributes = append([]byte{'{'}, mark...)
	}
}
