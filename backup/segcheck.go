package backup

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/merkle"
)

// segmentCheck checks what the bytes of a segment mean: that rows give the leaves, leaves the tree, blocks the digests,
// frames the signatures, and that each stream goes on where it was.
type segmentCheck struct {
	v      *verifier
	c      *logCommit
	seg    *wholeSegment
	leaves []merkle.Hash

	records, pieces uint64
	from, until     int64 // times of records and pieces

	batch, base int // place of row
}

func (s *segmentCheck) key(kind string) string { return s.c.Object(kind, "").Key }

func (s *segmentCheck) bad(kind, format string, args ...any) {
	s.v.r.fault(integrity, s.key(kind), format, args...)
}

func (s *segmentCheck) run(streams *streamCheck) {
	s.rows()
	s.tree()
	s.facts()
	frames, err := segment.ParseFrames(s.seg.proof[0])
	if err != nil {
		s.bad(commit.KindProof, "%v", err)
		streams.skip(s.c.Commit)
		return
	}
	if !s.covers(frames) {
		streams.skip(s.c.Commit)
		return
	}
	for i := range frames {
		if err := s.frame(&frames[i], streams); err != nil {
			s.bad(commit.KindProof, "frame at leaf %d, stream %x seq %d: %v", frames[i].Leaf, frames[i].Stream, frames[i].First, err)
		}
	}
}

// rows recomputes the leaves from the index and the digests from the data.
func (s *segmentCheck) rows() {
	var leaf record.Leaf
	var scratch []byte
	type place struct {
		class    string
		off, len uint32
	}
	var last place // rows of one block lie together: it is hashed once
	var digest [32]byte
	for _, b := range s.seg.index.Batches {
		for i := range b.Len() {
			b.Leaf(i, &leaf)
			if err := leaf.Check(); err != nil {
				s.bad(commit.KindIndex, "row %d: %v", len(s.leaves), err)
			}
			s.count(&leaf)
			scratch = leaf.Append(append(scratch[:0], 0))
			s.leaves = append(s.leaves, sha256.Sum256(scratch))
			at, ok := b.Block(i)
			if !ok {
				continue
			}
			if p := (place{leaf.Class, at.Offset, at.Length}); p != last {
				data := s.seg.data[leaf.Class]
				if s.c.Object(commit.KindData, leaf.Class) == nil {
					s.bad(commit.KindIndex, "row %d: the commit names no data object of its class", len(s.leaves)-1)
				}
				if uint64(at.Offset)+uint64(at.Length) > uint64(len(data)) {
					if data != nil {
						s.bad(commit.KindIndex, "row %d: its block lies outside the data object", len(s.leaves)-1)
					}
					continue // a missing object is a fault of its own
				}
				digest, last = sha256.Sum256(data[at.Offset:][:at.Length]), p
			}
			if digest != leaf.Digest {
				s.bad(commit.KindIndex, "row %d: the block is not the one that the leaf names", len(s.leaves)-1)
			}
		}
	}
}

// tree checks that the leaves grow the tree as the commit says, and that the proof object holds them and their nodes.
func (s *segmentCheck) tree() {
	t := &s.c.Tree
	f, err := merkle.NewFrontier(t.First, t.Before)
	if err != nil {
		s.v.r.fault(integrity, s.c.key, "%v", err)
		return
	}
	if uint64(len(s.leaves)) != t.Size-t.First {
		s.bad(commit.KindIndex, "%d rows, the commit says %d leaves", len(s.leaves), t.Size-t.First)
		return
	}
	levels := f.AppendLevels(nil, s.leaves...)
	if f.Root() != t.Root {
		s.bad(commit.KindIndex, "the rows do not give the root that the commit names")
	}
	if !bytes.Equal(flat(s.leaves), s.seg.proof[2]) {
		s.bad(commit.KindProof, "the leaf hashes are not those of the rows")
	}
	var nodes []merkle.Hash
	for l := 3; l < len(levels); l++ {
		nodes = append(nodes, levels[l]...)
	}
	if !bytes.Equal(flat(nodes), s.seg.proof[3]) {
		s.bad(commit.KindProof, "the interior nodes are not those of the leaves")
	}
}

func flat(hashes []merkle.Hash) []byte {
	out := make([]byte, 0, 32*len(hashes))
	for i := range hashes {
		out = append(out, hashes[i][:]...)
	}
	return out
}

// covers checks that the frames cover the leaves one after the other.
func (s *segmentCheck) covers(frames []segment.FrameAt) bool {
	at := s.c.Tree.First
	for i := range frames {
		if frames[i].Leaf != at {
			break
		}
		at += uint64(frames[i].Count)
	}
	if at != s.c.Tree.Size {
		s.bad(commit.KindProof, "the frames do not cover the leaves (gap at leaf %d)", at)
		return false
	}
	return true
}

// frame checks one frame against the leaves and the streams.
func (s *segmentCheck) frame(f *segment.FrameAt, streams *streamCheck) error {
	from := f.Leaf - s.c.Tree.First
	if from+uint64(f.Count) > uint64(len(s.leaves)) {
		return fmt.Errorf("lies outside the segment")
	}
	if merkle.Root(s.leaves[from:from+uint64(f.Count)]) != f.Leaves {
		return fmt.Errorf("its leaves do not have the signed root")
	}
	if uint64(f.Offset)+uint64(f.Length) > uint64(len(s.seg.proof[1])) {
		return fmt.Errorf("its entries lie outside the object")
	}
	entries, err := segment.ParseEntries(s.seg.proof[1][f.Offset:][:f.Length])
	if err != nil {
		return err
	}
	if frame.EntriesRoot(entries) != f.Entries {
		return fmt.Errorf("its entries do not have the signed root")
	}
	said, err := s.said(f, int(from))
	if err != nil {
		return err
	}
	return streams.take(f, said, s.c.Control)
}

// said collects the leaves of a frame that tell something of streams, and checks that all are of this one.
func (s *segmentCheck) said(f *segment.FrameAt, from int) (said []record.Leaf, err error) {
	for i := range int(f.Count) {
		b, row := s.row(from + i)
		if b.Stream(row) != f.Stream || b.Seq(row) != f.First+uint64(i) {
			return nil, fmt.Errorf("row %d is of stream %x seq %d", from+i, b.Stream(row), b.Seq(row))
		}
		switch b.Type(row) {
		case record.Open, record.Loss, record.Close, record.Recovered:
			var l record.Leaf
			b.Leaf(row, &l)
			said = append(said, l)
		}
	}
	return said, nil
}

// row finds row i of the segment, not before the one that was asked for last.
func (s *segmentCheck) row(i int) (*segment.Batch, int) {
	batches := s.seg.index.Batches
	for i >= s.base+batches[s.batch].Len() {
		s.base += batches[s.batch].Len()
		s.batch++
	}
	return batches[s.batch], i - s.base
}
