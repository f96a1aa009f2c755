package backup

import (
	"context"
	"fmt"
	"slices"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/internal/sha256mb"
	"github.com/stelelog/stele/merkle"
)

// segmentCheck checks what the bytes of a segment mean: that rows give the leaves, leaves the tree, blocks the digests,
// frames the signatures, and that each stream goes on where it was. Of the objects only the index is in memory as a
// whole, and it goes before the proof comes.
type segmentCheck struct {
	v   *verifier
	c   *logCommit
	mem *checkMemory

	index   *segment.Index
	sums    []commit.Hex32           // of its head and batches
	runs    [segment.Sections][]byte // what sections must be that follow from the rows
	said    []saidLeaf
	streams []stretch

	records, pieces uint64
	from, until     int64 // times of records and pieces

	open *unlocking // nil if blocks are not opened
}

// checkMemory is what one segment after the other uses.
type checkMemory struct {
	piece    int64 // bytes that are read at a time
	leaves   []merkle.Hash
	nodes    []merkle.Hash // of level 3 and higher, level by level
	levels   [][]merkle.Hash
	blocks   map[string][]uint32 // by class: the rows of slot 0, by the offsets of their blocks
	skeleton []byte
	cuts     []segment.Cut
	entries  segment.EntryHasher
	runs     segment.RunMaker
	messages [][]byte
	sums     [][32]byte
	there    []uint32

	waiting []byte // leafdata that are not hashed yet, and where they end
	ends    []int
}

// leaf takes the leaf of row i; some wait, because together they are hashed faster.
func (m *checkMemory) leaf(c *segment.Checker, b *segment.Batch, i int) {
	m.waiting = c.AppendLeafdata(append(m.waiting, 0), b, i)
	if m.ends = append(m.ends, len(m.waiting)); len(m.ends) == leavesAtOnce {
		m.hashLeaves()
	}
}

const leavesAtOnce = 64

// hashLeaves hashes the leaves that wait.
func (m *checkMemory) hashLeaves() {
	m.messages = m.messages[:0]
	from := 0
	for _, end := range m.ends {
		m.messages = append(m.messages, m.waiting[from:end])
		from = end
	}
	n := len(m.leaves)
	m.leaves = slices.Grow(m.leaves, len(m.ends))[:n+len(m.ends)]
	sha256mb.Sums(m.leaves[n:], m.messages)
	m.waiting, m.ends = m.waiting[:0], m.ends[:0]
}

// saidLeaf is a leaf that tells something of streams.
type saidLeaf struct {
	index int
	leaf  record.Leaf
}

// stretch is a run of leaves of one stream whose seqs follow each other, up to leaf end of the segment.
type stretch struct {
	stream [16]byte
	first  uint64 // seq
	from   int
	end    int
}

func (s *segmentCheck) key(kind string) string { return s.c.Object(kind, "").Key }

func (s *segmentCheck) bad(kind, format string, args ...any) {
	s.v.r.fault(integrity, s.key(kind), format, args...)
}

// run checks all objects of a commit, whose shape is right.
func (s *segmentCheck) run(ctx context.Context, streams *streamCheck) error {
	s.mem.leaves, s.mem.nodes = s.mem.leaves[:0], s.mem.nodes[:0]
	for class := range s.mem.blocks {
		s.mem.blocks[class] = s.mem.blocks[class][:0]
	}
	if s.v.expired(s.c) {
		return streams.believe(s.c.Commit)
	}
	if obj := s.c.Object(commit.KindIndex, ""); obj != nil {
		if err := s.readIndex(ctx, obj); err != nil {
			return err
		}
	}
	if s.index != nil {
		if err := s.rows(ctx); err != nil {
			return err
		}
	}
	for i := range s.c.Objects {
		var err error
		switch obj := &s.c.Objects[i]; {
		case obj.Kind == commit.KindIndex, obj.Kind == commit.KindProof, s.v.gone(s.c, obj):
		case obj.Kind == commit.KindData:
			err = s.data(ctx, obj)
		default:
			_, err = s.v.object(ctx, s.c.Commit, obj, func(*objectReader) error { return nil })
		}
		if err != nil {
			return err
		}
	}
	usable := s.index != nil
	if usable {
		s.finishIndex()
	}
	if obj := s.c.Object(commit.KindProof, ""); obj != nil {
		err := s.proof(ctx, obj, usable, streams)
		if err == nil && len(s.v.keys.waiting) >= scopesAtOnce {
			err = s.v.keys.judge(ctx)
		}
		return err
	}
	streams.skip(s.c.Commit)
	return nil
}

// readIndex leaves s.index nil if the index cannot be used.
func (s *segmentCheck) readIndex(ctx context.Context, obj *commit.Object) error {
	data, sums, ok, err := s.v.whole(ctx, s.c.Commit, obj, append([]commit.Span{s.c.Index.Head}, s.c.Index.Batches...))
	if err != nil || !ok {
		return err
	}
	s.sums = sums
	if s.index, err = segment.OpenIndex(data); err != nil {
		s.index = nil
		s.bad(commit.KindIndex, "%v", err)
	}
	return nil
}

