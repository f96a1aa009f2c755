package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/internal/sha256mb"
	"github.com/stelelog/stele/merkle"
)

// proofParts is what a proof object turned out to hold.
type proofParts struct {
	layout  error // it is no proof object
	sums    [segment.Sections]commit.Span
	frames  []byte
	entries []byte
	differ  [segment.Sections]bool // from what follows from the rows
	encaps  error
}

// proof checks the proof object section by section, and with it the frames. usable says that the index was.
func (s *segmentCheck) proof(ctx context.Context, obj *commit.Object, usable bool, streams *streamCheck) error {
	var p proofParts
	ok, err := s.v.object(ctx, s.c.Commit, obj, func(o *objectReader) error {
		p = proofParts{}
		return s.sections(ctx, o, &p)
	})
	if err != nil {
		return err
	}
	if ok && p.layout != nil {
		s.bad(commit.KindProof, "%v", p.layout)
	}
	if !ok || p.layout != nil || !usable {
		streams.skip(s.c.Commit)
		return nil
	}
	for i, sum := range p.sums {
		if sum != s.c.Proof[i] {
			s.v.r.fault(integrity, s.c.key, "section %d of the proof is not where it says", i)
		}
	}
	for number, what := range map[int]string{segment.SectionLeaves: "the leaf hashes are not those of the rows",
		segment.SectionNodes: "the interior nodes are not those of the leaves", segment.SectionScopes: "the scopes are not those of the rows",
		segment.SectionGroups: "the groups of runs are not those of the rows", segment.SectionRuns: "the runs are not those of the rows"} {
		if p.differ[number] {
			s.bad(commit.KindProof, "%s", what)
		}
	}
	if p.encaps != nil {
		s.bad(commit.KindProof, "%v", p.encaps)
	}
	s.frames(&p, streams)
	return nil
}

// sections reads the sections of a proof object. It keeps those that the frames need, and compares the others.
func (s *segmentCheck) sections(ctx context.Context, o *objectReader, p *proofParts) error {
	head, err := o.next(ctx, min(int64(segment.ProofHeader), o.left()))
	if err != nil {
		return err
	}
	o.hash.Write(head)
	layout, err := segment.ParseProofHeader(head, o.obj.Size)
	if err != nil {
		p.layout = err
		return nil
	}
	for i, part := range layout {
		var sum sha256mb.Digest
		var kept []byte
		at := int64(0)
		if s.derived(i) {
			err = o.pieces(ctx, part.Len, func(piece []byte) {
				sha256mb.Both(&o.hash, &sum, piece)
				p.differ[i] = p.differ[i] || !s.equal(i, piece, at)
				at += int64(len(piece))
			})
		} else if kept, err = o.next(ctx, part.Len); err == nil {
			sha256mb.Both(&o.hash, &sum, kept)
		}
		if err != nil {
			return err
		}
		p.sums[i] = commit.Span{Off: part.Off, Len: part.Len, SHA256: commit.Hex32(sum.Sum())}
		switch i {
		case segment.SectionFrames:
			p.frames = kept
		case segment.SectionEntries:
			p.entries = kept
		case segment.SectionEncaps:
			_, p.encaps = segment.ParseEncaps(kept)
		default:
			p.differ[i] = p.differ[i] || part.Len != s.derivedLen(i)
		}
	}
	return nil
}

// derived reports whether a section follows from the rows.
func (s *segmentCheck) derived(section int) bool {
	return section != segment.SectionFrames && section != segment.SectionEntries && section != segment.SectionEncaps
}

// derivedLen is how long such a section must be.
func (s *segmentCheck) derivedLen(section int) int64 {
	switch section {
	case segment.SectionLeaves:
		return int64(len(s.mem.leaves) * len(merkle.Hash{}))
	case segment.SectionNodes:
		return int64(len(s.mem.nodes) * len(merkle.Hash{}))
	}
	return int64(len(s.runs[section]))
}

// equal compares a piece of such a section with what it must be.
func (s *segmentCheck) equal(section int, piece []byte, at int64) bool {
	switch section {
	case segment.SectionLeaves:
		return sameHashes(piece, s.mem.leaves, int(at)/len(merkle.Hash{}))
	case segment.SectionNodes:
		return sameHashes(piece, s.mem.nodes, int(at)/len(merkle.Hash{}))
	}
	want := s.runs[section]
	return at+int64(len(piece)) <= int64(len(want)) && bytes.Equal(piece, want[at:][:len(piece)])
}

// sameHashes compares bytes with the hashes from number at on.
func sameHashes(b []byte, hashes []merkle.Hash, at int) bool {
	n := len(b) / len(merkle.Hash{})
	if len(b)%len(merkle.Hash{}) != 0 || n > len(hashes)-at {
		return false
	}
	for i := range n {
		if merkle.Hash(b[len(merkle.Hash{})*i:]) != hashes[at+i] {
			return false
		}
	}
	return true
}

// frames checks the frames against the leaves and the streams. They cover the leaves one after the other.
func (s *segmentCheck) frames(p *proofParts, streams *streamCheck) {
	count, err := segment.FrameCount(p.frames)
	at := s.c.Tree.First
	for i := 0; i < count && err == nil; i++ {
		var f segment.FrameAt
		if f, err = segment.ParseFrame(p.frames, i); err == nil && f.Leaf != at {
			break
		}
		at += uint64(f.Count)
	}
	if err == nil && at != s.c.Tree.Size {
		err = fmt.Errorf("the frames do not cover the leaves (gap at leaf %d)", at)
	}
	if err != nil {
		s.bad(commit.KindProof, "%v", err)
		streams.skip(s.c.Commit)
		return
	}
	for i := range count {
		f, _ := segment.ParseFrame(p.frames, i)
		if err := s.frame(&f, p.entries, streams); err != nil {
			s.bad(commit.KindProof, "frame at leaf %d, stream %x seq %d: %v", f.Leaf, f.Stream, f.First, err)
		}
	}
}

// frame checks one frame. Frames come in the order of their leaves.
func (s *segmentCheck) frame(f *segment.FrameAt, entries []byte, streams *streamCheck) error {
	from := f.Leaf - s.c.Tree.First
	to := from + uint64(f.Count)
	if to > uint64(len(s.mem.leaves)) {
		return errors.New("lies outside the segment")
	}
	if merkle.Root(s.mem.leaves[from:to]) != f.Leaves {
		return errors.New("its leaves do not have the signed root")
	}
	if uint64(f.Offset)+uint64(f.Length) > uint64(len(entries)) {
		return errors.New("its entries lie outside the object")
	}
	hashes, err := s.mem.entries.Hashes(entries[f.Offset:][:f.Length])
	if err != nil {
		return err
	}
	if merkle.Root(hashes) != f.Entries {
		return errors.New("its entries do not have the signed root")
	}
	if err := s.v.keys.see(s.c, f, entries[f.Offset:][:f.Length]); err != nil {
		return err
	}
	for len(s.streams) > 0 && uint64(s.streams[0].end) <= from {
		s.streams = s.streams[1:]
	}
	at := &s.streams[0]
	if at.stream != f.Stream || at.first+from-uint64(at.from) != f.First || uint64(at.end) < to {
		return fmt.Errorf("row %d is of stream %x seq %d, or one of those behind it not of its stream", from, at.stream, at.first+from-uint64(at.from))
	}
	var said []record.Leaf
	for len(s.said) > 0 && uint64(s.said[0].index) < to {
		if uint64(s.said[0].index) >= from {
			said = append(said, s.said[0].leaf)
		}
		s.said = s.said[1:]
	}
	return streams.take(f, said, s.c.Control)
}
