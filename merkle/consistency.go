package merkle

import "math/bits"

// ConsistencyProof shows that a tree is a prefix of another: that the first
// OldSize leaves of the new tree are the old tree (RFC 6962 section 2.1.2). It
// is worth as much as the roots that it is verified against.
type ConsistencyProof struct {
	OldSize uint64 // in leaves
	NewSize uint64 // in leaves
	Path    []Hash // from the bottom up; empty if OldSize is 0 or NewSize
}

// ConsistencyNodes returns the nodes that the proof between the trees of
// oldSize and newSize leaves is made of, in the order in which
// [ProveConsistency] asks for them. It reads nothing.
// Requires oldSize <= newSize <= 2^63-1.
func ConsistencyNodes(oldSize, newSize uint64) ([]Node, error) {
	p, err := planConsistency(oldSize, newSize)
	return p.nodes, err
}

// ProveConsistency makes the proof between the trees of oldSize and newSize
// leaves. It calls read at most once; an error of read is returned as it is.
// Requires oldSize <= newSize <= 2^63-1.
func ProveConsistency(oldSize, newSize uint64, read NodeReader) (ConsistencyProof, error) {
	p, err := planConsistency(oldSize, newSize)
	if err != nil {
		return ConsistencyProof{}, err
	}
	path, err := p.path(read)
	if err != nil {
		return ConsistencyProof{}, err
	}
	return ConsistencyProof{OldSize: oldSize, NewSize: newSize, Path: path}, nil
}

func planConsistency(oldSize, newSize uint64) (plan, error) {
	if err := checkConsistency(oldSize, newSize); err != nil {
		return plan{}, err
	}
	var p plan
	if oldSize == 0 || oldSize == newSize {
		return p, nil
	}
	start := lastPerfect(oldSize)
	if start.Index > 0 {
		p.nodes = append(p.nodes, start)
	}
	p.climbFrom(start, newSize)
	return p, nil
}

// lastPerfect returns the rightmost perfect subtree of a tree of size leaves.
// It is the whole tree, and then no part of a consistency proof because the
// verifier has its root, if it has index 0. Requires size > 0.
func lastPerfect(size uint64) Node {
	level := bits.TrailingZeros64(size)
	return Node{Level: level, Index: size>>level - 1}
}

func checkConsistency(oldSize, newSize uint64) error {
	if err := checkSize("consistency", newSize); err != nil {
		return err
	}
	if oldSize > newSize {
		return invalidf("consistency: old size %d is over new size %d", oldSize, newSize)
	}
	return nil
}

// Verify checks that the tree of p.OldSize leaves with root oldRoot is a prefix
// of the tree of p.NewSize leaves with root newRoot. It returns nil if so, a
// [*MismatchError] naming the old or the new root if p leads to another one,
// and an error that wraps [ErrInvalid] if p has not the shape of a proof. The
// empty tree, which has the root [EmptyRoot], is a prefix of every tree, and
// that says nothing about newRoot. Verify accepts any p, hashes at most 126
// times and does not allocate unless it fails.
func (p ConsistencyProof) Verify(oldRoot, newRoot Hash) error {
	if err := p.check(); err != nil {
		return err
	}
	gotOld, gotNew := p.roots(oldRoot, newRoot)
	if gotOld != oldRoot {
		return &MismatchError{What: "consistency: old root", Size: p.OldSize, Got: gotOld, Want: oldRoot}
	}
	if gotNew != newRoot {
		return &MismatchError{What: "consistency: new root", Size: p.NewSize, Got: gotNew, Want: newRoot}
	}
	return nil
}

// roots returns the two roots that p leads to, given what the verifier holds.
// Requires that p has the shape of a proof.
func (p ConsistencyProof) roots(oldRoot, newRoot Hash) (gotOld, gotNew Hash) {
	switch p.OldSize {
	case 0:
		return EmptyRoot(), newRoot
	case p.NewSize:
		return oldRoot, oldRoot
	}
	start, path := lastPerfect(p.OldSize), p.Path
	gotOld = oldRoot
	if start.Index > 0 {
		gotOld, path = path[0], path[1:]
	}
	gotNew = gotOld
	for index, last := start.Index, (p.NewSize-1)>>start.Level; last > 0; index, last = index>>1, last>>1 {
		switch {
		case index&1 == 1:
			gotOld = NodeHash(path[0], gotOld)
			gotNew, path = NodeHash(path[0], gotNew), path[1:]
		case index < last:
			gotNew, path = NodeHash(gotNew, path[0]), path[1:]
		}
	}
	return gotOld, gotNew
}

// check reports whether p has the shape of a proof.
func (p ConsistencyProof) check() error {
	if err := checkConsistency(p.OldSize, p.NewSize); err != nil {
		return err
	}
	want := 0
	if p.OldSize != 0 && p.OldSize != p.NewSize {
		start := lastPerfect(p.OldSize)
		want = pathLength(start.Index, (p.NewSize-1)>>start.Level)
		if start.Index > 0 {
			want++
		}
	}
	if len(p.Path) != want {
		return invalidf("consistency: path of %d hashes from size %d to %d, want %d", len(p.Path), p.OldSize, p.NewSize, want)
	}
	return nil
}
