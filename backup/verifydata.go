package backup

import (
	"context"
	"slices"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/internal/sha256mb"
)

// maxSkeleton bounds what a data object may hold beside its blocks, in bytes: a few for each block.
const maxSkeleton = 64 << 20

// data checks a data object: that each block is the one that its leaf names, and that there is nothing else in it. It
// takes the object piece by piece, and keeps what is in no block to read it as what it is once all was hashed.
func (s *segmentCheck) data(ctx context.Context, obj *commit.Object) error {
	rows := s.mem.blocks[obj.Class]
	var wrong, overlapping []uint32
	ok, err := s.v.object(ctx, s.c.Commit, obj, func(o *objectReader) (err error) {
		s.mem.skeleton, s.mem.cuts, wrong, overlapping = s.mem.skeleton[:0], s.mem.cuts[:0], nil, nil
		if s.index != nil {
			wrong, overlapping, err = s.dataPieces(ctx, o, rows)
		}
		return err
	})
	if err != nil || !ok || s.index == nil {
		return err
	}
	for _, row := range wrong {
		s.bad(commit.KindIndex, "row %d: the block is not the one that the leaf names", row)
	}
	for _, row := range overlapping {
		s.bad(commit.KindIndex, "row %d: its block overlaps another", row)
	}
	if len(overlapping) == 0 {
		s.layout(obj, rows)
	}
	return nil
}

// dataPieces goes through the blocks of rows. wrong are those that are not what their leaf names, overlapping those that begin
// inside of another.
func (s *segmentCheck) dataPieces(ctx context.Context, o *objectReader, rows []uint32) (wrong, overlapping []uint32, err error) {
	keep := func(piece []byte) {
		o.hash.Write(piece)
		s.keep(piece)
	}
	for len(rows) > 0 {
		if off, _ := s.place(rows[0]); off-o.at > s.mem.piece {
			if err := o.pieces(ctx, off-o.at, keep); err != nil {
				return nil, nil, err
			}
		}
		start := o.at
		n, end := s.fitting(rows, start)
		piece, err := o.next(ctx, end-start)
		if err != nil {
			return nil, nil, err
		}
		overlapping = append(overlapping, s.cutBlocks(rows[:n], piece, start)...)
		wrong = append(wrong, s.blocks(ctx, o, piece, s.mem.there)...)
		rows = rows[n:]
	}
	return wrong, overlapping, o.pieces(ctx, o.left(), keep)
}

// fitting is how many of the rows' blocks one piece takes, and where it ends: where a block ends.
func (s *segmentCheck) fitting(rows []uint32, start int64) (n int, end int64) {
	for end = start; n < len(rows); n++ {
		_, to := s.place(rows[n])
		if n > 0 && to-start > s.mem.piece {
			break
		}
		end = max(end, to)
	}
	return n, end
}

// cutBlocks finds the blocks of rows in a piece that begins at start, and keeps what lies between them.
func (s *segmentCheck) cutBlocks(rows []uint32, piece []byte, start int64) (overlapping []uint32) {
	s.mem.messages, s.mem.there = s.mem.messages[:0], s.mem.there[:0]
	at := start
	for _, row := range rows {
		off, to := s.place(row)
		if off < at {
			overlapping = append(overlapping, row)
			continue
		}
		s.keep(piece[at-start : off-start])
		s.cut(off, to)
		s.mem.messages, s.mem.there = append(s.mem.messages, piece[off-start:to-start]), append(s.mem.there, row)
		at = to
	}
	return overlapping
}

// place is where the block of a row lies in its object.
func (s *segmentCheck) place(row uint32) (off, end int64) {
	b, i := s.index.Row(int(row))
	at, _ := b.Block(i)
	return int64(at.Offset), int64(at.Offset) + int64(at.Length)
}

func (s *segmentCheck) keep(piece []byte) {
	if len(s.mem.skeleton)+len(piece) <= maxSkeleton {
		s.mem.skeleton = append(s.mem.skeleton, piece...)
	}
}

func (s *segmentCheck) cut(off, end int64) {
	if n := len(s.mem.cuts); n > 0 && s.mem.cuts[n-1].At+s.mem.cuts[n-1].Len == off {
		s.mem.cuts[n-1].Len += end - off
		return
	}
	s.mem.cuts = append(s.mem.cuts, segment.Cut{At: off, Len: end - off})
}

// blocks hashes a piece of a data object and the blocks in it, which are in s.mem.messages, compares them with the digests
// in the leaves of their rows, and opens them if that is asked for. It returns the rows that do not fit.
func (s *segmentCheck) blocks(ctx context.Context, o *objectReader, piece []byte, rows []uint32) (wrong []uint32) {
	m := s.mem
	m.sums = slices.Grow(m.sums[:0], len(rows))[:len(rows)]
	sha256mb.Beside(&o.hash, piece, m.sums, m.messages)
	for i, row := range rows {
		if b, k := s.index.Row(int(row)); m.sums[i] != b.Digest(k) {
			wrong = append(wrong, row)
		} else if s.open != nil {
			s.open.block(ctx, int(row), m.messages[i])
		}
	}
	return wrong
}

// layout checks that a data object is a file in which each row is the block of the leaf that it names, and all are there.
func (s *segmentCheck) layout(obj *commit.Object, rows []uint32) {
	d, err := segment.OpenData(s.mem.skeleton, s.mem.cuts...)
	if err != nil {
		s.v.r.fault(integrity, obj.Key, "%v", err)
		return
	}
	if d.Class != obj.Class {
		s.v.r.fault(integrity, obj.Key, "it is of class %q", d.Class)
	}
	if d.Len() != len(rows) {
		s.v.r.fault(integrity, obj.Key, "it has %d blocks, the rows of the index name %d", d.Len(), len(rows))
		return
	}
	k := 0
	for block := range d.Blocks() {
		off, end := s.place(rows[k])
		if block.Leaf != rows[k] || block.Offset != off || block.Length != end-off {
			s.v.r.fault(integrity, obj.Key, "block %d is not that of leaf %d", k, s.c.Tree.First+uint64(rows[k]))
			return
		}
		k++
	}
}
