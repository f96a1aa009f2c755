package backup

import (
	"context"
	"fmt"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/merkle"
)

// Tree is the tree of a log, for tests: Prove makes inclusion proofs.
type Tree struct{ nodes *treeNodes }

// OpenTree opens the tree of the log number n of an archive.
func OpenTree(a *Archive, n int) *Tree { return &Tree{newTreeNodes(a.store, a.logs[n])} }

// Prove makes the proof of a leaf in the tree of a size.
func (t *Tree) Prove(ctx context.Context, index, size uint64) (merkle.InclusionProof, error) {
	return merkle.ProveInclusion(index, size, func(nodes []merkle.Node, hashes []merkle.Hash) error { return t.nodes.read(ctx, nodes, hashes) })
}

// Forget drops what was read.
func (t *Tree) Forget() {
	clear(t.nodes.tiles)
	clear(t.nodes.lone)
}

// Sizes are those of the tree at the ends of its segments.
func (t *Tree) Sizes() (sizes []uint64) {
	for _, c := range t.nodes.l.commits {
		sizes = append(sizes, c.Tree.Size)
	}
	return sizes
}

// LargeTree is the tree of a log of equal segments that no store holds: store gives the proof objects, whose sections 2 and 3 have these places.
func LargeTree(store worm.Store, origin string, segments int, leaves uint64, before func(i int) []merkle.Hash) *Tree {
	l := &openLog{chain: &datalog.Chain{Origin: origin}}
	nodes := int64(0)
	for level := segment.LowestNode; leaves>>level > 0; level++ {
		nodes += int64(leaves >> level)
	}
	for i := range segments {
		first := uint64(i) * leaves
		c := &commit.Commit{N: uint64(i), Log: origin, Tree: commit.Tree{First: first, Size: first + leaves, Before: before(i)}, Proof: make([]commit.Span, segment.Sections)}
		c.Proof[segment.SectionLeaves] = commit.Span{Off: 0, Len: 32 * int64(leaves)}
		c.Proof[segment.SectionNodes] = commit.Span{Off: 32 * int64(leaves), Len: 32 * (nodes + 64)}
		c.Objects = []commit.Object{{Kind: commit.KindProof, Key: fmt.Sprintf("logs/0/large/objects/%08d.proof", i), Size: 32 * (int64(leaves) + nodes + 64)}}
		l.commits = append(l.commits, logCommit{Commit: c})
	}
	return &Tree{newTreeNodes(store, l)}
}
