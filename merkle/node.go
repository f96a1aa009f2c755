package merkle

import (
	"math/bits"
	"slices"
)

// Node is the address of the root of a perfect subtree: the node of level Level
// (leaves are level 0) with Index such nodes to its left. It covers the leaves
// from Index<<Level to ((Index+1)<<Level)-1. It is complete, and never changes
// again, once the tree has (Index+1)<<Level leaves.
type Node struct {
	Level int
	Index uint64
}

// NodeReader fills hashes[i] with the hash of nodes[i], for all i. Both slices
// have the same length, which is never 0, and belong to the caller again when
// it returns. The nodes are distinct and complete in the tree that the proof is
// for. A proof calls it at most once, so that a reader that fetches from far
// away needs one round trip. Nodes that are not stored can be made from the
// leaf hashes that they cover with [Root].
type NodeReader func(nodes []Node, hashes []Hash) error

// plan is the nodes of a proof in the order of its path, where the nodes
// nodes[lo:hi], from left to right, make up one path element: the part of the
// tree to the right of a path need not be perfect.
type plan struct {
	nodes  []Node
	lo, hi int
}

// climbFrom adds to p the siblings on the way from node n to the root of the
// tree of size leaves, from the bottom up. Requires that n is complete in it.
func (p *plan) climbFrom(n Node, size uint64) {
	level, index, last := n.Level, n.Index, (size-1)>>n.Level
	p.nodes = slices.Grow(p.nodes, pathLength(index, last)+bits.OnesCount64(size))
	for ; last > 0; level, index, last = level+1, index>>1, last>>1 {
		switch {
		case index&1 == 1:
			p.nodes = append(p.nodes, Node{level, index - 1})
		case index+2 <= size>>level:
			p.nodes = append(p.nodes, Node{level, index + 1})
		case index < last:
			p.addBorder(level, size)
		}
	}
}

// addBorder adds the perfect subtrees that the last node of level splits into,
// when that node is not complete: one for each bit of size below level.
func (p *plan) addBorder(level int, size uint64) {
	p.lo = len(p.nodes)
	for rest := size & (1<<level - 1); rest != 0; {
		low := bits.Len64(rest) - 1
		p.nodes = append(p.nodes, Node{low, size>>low - 1})
		rest &^= 1 << low
	}
	p.hi = len(p.nodes)
}

// path reads the nodes of p and folds the border into one element.
func (p *plan) path(read NodeReader) ([]Hash, error) {
	if len(p.nodes) == 0 {
		return nil, nil
	}
	hashes := make([]Hash, len(p.nodes))
	if err := read(p.nodes, hashes); err != nil {
		return nil, err
	}
	if p.hi-p.lo < 2 {
		return hashes, nil
	}
	border := hashes[p.hi-1]
	for i := p.hi - 2; i >= p.lo; i-- {
		border = NodeHash(hashes[i], border)
	}
	hashes[p.lo] = border
	return append(hashes[:p.lo+1], hashes[p.hi:]...), nil
}

// pathLength returns how many siblings there are on the way from the node with
// this index to the root, in a level whose last node has index last.
func pathLength(index, last uint64) int {
	// Below the level where the ways from index and from last meet every node
	// has a sibling; above it only left siblings are left.
	meet := bits.Len64(index ^ last)
	return meet + bits.OnesCount64(index>>meet)
}
