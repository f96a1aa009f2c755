package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/logpipe"
)

// Query selects records. Zero fields select all.
type Query struct {
	Tenant, Subject, Session string // exact; found through the key service's tags, so only with a key
	Kind                     logpipe.Kind
	Model                    string // clear model name
	ID                       logpipe.ID
	Since, Until             time.Time         // of the record: from Since, before Until
	From                     map[string]uint64 // by origin of a log, the first leaf that is wanted; to go on where another query stopped
	Limit                    int
	Erased                   bool // also yield what cannot be opened because it was erased, as a stub
}

// Found is a record read back from the archive and checked against its commitment.
type Found struct {
	logpipe.Record
	Log       string // origin
	Partition int    // of the log
	Index     uint64 // of its leaf in the log
	Stream    string // id, hex
	Seq       uint64
	Erased    bool // the key is gone: only clear fields are set
	Expired   bool // the data, or those that it refers to, are gone because their time was over: only clear fields are set
	Withheld  bool // redaction failed at capture, the body was not kept
	Flags     []string
}

// RecordError is a record that cannot be given out, and which one. Iteration goes on behind it.
type RecordError struct {
	Log   string
	Index uint64
	Err   error
}

func (e *RecordError) Error() string { return fmt.Sprintf("%s leaf %d: %v", e.Log, e.Index, e.Err) }
func (e *RecordError) Unwrap() error { return e.Err }

// Records yields the records that a query selects, by log and in log order, so a session's in the order of capture. A
// *RecordError concerns one record; any other error ends the iteration.
func (r *Reader) Records(ctx context.Context, q Query) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		s := search{r: r, q: q, yield: yield}
		if err := s.run(ctx); err != nil && !errors.Is(err, errStop) {
			yield(Found{}, err)
		}
	}
}

// errStop ends a search from inside: the limit was reached, or the caller had enough.
var errStop = errors.New("enough")

// search is one run of Records.
type search struct {
	r     *Reader
	q     Query
	yield func(Found, error) bool
	only  map[[16]byte]bool // the scopes that can match; nil: all
	found int
}

// hit is a record that a query selects, or what is wrong with it.
type hit struct {
	index uint64
	found Found
	err   error
}

func (s *search) run(ctx context.Context) error {
	if err := s.narrow(ctx); err != nil {
		return err
	}
	for _, l := range s.r.a.logs {
		for i := range l.commits {
			if err := s.commit(ctx, l, &l.commits[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// narrow asks the key service for the scopes of a session, subject or tenant, so that only these are read. The most
// particular of them will do where all can be opened, because an opened record says the others.
func (s *search) narrow(ctx context.Context) error {
	tags := keyscope.MakeTags((*[32]byte)(s.r.id.Pepper), []byte(s.q.Tenant), []byte(s.q.Subject), []byte(s.q.Session))
	for _, tag := range [][16]byte{tags.Session, tags.Subject, tags.Tenant} {
		if tag == [16]byte{} || s.only != nil && !s.closed() {
			continue
		}
		ids, err := s.r.request(ctx, nil, []commit.Hex16{tag})
		if err != nil {
			return err
		}
		next := map[[16]byte]bool{}
		for _, id := range ids {
			if s.only == nil || s.only[id] {
				next[id] = true
			}
		}
		s.only = next
	}
	return nil
}

// closed reports whether records of a scope that may match are wanted and cannot be opened.
func (s *search) closed() bool {
	for id := range s.only {
		if o := s.r.scopes[id]; o.scope == nil && (o.state != stateErased || s.q.Erased) {
			return true
		}
	}
	return false
}

// commit yields what one commit holds.
func (s *search) commit(ctx context.Context, l *openLog, c *logCommit) error {
	if c.Index == nil || c.From == nil || c.Until == nil || c.Tree.Size <= s.q.From[l.chain.Origin] ||
		!s.q.Since.IsZero() && c.Until.Before(s.q.Since) || !s.q.Until.IsZero() && !c.From.Before(s.q.Until) {
		return nil
	}
	if s.only != nil && s.q.Model == "" {
		hits, found, err := s.byRuns(ctx, l, c)
		if err == nil && found {
			return s.yieldAll(hits)
		}
		if err != nil && !misled(err) {
			return err
		}
	}
	err := s.scan(ctx, l, c, s.matches, s.hit)
	if datalog.Faulty(err) {
		if gone, unread := s.r.a.expiredMeanwhile(ctx, c.Commit, c.Object(commit.KindIndex, "")); gone || unread != nil {
			return unread
		}
	}
	return err
}

func (s *search) yieldAll(hits []hit) error {
	slices.SortFunc(hits, func(a, b hit) int { return cmp.Compare(a.index, b.index) })
	for _, h := range hits {
		if err := s.hit(h); err != nil {
			return err
		}
	}
	return nil
}

// hit yields a record.
func (s *search) hit(h hit) error {
	if h.err == nil && !h.found.Erased && !h.found.Expired && !s.named(&h.found) {
		return nil
	}
	s.found++
	if !s.yield(h.found, h.err) || s.q.Limit > 0 && s.found >= s.q.Limit {
		return errStop
	}
	return nil
}

// named reports whether a record is of the tenant, subject and session that are wanted.
func (s *search) named(f *Found) bool {
	return (s.q.Tenant == "" || s.q.Tenant == f.Tenant) && (s.q.Subject == "" || s.q.Subject == f.Subject) &&
		(s.q.Session == "" || s.q.Session == f.Session)
}

// selects tests the clear fields of a leaf, all but the model.
func (s *search) selects(l *openLog, index uint64, typ record.Type, kind uint8, id [16]byte, t int64) bool {
	return typ == record.Plain && index >= s.q.From[l.chain.Origin] &&
		(s.q.Kind == 0 || uint8(s.q.Kind) == kind) && (s.q.ID == logpipe.ID{} || s.q.ID == id) &&
		(s.q.Since.IsZero() || t >= s.q.Since.UnixNano()) && (s.q.Until.IsZero() || t < s.q.Until.UnixNano())
}

// made completes what was made of a record to a hit. more is false if it is not wanted.
func (s *search) made(l *openLog, index uint64, f Found, err error) (h hit, more bool) {
	f.Log, f.Partition, f.Index = l.chain.Origin, int(l.partition), index
	if expired := errors.Is(err, errExpired); expired || errors.Is(err, errErased) {
		if !s.q.Erased {
			return h, false
		}
		f.Erased, f.Expired, err = !expired, expired, nil
	}
	if err != nil {
		err = &RecordError{f.Log, index, err}
	}
	return hit{index, f, err}, true
}
