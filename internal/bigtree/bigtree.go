// Package bigtree is a tree of a billion leaves for benchmarks, of which only some segments are made. Their hashes follow from leaves
// that all differ; of the other segments there is one random hash each, from which all above follows. So no two tiles are equal, and proofs of
// leaves that are made lead to the root.
package bigtree

import (
	"encoding/binary"
	"slices"

	"github.com/stelelog/stele/merkle"
)

// SegmentLevel is the level of the node that a segment adds up to.
const SegmentLevel = 16

// SegmentLeaves is how many leaves a segment has.
const SegmentLeaves = 1 << SegmentLevel

// Tree is such a tree. Safe for concurrent reading.
type Tree struct {
	made  map[int][][]merkle.Hash // levels 0 to 16 of a segment
	upper [][]merkle.Hash         // levels 16 and more
}

// New makes a tree of so many segments, and the leaves of those in made. It takes a hash for each leaf and node that is made.
func New(segments int, made ...int) *Tree {
	t := &Tree{made: map[int][][]merkle.Hash{}}
	row := make([]merkle.Hash, segments)
	for i := range row {
		row[i] = merkle.LeafHash(binary.LittleEndian.AppendUint64([]byte("segment "), uint64(i)))
		if slices.Contains(made, i) {
			t.made[i] = leavesOf(i)
			row[i] = t.made[i][SegmentLevel][0]
		}
	}
	for len(row) > 0 {
		t.upper = append(t.upper, row)
		above := make([]merkle.Hash, len(row)/2)
		for i := range above {
			above[i] = merkle.NodeHash(row[2*i], row[2*i+1])
		}
		row = above
	}
	return t
}

func leavesOf(segment int) [][]merkle.Hash {
	leaves := make([]merkle.Hash, SegmentLeaves)
	for i := range leaves {
		leaves[i] = merkle.LeafHash(binary.LittleEndian.AppendUint64(nil, uint64(segment)<<SegmentLevel+uint64(i)))
	}
	var f merkle.Frontier
	return f.AppendLevels(nil, leaves...)
}

// Node is a node of a level, if it is made.
func (t *Tree) Node(level int, index uint64) merkle.Hash {
	if level >= SegmentLevel {
		return t.upper[level-SegmentLevel][index]
	}
	per := uint64(1) << (SegmentLevel - level)
	return t.made[int(index/per)][level][index%per]
}

// Before is the compact range in front of a segment.
func (t *Tree) Before(segment int) (range_ []merkle.Hash) {
	for level := len(t.upper) - 1; level >= 0; level-- {
		if segment>>level&1 == 1 {
			range_ = append(range_, t.upper[level][segment>>level-1])
		}
	}
	return range_
}

// Root is the root up to the end of a segment.
func (t *Tree) Root(segment int) merkle.Hash {
	f, err := merkle.NewFrontier(uint64(segment+1)<<SegmentLevel, t.Before(segment+1))
	if err != nil {
		panic(err) // the range is that of the size
	}
	return f.Root()
}

// Proof is the leaves and the nodes of a segment that is made, as they stand in a proof object (docs/formats/segment.md).
func (t *Tree) Proof(segment int) (data []byte) {
	put := func(row []merkle.Hash) {
		for i := range row {
			data = append(data, row[i][:]...)
		}
	}
	rows := t.made[segment]
	put(rows[0])
	for _, row := range rows[3:] {
		put(row)
	}
	for level := 1; (segment+1)>>level > segment>>level; level++ {
		put(t.upper[level][segment>>level : (segment+1)>>level])
	}
	return data
}

// Tile is the tile of a level of c2sp.org/tlog-tiles, 0 to 3.
func (t *Tree) Tile(level int, index uint64, width int) (data []byte) {
	for i := range uint64(width) {
		h := t.Node(8*level, index<<8+i)
		data = append(data, h[:]...)
	}
	return data
}
