package keytrie

import (
	"context"
	"fmt"
	"slices"
)

// group is a set of paths that has not found its place in a node yet, in one of three forms: entries in memory (at most
// a bucket), an inner node in memory (slots, branching at nibble at), or a node as it lies in a pack (child).
type group struct {
	first   []byte // a path of the group, as far as its bits are known
	count   uint64
	entries []Entry
	slots   []slot
	at      int
	child   *Root
	node    *node // that is to be freed when the group is in a pack, if any
	bits    int   // how many bits of first are known, for a child
	shared  int   // bits shared with the group before
}

// linked is a node as it lies in a pack.
func linked(r *Root, at *place) group {
	return group{first: at.known(), bits: at.bits, count: r.Count, child: r}
}

// place is where the child of g lies.
func (g *group) place() (at place) {
	copy(at.buf[:], g.first)
	at.bits = g.bits
	return at
}

// joiner puts groups together that come in order, and so builds one node with all that is below it. It holds the
// groups of one path at most.
type joiner struct {
	nodes
	stack []group
	last  []byte // first of the newest group
}

func (j *joiner) add(ctx context.Context, g group) error {
	if len(j.stack) > 0 {
		g.shared = common(j.last, g.first)
		if g.shared == 8*min(len(j.last), len(g.first)) {
			return fmt.Errorf("%w: %x and %x", ErrPaths, j.last, g.first)
		}
		for len(j.stack) > 1 && j.stack[len(j.stack)-1].shared > g.shared {
			if err := j.join(ctx); err != nil {
				return err
			}
		}
	}
	j.last = g.first
	j.stack = append(j.stack, g)
	return nil
}

// finish returns the group of all that was added; its count is 0 if that is nothing.
func (j *joiner) finish(ctx context.Context) (group, error) {
	for len(j.stack) > 1 {
		if err := j.join(ctx); err != nil {
			return group{}, err
		}
	}
	if len(j.stack) == 0 {
		return group{}, nil
	}
	return j.stack[0], nil
}

// join makes one group of the two newest ones, which part at bit shared of the second.
func (j *joiner) join(ctx context.Context) error {
	n := len(j.stack)
	a, b := &j.stack[n-2], &j.stack[n-1]
	j.stack = j.stack[:n-1]
	bit := b.shared
	count := a.count + b.count
	if count <= uint64(j.bucket()) {
		for _, g := range [...]*group{a, b} {
			if err := j.fetch(ctx, g); err != nil {
				return err
			}
		}
		a.entries, a.child, a.node, a.count = append(a.entries, b.entries...), nil, nil, count
		return nil
	}
	left, err := j.toSlots(a, bit)
	if err != nil {
		return err
	}
	right, err := j.toSlots(b, bit)
	if err != nil {
		return err
	}
	a.slots, a.at = append(left[:len(left):len(left)], right...), bit/4
	a.entries, a.child, a.node, a.count = nil, nil, nil, count
	return nil
}

// fetch reads the entries of a group that is a bucket in a pack.
func (j *joiner) fetch(ctx context.Context, g *group) error {
	if g.child == nil {
		return nil
	}
	n, err := j.load(ctx, g.child)
	if err != nil {
		return err
	}
	if n.inner() {
		return &NodeError{g.child.Link, fmt.Errorf("%w: not a bucket", ErrCorrupt)}
	}
	at := g.place()
	if err := n.check(&at, g.child); err != nil {
		return err
	}
	g.entries = slices.Clip(n.entries) // others may hold the node
	return nil
}

// toSlots makes the slots of g in a node that branches at the nibble of bit.
func (j *joiner) toSlots(g *group, bit int) ([]slot, error) {
	at := bit / 4
	if g.slots != nil && g.at == at {
		return g.slots, nil
	}
	length := 4
	if g.count <= uint64(j.bucket()) {
		length = bit%4 + 1
	}
	r, err := j.root(g, at+1)
	code := byte(1)<<length | nibble(g.first, at)>>(4-length)
	return []slot{{code, r}}, err
}

// root writes g, if it is not in a pack already, as a node that begins at a nibble.
func (j *joiner) root(g *group, from int) (Root, error) {
	switch {
	case g.child != nil:
		return *g.child, nil
	case g.slots != nil:
		return j.save(&node{skip: appendNibbles(nil, g.first, from, g.at), slots: g.slots})
	}
	return j.save(&node{entries: g.entries})
}
