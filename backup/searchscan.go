package backup

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/segment"
)

// scan gives the records of a commit that wanted selects, in log order, from the batches of its index.
func (s *search) scan(ctx context.Context, l *openLog, c *logCommit, wanted func(l *openLog, b *segment.Batch, i int, index uint64) bool, give func(hit) error) error {
	h, err := s.r.a.indexHead(ctx, c)
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
	for b, err := range s.r.a.batchesOf(ctx, c, h) {
		if err != nil {
			return err
		}
		for i := range b.Len() {
			at := b.first + uint64(i)
			if !wanted(l, b.Batch, i, at) {
				continue
			}
			if err := s.row(ctx, l, &blocks, b.Batch, i, at, give); err != nil {
				return err
			}
		}
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
func (s *search) matches(l *openLog, b *segment.Batch, i int, index uint64) bool {
	return (s.only == nil || s.only[b.Scope(i)]) && (s.q.Model == "" || s.q.Model == b.Clear(i, record.Model)) &&
		s.selects(l, index, b.Type(i), b.Kind(i), b.ID(i), b.Time(i))
}

// row opens one record and gives it.
func (s *search) row(ctx context.Context, l *openLog, blocks *blockReader, b *segment.Batch, i int, index uint64, give func(hit) error) error {
	var leaf record.Leaf
	b.Leaf(i, &leaf)
	f, err := s.r.record(ctx, l, blocks, b, i, &leaf)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if obj := blocks.c.Object(commit.KindData, leaf.Class); err != nil && obj != nil && s.r.a.expired(blocks.c.Commit, obj) {
		err = errExpired // and with it, perhaps, what else it takes to open it
	}
	if h, more := s.made(l, index, f, err); more {
		return give(h)
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
	if datalog.Faulty(err) {
		if gone, unread := b.r.a.expiredMeanwhile(ctx, b.c.Commit, obj); gone || unread != nil {
			return nil, cmp.Or(unread, errExpired)
		}
	}
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
		block, _, err := datalog.FetchSpan(ctx, b.r.a.store, obj, commit.Span{Off: int64(at.Offset), Len: int64(at.Length), SHA256: digest})
		return block, err
	}
	if b.data == nil {
		b.data = map[string][]byte{}
	}
	data, ok := b.data[obj.Class]
	if !ok {
		var err error
		if data, _, err = datalog.Fetch(ctx, b.r.a.store, obj); err != nil {
			return nil, err
		}
		b.data[obj.Class] = data
	}
	if uint64(at.Offset)+uint64(at.Length) > uint64(len(data)) {
		return nil, fmt.Errorf("%s: a block lies outside it", obj.Key)
	}
	return data[at.Offset:][:at.Length], nil
}
