package merkle

import "fmt"

// InclusionProof shows that a leaf is in a tree (RFC 6962 section 2.1.1, the
// audit path). It is worth as much as the root that it is verified against.
type InclusionProof struct {
	Index uint64 // of the leaf, counted from 0
	Size  uint64 // of the tree, in leaves
	Path  []Hash // from the sibling of the leaf up to the child of the root
}

// InclusionNodes returns the nodes that the proof for the leaf with this index
// in the tree of size leaves is made of, in the order in which [ProveInclusion]
// asks for them. It reads nothing: a caller that makes many proofs can fetch
// their nodes together. Requires index < size <= 2^63-1.
func InclusionNodes(index, size uint64) ([]Node, error) {
	p, err := planInclusion(index, size)
	return p.nodes, err
}

// ProveInclusion makes the proof for the leaf with this index in the tree of
// size leaves. It calls read at most once; an error of read is returned as it
// is. Requires index < size <= 2^63-1.
func ProveInclusion(index, size uint64, read NodeReader) (InclusionProof, error) {
	p, err := planInclusion(index, size)
	if err != nil {
		return InclusionProof{}, err
	}
	path, err := p.path(read)
	if err != nil {
		return InclusionProof{}, err
	}
	return InclusionProof{Index: index, Size: size, Path: path}, nil
}

func planInclusion(index, size uint64) (plan, error) {
	if err := checkInclusion(index, size); err != nil {
		return plan{}, err
	}
	var p plan
	p.climbFrom(Node{Level: 0, Index: index}, size)
	return p, nil
}

func checkInclusion(index, size uint64) error {
	if err := checkSize("inclusion", size); err != nil {
		return err
	}
	if index >= size {
		return invalidf("inclusion: no leaf %d in a tree of size %d", index, size)
	}
	return nil
}

// Verify checks that the tree of p.Size leaves with this root has the leaf hash
// leaf at p.Index. It returns nil if so, a [*MismatchError] if p leads to
// another root, and an error that wraps [ErrInvalid] if p has not the shape of
// a proof. It accepts any p, hashes at most 63 times and does not allocate
// unless it fails.
func (p InclusionProof) Verify(leaf, root Hash) error {
	if err := p.check(); err != nil {
		return err
	}
	got, path := leaf, p.Path
	for index, last := p.Index, p.Size-1; last > 0; index, last = index>>1, last>>1 {
		switch {
		case index&1 == 1:
			got, path = NodeHash(path[0], got), path[1:]
		case index < last:
			got, path = NodeHash(got, path[0]), path[1:]
		}
	}
	if got != root {
		return &MismatchError{What: fmt.Sprintf("inclusion of leaf %d", p.Index), Size: p.Size, Got: got, Want: root}
	}
	return nil
}

// check reports whether p has the shape of a proof.
func (p InclusionProof) check() error {
	if err := checkInclusion(p.Index, p.Size); err != nil {
		return err
	}
	if want := pathLength(p.Index, p.Size-1); len(p.Path) != want {
		return invalidf("inclusion: path of %d hashes for leaf %d in a tree of size %d, want %d", len(p.Path), p.Index, p.Size, want)
	}
	return nil
}
