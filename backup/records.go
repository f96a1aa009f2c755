package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/segment"
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

// narrow asks the key service for the scopes of a tenant, subject or session, so that only their segments are read.
func (s *search) narrow(ctx context.Context) error {
	tags := keyscope.MakeTags((*[32]byte)(s.r.id.Pepper), []byte(s.q.Tenant), []byte(s.q.Subject), []byte(s.q.Session))
	for _, tag := range [][16]byte{tags.Tenant, tags.Subject, tags.Session} {
		if tag == [16]byte{} {
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

// commit yields what one commit holds.
func (s *search) commit(ctx context.Context, l *openLog, c *logCommit) error {
	from := s.q.From[l.chain.origin]
	if c.Index == nil || c.From == nil || c.Tree.Size <= from ||
		!s.q.Since.IsZero() && c.Until.Before(s.q.Since) || !s.q.Until.IsZero() && !c.From.Before(s.q.Until) {
		return nil
	}
	head, _, err := fetchSpan(ctx, s.r.a.store, c.Object(commit.KindIndex, ""), c.Index.Head)
	if err != nil {
		return err
	}
	h, err := segment.ParseHead(head)
	if err != nil {
		return err
	}
	scopes := s.scopes(h)
	if len(scopes) == 0 {
		return nil
	}
	if err := s.r.open(ctx, scopes); err != nil {
		return err
	}
	blocks := blockReader{r: s.r, c: c, whole: s.only == nil}
	at := c.Tree.First
	for _, span := range c.Index.Batches {
		raw, _, err := fetchSpan(ctx, s.r.a.store, c.Object(commit.KindIndex, ""), span)
		if err != nil {
			return err
		}
		b, err := h.ParseBatch(raw)
		if err != nil {
			return err
		}
		for i := range b.Len() {
			if at+uint64(i) < from || !s.matches(b, i) {
				continue
			}
			if err := s.row(ctx, l, &blocks, b, i, at+uint64(i)); err != nil {
				return err
			}
		}
		at += uint64(b.Len())
	}
	return nil
}

// scopes are the scopes of a segment that can match.
func (s *search) scopes(h *segment.Head) [][16]byte {
	return slices.DeleteFunc(slices.Clone(h.Scopes()), func(id [16]byte) bool {
		return id == [16]byte{} || s.only != nil && !s.only[id]
	})
}

// matches tests the clear columns of a row.
func (s *search) matches(b *segment.Batch, i int) bool {
	if b.Type(i) != record.Plain || s.only != nil && !s.only[b.Scope(i)] {
		return false
	}
	t := b.Time(i)
	return (s.q.Kind == 0 || uint8(s.q.Kind) == b.Kind(i)) &&
		(s.q.Model == "" || s.q.Model == b.Clear(i, record.Model)) &&
		(s.q.ID == logpipe.ID{} || s.q.ID == b.ID(i)) &&
		(s.q.Since.IsZero() || t >= s.q.Since.UnixNano()) && (s.q.Until.IsZero() || t < s.q.Until.UnixNano())
}

// row opens one record and yields it.
func (s *search) row(ctx context.Context, l *openLog, blocks *blockReader, b *segment.Batch, i int, index uint64) error {
	var leaf record.Leaf
	b.Leaf(i, &leaf)
	f, err := s.r.record(ctx, l, blocks, b, i, &leaf)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.Log, f.Partition, f.Index = l.chain.origin, int(l.partition), index
	if errors.Is(err, errErased) {
		if !s.q.Erased {
			return nil
		}
		f.Erased, err = true, nil
	}
	if err != nil {
		err = &RecordError{f.Log, index, err}
	}
	s.found++
	if !s.yield(f, err) || s.q.Limit > 0 && s.found >= s.q.Limit {
		return errStop
	}
	return nil
}

// blockReader reads the sealed blocks of one commit: whole objects when everything is wanted, else only the ranges.
type blockReader struct {
	r     *Reader
	c     *logCommit
	whole bool
	data  map[string][]byte
	last  struct {
		class string
		at    segment.Block
		block []byte
	}
}

// read returns the block of a row, checked against the digest in its leaf.
func (b *blockReader) read(ctx context.Context, leaf *record.Leaf, at segment.Block) ([]byte, error) {
	if b.last.class == leaf.Class && b.last.at == at {
		return b.last.block, nil
	}
	obj := b.c.Object(commit.KindData, leaf.Class)
	if obj == nil {
		return nil, fmt.Errorf("the commit names no data object of class %s", leaf.Class)
	}
	block, err := b.bytes(ctx, obj, at, leaf.Digest)
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(block) != leaf.Digest {
		return nil, fmt.Errorf("%s: the block at %d is not the one that the leaf names", obj.Key, at.Offset)
	}
	b.last.class, b.last.at, b.last.block = leaf.Class, at, block
	return block, nil
}

func (b *blockReader) bytes(ctx context.Context, obj *commit.Object, at segment.Block, digest [32]byte) ([]byte, error) {
	if !b.whole {
		block, _, err := fetchSpan(ctx, b.r.a.store, obj, commit.Span{Off: int64(at.Offset), Len: int64(at.Length), SHA256: digest})
		return block, err
	}
	if b.data == nil {
		b.data = map[string][]byte{}
	}
	data, ok := b.data[obj.Class]
	if !ok {
		var err error
		if data, _, err = fetch(ctx, b.r.a.store, obj); err != nil {
			return nil, err
		}
		b.data[obj.Class] = data
	}
	if uint64(at.Offset)+uint64(at.Length) > uint64(len(data)) {
		return nil, fmt.Errorf("%s: a block lies outside it", obj.Key)
	}
	return data[at.Offset:][:at.Length], nil
}
