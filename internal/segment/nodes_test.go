package segment

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/merkle"
)

// naive makes all complete nodes of the tree over leaves, level by level.
func naive(leaves []merkle.Hash) [][]merkle.Hash {
	levels := [][]merkle.Hash{leaves}
	for row := leaves; len(row) > 1; {
		var up []merkle.Hash
		for i := 0; i+1 < len(row); i += 2 {
			up = append(up, merkle.NodeHash(row[i], row[i+1]))
		}
		levels, row = append(levels, up), up
	}
	return levels
}

func numbered(n int) []merkle.Hash {
	leaves := make([]merkle.Hash, n)
	for i := range leaves {
		leaves[i] = merkle.LeafHash([]byte{byte(i), byte(i >> 8)})
	}
	return leaves
}

// Every node of level 3 or higher is in the section of exactly one segment, the one with its last leaf.
func TestNodeOffset(t *testing.T) {
	const most = 80
	leaves := numbered(most)
	for first := range most {
		var before merkle.Frontier
		before.Append(leaves[:first]...)
		for size := first + 1; size <= most; size++ {
			w := NewWriter(testArchive, testLog, before)
			w.levels = w.after.AppendLevels(w.levels, leaves[first:size]...)
			s := &Segment{}
			w.writeProof(s)
			checkNodes(t, uint64(first), uint64(size), naive(leaves[:size]), cut(s.Proof, s.ProofSpans[SectionNodes]))
		}
	}
}

func checkNodes(t *testing.T, first, size uint64, tree [][]merkle.Hash, section []byte) {
	t.Helper()
	nodes, err := ParseHashes(section)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for level, row := range tree {
		for i := range row {
			off, ok := NodeOffset(first, size, level, uint64(i))
			here := level >= 3 && uint64(i+1)<<level > first
			if ok != here {
				t.Fatalf("[%d, %d): node %d/%d is here: %v", first, size, level, i, ok)
			}
			if !ok {
				continue
			}
			if nodes[off/32] != row[i] {
				t.Fatalf("[%d, %d): not node %d/%d at %d", first, size, level, i, off)
			}
			found++
		}
	}
	if found != len(nodes) {
		t.Fatalf("[%d, %d): %d nodes, %d found", first, size, len(nodes), found)
	}
}

func TestNodeOffsetOutside(t *testing.T) {
	for _, c := range []struct {
		first, size uint64
		level       int
		index       uint64
	}{
		{0, 100, 2, 0}, {0, 100, -1, 0}, {0, 100, 64, 0}, {0, 100, 3, 12}, {16, 100, 3, 1}, {0, 0, 3, 0}, {0, 100, 63, 0},
		{0, 1 << 63, 3, 1 << 60}, {0, 1 << 62, 62, 0},
	} {
		if off, ok := NodeOffset(c.first, c.size, c.level, c.index); ok {
			t.Errorf("%+v: %d", c, off)
		}
	}
	// The one node of level 62 that the last leaf of a very large tree completes.
	if off, ok := NodeOffset(1<<62-1, 1<<62, 62, 0); !ok || off != 59*32 {
		t.Errorf("the top of a large tree: %d %v", off, ok)
	}
}

// A proof made from the node sections of consecutive segments verifies.
func TestProveFromSegments(t *testing.T) {
	w := NewWriter(testArchive, testLog, merkle.Frontier{})
	var segments []*Segment
	var all []merkle.Hash
	for i := range 5 {
		r := makeRun(t, uint64(100+i), 1, 1+i, shape{rows: 7 + 31*i, blockRows: 4, blockLen: 50, models: 2})
		s := r.write(t, w)
		s.Proof = slices.Clone(s.Proof)
		segments, all = append(segments, s), append(all, r.hashes...)
		w.Reset(testArchive, testLog, s.After)
	}
	read := func(nodes []merkle.Node, hashes []merkle.Hash) error {
		for i, n := range nodes {
			hashes[i] = readNode(t, segments, n)
		}
		return nil
	}
	last := segments[len(segments)-1]
	root := last.After.Root()
	for i := uint64(0); i < last.Size; i += 3 {
		p, err := merkle.ProveInclusion(i, last.Size, read)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Verify(all[i], root); err != nil {
			t.Fatal(err)
		}
	}
}

