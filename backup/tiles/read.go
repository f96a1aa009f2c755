package tiles

import (
	"context"
	"fmt"
	"sort"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/merkle"
)

// keptSection is the section of a proof that was read last.
type keptSection struct {
	key  string
	span commit.Span
	data []byte
}

// keptBatch is the batch of an index that was read last.
type keptBatch struct {
	key   string
	head  *segment.Head
	span  commit.Span
	batch *segment.Batch
}

// readHashes reads part of a section of a proof.
type readHashes func(ctx context.Context, s *tileSegment, section commit.Span, off, n int64) ([]byte, error)

// ranges reads a full tile by its ranges, and the node above it, which it must add up to.
func (t *View) ranges(ctx context.Context, l *tileLog, first merkle.Node, tile merkle.Tile) ([]byte, error) {
	data, err := t.hashes(ctx, l, first, tile.Width, t.fromRange)
	if err != nil {
		return nil, err
	}
	above, err := t.hashes(ctx, l, tile.Parent(), 1, t.fromRange)
	if err != nil {
		return nil, err
	}
	hashes, err := segment.ParseHashes(data)
	if err != nil {
		return nil, err
	}
	if merkle.Root(hashes) != merkle.Hash(above) {
		return nil, fmt.Errorf("%s: %w", tile.Path(), datalog.ErrAltered)
	}
	return data, nil
}

// hashes reads n nodes of a level from first on, each from the segment that holds its last leaf. Requires mu.
func (t *View) hashes(ctx context.Context, l *tileLog, first merkle.Node, n int, read readHashes) (out []byte, err error) {
	level, at, end := first.Level, first.Index, first.Index+uint64(n)
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].size>>level > at })
	for ; i < len(l.segments) && at < end; i++ {
		s := &l.segments[i]
		if s.size>>level <= at {
			continue
		}
		section, off, ok := s.leaves, int64(at-s.first)*merkle.HashSize, true
		if level > 0 {
			section = s.nodes
			off, ok = segment.NodeOffset(s.first, s.size, level, at)
		}
		if !ok {
			return nil, fmt.Errorf("%s: %w: it holds no node %d of level %d", s.proof.Key, datalog.ErrAltered, at, level)
		}
		count := min(end, s.size>>level) - at
		if off+int64(count)*merkle.HashSize > section.Len {
			return nil, fmt.Errorf("%s: %w: section too short", s.proof.Key, datalog.ErrAltered)
		}
		data, err := read(ctx, s, section, off, int64(count)*merkle.HashSize)
		if err != nil {
			return nil, err
		}
		out, at = append(out, data...), at+count
	}
	if at < end {
		return nil, fmt.Errorf("%s: %w: no segment holds node %d of level %d", l.chain.Origin, datalog.ErrAltered, at, level)
	}
	return out, nil
}

// fromRange reads no more than what is wanted, which nothing vouches for.
func (t *View) fromRange(ctx context.Context, s *tileSegment, section commit.Span, off, n int64) ([]byte, error) {
	data, _, err := datalog.FetchRange(ctx, t.store, &s.proof, worm.Range{Off: section.Off + off, Len: n}, func([]byte) bool { return true })
	return data, err
}

// fromSection reads the whole section and checks it, unless it is the one that was read last.
func (t *View) fromSection(ctx context.Context, s *tileSegment, section commit.Span, off, n int64) ([]byte, error) {
	if t.section.key != s.proof.Key || t.section.span != section {
		data, _, err := datalog.FetchSpan(ctx, t.store, &s.proof, section)
		if err != nil {
			return nil, err
		}
		t.section = keptSection{s.proof.Key, section, data}
	}
	return t.section.data[off:][:n:n], nil
}

// bundle makes the bundle of n leaves from first on out of the rows of the index. Requires mu.
func (t *View) bundle(ctx context.Context, l *tileLog, first uint64, n int) (out []byte, err error) {
	var check segment.Checker
	var leaf []byte
	end := first + uint64(n)
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].size > first })
	for ; i < len(l.segments) && first < end; i++ {
		s := &l.segments[i]
		at := s.first
		for _, span := range s.batches {
			until := at + uint64(span.Rows)
			if until > first && first < end {
				b, err := t.readBatch(ctx, s, span)
				if err != nil {
					return nil, err
				}
				for ; first < min(end, until); first++ {
					leaf = check.AppendLeafdata(leaf[:0], b, int(first-at))
					if out, err = merkle.AppendEntry(out, leaf); err != nil {
						return nil, err
					}
				}
			}
			at = until
		}
	}
	if first < end {
		return nil, fmt.Errorf("%s: %w: the indexes end before leaf %d", l.chain.Origin, datalog.ErrAltered, first)
	}
	return out, nil
}

// readBatch reads a batch of an index, unless it is the one that was read last.
func (t *View) readBatch(ctx context.Context, s *tileSegment, span commit.Span) (*segment.Batch, error) {
	k := &t.batch
	if k.key == s.index.Key && k.span == span {
		return k.batch, nil
	}
	if k.key != s.index.Key {
		raw, _, err := datalog.FetchSpan(ctx, t.store, &s.index, s.head)
		if err != nil {
			return nil, err
		}
		head, err := segment.ParseHead(raw)
		if err != nil {
			return nil, err
		}
		*k = keptBatch{key: s.index.Key, head: head}
	}
	raw, _, err := datalog.FetchSpan(ctx, t.store, &s.index, span)
	if err != nil {
		return nil, err
	}
	b, err := k.head.ParseBatch(raw)
	if err != nil {
		return nil, err
	}
	if b.Len() != span.Rows {
		return nil, fmt.Errorf("%s: %w: %d rows in a batch of %d", s.index.Key, datalog.ErrAltered, b.Len(), span.Rows)
	}
	k.span, k.batch = span, b
	return b, nil
}
