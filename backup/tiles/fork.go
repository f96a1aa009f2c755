package tiles

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/merkle"
)

const forkFormat = "fork/v1"

// Fork is evidence that a control log was forked: two signed heads, and the first leaf in which they differ. It needs
// nothing else to be checked but the trust file. The format is docs/formats/control.md.
type Fork struct {
	Stele string   `json:"stele"` // "fork/v1"
	Log   string   `json:"log"`   // origin
	Index uint64   `json:"index"` // of the first entry that differs
	A     ForkSide `json:"a"`
	B     ForkSide `json:"b"`
}

// ForkSide is one of two histories.
type ForkSide struct {
	Entry string `json:"entry"` // data of the leaf
	Proof string `json:"proof"` // that it is in the log, with the signed head, as a c2sp.org/tlog-proof
}

// Comparison says how two copies of a control log relate.
type Comparison struct {
	Log          string `json:"log"`
	SizeA, SizeB uint64 // entries
	Common       uint64 // entries from the start that are the same in both
	Fork         *Fork  `json:"fork,omitempty"` // nil if one continues the other
}

// Compare compares the control logs of two copies of one archive, in a few reads however long they are. If they differ in an
// entry that both have, it returns evidence of the fork; the error says why it cannot, if not both have signed a head
// over it.
func Compare(ctx context.Context, a, b *View) (*Comparison, error) {
	c := &Comparison{Log: a.trust.Origin(), SizeA: a.control.Size(), SizeB: b.control.Size()}
	if a.trust.Archive != b.trust.Archive || a.trust.Log != b.trust.Log {
		return nil, errors.New("the two are not copies of one archive")
	}
	var err error
	if c.Common, err = commonPrefix(a, b, min(c.SizeA, c.SizeB)); err != nil || c.Common == min(c.SizeA, c.SizeB) {
		return c, err
	}
	c.Fork = &Fork{Stele: forkFormat, Log: c.Log, Index: c.Common}
	for side, t := range map[*ForkSide]*View{&c.Fork.A: a, &c.Fork.B: b} {
		if *side, err = t.side(ctx, c.Common); err != nil {
			return c, fmt.Errorf("they differ from entry %d on, but evidence of it cannot be made: %w", c.Common, err)
		}
	}
	return c, nil
}

// commonPrefix is how many of the first n leaves are the same: down the tree from the perfect subtrees of [0, n).
func commonPrefix(a, b *View, n uint64) (uint64, error) {
	same := func(node merkle.Node) (bool, error) {
		x, err := a.node(node)
		if err != nil {
			return false, err
		}
		y, err := b.node(node)
		return x == y, err
	}
	for level := 62; level >= 0; level-- {
		if n>>level&1 == 0 {
			continue
		}
		node := merkle.Node{Level: level, Index: n>>level - 1}
		equal, err := same(node)
		if err != nil {
			return 0, err
		}
		for !equal && node.Level > 0 { // into the first half that differs
			node = merkle.Node{Level: node.Level - 1, Index: 2 * node.Index}
			left, err := same(node)
			if err != nil {
				return 0, err
			}
			if left {
				node.Index++
			}
		}
		if !equal {
			return node.Index, nil
		}
	}
	return n, nil
}

// node is a node of the control log.
func (t *View) node(n merkle.Node) (merkle.Hash, error) {
	var h [1]merkle.Hash
	err := t.controlNodes([]merkle.Node{n}, h[:])
	return h[0], err
}

// side proves that an entry is under the newest signed head.
func (t *View) side(ctx context.Context, index uint64) (s ForkSide, err error) {
	head, size, err := t.control.Published(ctx)
	if err != nil {
		return s, err
	}
	if size <= index {
		return s, fmt.Errorf("the newest signed head in one of them is of %d entries", size)
	}
	proof, err := merkle.ProveInclusion(index, size, t.controlNodes)
	if err != nil {
		return s, err
	}
	text, err := merkle.TLogProof{Index: index, Path: proof.Path, Checkpoint: head}.MarshalText()
	if err != nil {
		return s, err
	}
	s.Proof = string(text)
	return s, t.control.Entries(ctx, index, 1, func(_ uint64, entry string) error { s.Entry = entry; return nil })
}

// CheckFork checks evidence of a fork with the trust file alone. If it returns nil, whoever holds the key of the control log has
// signed two histories.
func CheckFork(file, trust []byte) (*Fork, error) {
	var t identity.Trust
	if err := t.UnmarshalText(trust); err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	v, err := t.LogVerifier()
	if err != nil {
		return nil, err
	}
	var f Fork
	dec := json.NewDecoder(bytes.NewReader(file))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil || f.Stele != forkFormat {
		return nil, fmt.Errorf("this is no evidence of a fork that this stele can read (want %q): %w", forkFormat, err)
	}
	if f.Log != t.Origin() {
		return nil, fmt.Errorf("it is about %q, and the trust file vouches for %q", f.Log, t.Origin())
	}
	for name, side := range map[string]ForkSide{"a": f.A, "b": f.B} {
		var p merkle.TLogProof
		err := p.UnmarshalText([]byte(side.Proof))
		if err == nil && p.Index != f.Index {
			err = fmt.Errorf("it is of entry %d, not %d", p.Index, f.Index)
		}
		if err == nil && !control.Canonical(p.Checkpoint) {
			err = errors.New("its head has not one signature, or that is written in another way")
		}
		if err == nil {
			err = control.CheckLeaf(side.Entry)
		}
		if err == nil {
			_, err = p.Verify(control.LeafHash(side.Entry), f.Log, note.VerifierList(v))
		}
		if err != nil {
			return nil, fmt.Errorf("history %s: %w", name, err)
		}
	}
	if f.A.Entry == f.B.Entry {
		return nil, errors.New("both histories have the same entry: this shows no fork")
	}
	return &f, nil
}