func readNode(t *testing.T, segments []*Segment, n merkle.Node) merkle.Hash {
	t.Helper()
	end := (n.Index + 1) << n.Level
	for _, s := range segments {
		if s.Size < end {
			continue
		}
		if off, ok := NodeOffset(s.First, s.Size, n.Level, n.Index); ok {
			return merkle.Hash(cut(s.Proof, s.ProofSpans[SectionNodes])[off:])
		}
		break
	}
	var leaves []merkle.Hash
	for at := n.Index << n.Level; at < end; at++ {
		for _, s := range segments {
			if at >= s.First && at < s.Size {
				leaves = append(leaves, merkle.Hash(cut(s.Proof, s.ProofSpans[SectionLeaves])[32*(at-s.First):]))
			}
		}
	}
	if n.Level >= 3 {
		t.Fatalf("node %+v is in no segment", n)
	}
	return merkle.Root(leaves)
}

// Random frames come back as they went in, wherever the log stands.
func TestRandomRuns(t *testing.T) {
	w := NewWriter(testArchive, testLog, merkle.Frontier{})
	rapid.Check(t, func(rt *rapid.T) {
		var before merkle.Frontier
		before.Append(numbered(rapid.IntRange(0, 40).Draw(rt, "before"))...)
		w.Reset(testArchive, testLog, before)
		r := makeRun(rapidTB{t, rt}, rapid.Uint64().Draw(rt, "seed"), rapid.IntRange(1, 4).Draw(rt, "streams"),
			rapid.IntRange(1, 12).Draw(rt, "frames"), shape{rows: rapid.IntRange(1, 60).Draw(rt, "rows"),
				blockRows: rapid.IntRange(1, 10).Draw(rt, "block rows"), blockLen: rapid.IntRange(1, 400).Draw(rt, "block length"),
				models: rapid.IntRange(1, 20).Draw(rt, "models")})
		checkSegment(rapidTB{t, rt}, r, r.write(rapidTB{t, rt}, w))
	})
}

// rapidTB lets rapid know of failures, to shrink them.
type rapidTB struct {
	testing.TB
	rt *rapid.T
}

func (r rapidTB) Fatal(args ...any)                 { r.rt.Fatal(args...) }
func (r rapidTB) Fatalf(format string, args ...any) { r.rt.Fatalf(format, args...) }

func TestEncaps(t *testing.T) {
	w := NewWriter(testArchive, testLog, merkle.Frontier{})
	r := makeRun(t, 5, 1, 1, shape{rows: 5, blockRows: 2, blockLen: 30, models: 1})
	var want []Encap
	for i := range 5 {
		e := Encap{Stream: [16]byte{byte(i)}, Day: uint16(i), Year: 2026, Enc: make([]byte, frame.EncapLen)}
		e.Enc[7] = byte(i)
		w.AddEncap(e)
		w.AddEncap(e)
		want = append(want, Encap{e.Stream, e.Day, e.Year, slices.Clone(e.Enc)})
		e.Enc[8]++ // the writer keeps a copy
	}
	s := r.write(t, w)
	got, err := ParseEncaps(cut(s.Proof, s.ProofSpans[SectionEncaps]))
	if err != nil {
		t.Fatal(err)
	}
	byID := func(a, b Encap) int {
		x, y := frame.EncapID(a.Enc), frame.EncapID(b.Enc)
		return slices.Compare(x[:], y[:])
	}
	slices.SortFunc(want, byID)
	if !slices.EqualFunc(got, want, func(a, b Encap) bool {
		return a.Stream == b.Stream && a.Day == b.Day && a.Year == b.Year && slices.Equal(a.Enc, b.Enc)
	}) {
		t.Fatalf("%d encapsulations differ", len(got))
	}
	w.Reset(testArchive, testLog, s.After)
	if s := r.write(t, w); s.ProofSpans[SectionEncaps].Len != 0 {
		t.Fatal("the next segment has them too")
	}
}