// rows recomputes the leaves, and notes what else is wanted of the index.
func (s *segmentCheck) rows(ctx context.Context) error {
	if s.open != nil {
		if err := s.open.start(ctx, s.index); err != nil {
			return err
		}
	}
	n := 0
	var check segment.Checker
	s.mem.leaves = slices.Grow(s.mem.leaves, s.index.Len())
	for _, b := range s.index.Batches {
		for i := range b.Len() {
			if err := check.Check(b, i); err != nil {
				s.bad(commit.KindIndex, "row %d: %v", n, err)
			}
			s.mem.leaf(&check, b, i)
			s.count(b, i)
			s.follow(b, i, n)
			if err := s.block(b, i, n); err != nil {
				s.bad(commit.KindIndex, "row %d: %v", n, err)
			}
			n++
		}
	}
	s.mem.hashLeaves()
	s.sortBlocks()
	s.tree()
	return nil
}

// follow notes to which stream row n belongs, and what it says of streams.
func (s *segmentCheck) follow(b *segment.Batch, i, n int) {
	k := len(s.streams) - 1
	switch {
	case i > 0 && b.Follows(i), // or the row before is in the batch before
		k >= 0 && s.streams[k].stream == b.Stream(i) && s.streams[k].first+uint64(n-s.streams[k].from) == b.Seq(i):
		s.streams[k].end = n + 1
	default:
		s.streams = append(s.streams, stretch{b.Stream(i), b.Seq(i), n, n + 1})
	}
	switch b.Type(i) {
	case record.Open, record.Loss, record.Close, record.Recovered:
		var l record.Leaf
		b.Leaf(i, &l)
		l.Detail = slices.Clone(l.Detail)
		s.said = append(s.said, saidLeaf{n, l})
	}
}

// block notes where the block of row n lies. Rows of one block follow each other in their frame, slot 0 first.
func (s *segmentCheck) block(b *segment.Batch, i, n int) error {
	at, ok := b.Block(i)
	if !ok {
		return nil
	}
	if i > 0 && b.NextSlot(i) { // then it is as good as the row before
		if s.open != nil {
			s.open.chain(n-int(b.Seq(i)-at.First), n)
		}
		return nil
	}
	class, back := b.Class(i), b.Seq(i)-at.First
	obj := s.c.Object(commit.KindData, class)
	switch {
	case obj == nil:
		return fmt.Errorf("the commit names no data object of its class")
	case at.Length == 0 || at.Length > frame.MaxLen:
		return fmt.Errorf("no block has %d bytes", at.Length)
	case int64(at.Offset)+int64(at.Length) > obj.Size:
		return fmt.Errorf("its block lies outside the data object")
	case b.Slot(i) == 0 && back == 0:
		s.mem.blocks[class] = append(s.mem.blocks[class], uint32(n))
		return nil
	case b.Slot(i) == 0 || back == 0 || back > uint64(n):
		return fmt.Errorf("its block does not start where it says")
	}
	first, k := s.index.Row(n - int(back))
	if place, ok := first.Block(k); !ok || place != at || first.Seq(k) != at.First || first.Slot(k) != 0 || first.Class(k) != class ||
		first.Scope(k) != b.Scope(i) || first.Stream(k) != b.Stream(i) || first.Digest(k) != b.Digest(i) {
		return fmt.Errorf("the block is not the one that the leaf names")
	}
	if s.open != nil {
		s.open.chain(n-int(back), n)
	}
	return nil
}

func (s *segmentCheck) sortBlocks() {
	offset := func(row uint32) uint32 {
		b, i := s.index.Row(int(row))
		at, _ := b.Block(i)
		return at.Offset
	}
	for _, rows := range s.mem.blocks {
		for k := range rows {
			if k > 0 && offset(rows[k]) < offset(rows[k-1]) { // frames name their blocks in any order
				slices.SortStableFunc(rows, func(a, b uint32) int { return int(offset(a)) - int(offset(b)) })
				break
			}
		}
	}
}

// treeBatch is how many leaves grow the tree at a time.
const treeBatch = 4096

// tree checks that the leaves grow the tree as the commit says, and keeps the nodes that the proof must hold.
func (s *segmentCheck) tree() {
	t, m := &s.c.Tree, s.mem
	f, err := merkle.NewFrontier(t.First, t.Before)
	if err != nil {
		s.v.r.fault(integrity, s.c.key, "%v", err)
		return
	}
	if uint64(len(m.leaves)) != t.Size-t.First {
		s.bad(commit.KindIndex, "%d rows, the commit says %d leaves", len(m.leaves), t.Size-t.First)
		return
	}
	levels := nodeLevels(t.First, t.Size)
	m.nodes = slices.Grow(m.nodes, levels[len(levels)-1])[:levels[len(levels)-1]]
	for leaves := m.leaves; len(leaves) > 0; leaves = leaves[min(treeBatch, len(leaves)):] {
		for i := range m.levels {
			m.levels[i] = m.levels[i][:0]
		}
		m.levels = f.AppendLevels(m.levels, leaves[:min(treeBatch, len(leaves))]...)
		for l := segment.LowestNode; l < min(len(m.levels), len(levels)-1); l++ { // m.levels may be from a larger segment
			levels[l] += copy(m.nodes[levels[l]:], m.levels[l])
		}
	}
	if f.Root() != t.Root {
		s.bad(commit.KindIndex, "the rows do not give the root that the commit names")
	}
}

// nodeLevels says where the nodes of each level start in section 3 of the proof of leaves [first, size), in nodes; the last
// is where they end.
func nodeLevels(first, size uint64) (starts []int) {
	at := 0
	for l := 0; size>>l > 0; l++ {
		starts = append(starts, at)
		if l >= segment.LowestNode {
			at += int(size>>l - first>>l)
		}
	}
	return append(starts, at)
}
