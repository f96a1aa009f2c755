package keytrie

import (
	"context"
	"fmt"
)

// ahead is how many nodes are read at once, so that their commitments are computed at once. What a walk holds follows from
// it and from the depth of the trie.
const ahead = 32

// spot is a node on the way of a walk.
type spot struct {
	Root
	at       place
	prefixes [][]byte // those that have to do with it
	all      bool     // its paths all begin with one of them
	n        *node    // once it was read: a bucket
}

// walker reads nodes in the order of their paths, some of them ahead of those before.
type walker struct {
	nodes
	bucket func(n *node, prefixes [][]byte, whole bool) error
	roots  []*Root
	loaded []*node
	spare  [][]spot
}

// walk calls bucket for each loaded bucket below r that may hold paths with one of the prefixes, and hands those on; whole
// says that all its paths do. all is for when there are no prefixes to look for.
func walk(ctx context.Context, t nodes, r *Root, at place, prefixes [][]byte, all bool, bucket func(n *node, prefixes [][]byte, whole bool) error) error {
	w := walker{nodes: t, bucket: bucket}
	return w.walk(ctx, []spot{{Root: *r, at: at, prefixes: prefixes, all: all}})
}

func (w *walker) walk(ctx context.Context, spots []spot) error {
	for len(spots) > 0 {
		part := spots[:min(len(spots), ahead)]
		spots = spots[len(part):]
		inner, err := w.load(ctx, part)
		if err != nil {
			return err
		}
		if !inner {
			err = w.buckets(part)
		} else {
			err = w.down(ctx, part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// load reads the nodes of spots, and reports whether there are inner ones.
func (w *walker) load(ctx context.Context, spots []spot) (inner bool, err error) {
	w.roots, w.loaded = w.roots[:0], w.loaded[:0]
	for i := range spots {
		w.roots, w.loaded = append(w.roots, &spots[i].Root), append(w.loaded, spots[i].n)
	}
	if err := w.loadAll(ctx, w.roots, w.loaded); err != nil {
		return false, err
	}
	for i := range spots {
		s := &spots[i]
		if s.n != nil {
			continue
		}
		s.n = w.loaded[i]
		if err := s.n.check(&s.at, &s.Root); err != nil {
			return false, err
		}
		inner = inner || s.n.inner()
	}
	return inner, nil
}

func (w *walker) buckets(spots []spot) error {
	for i := range spots {
		if err := w.bucket(spots[i].n, spots[i].prefixes, spots[i].all); err != nil {
			return err
		}
		w.free(spots[i].n)
	}
	return nil
}

// down goes on with what lies below some nodes.
func (w *walker) down(ctx context.Context, spots []spot) (err error) {
	var below []spot
	if k := len(w.spare) - 1; k >= 0 {
		below, w.spare = w.spare[k][:0], w.spare[:k]
	}
	for i := range spots {
		if s := &spots[i]; !s.n.inner() {
			below = append(below, *s)
		} else if below, err = s.below(below); err != nil {
			return err
		} else {
			w.free(s.n)
		}
	}
	err = w.walk(ctx, below)
	w.spare = append(w.spare, below)
	return err
}

// below appends the slots of an inner node that have to do with the prefixes.
func (s *spot) below(out []spot) ([]spot, error) {
	ways := route(s.prefixes, &s.at)
	for i := range s.n.slots {
		x := &s.n.slots[i]
		from, to, covered := 0, 0, s.all
		if !s.all {
			if from, to, covered = ways.next(x.code); from == to {
				continue
			}
		}
		at, err := s.at.slot(x.code)
		if err != nil {
			return nil, &NodeError{s.Link, err}
		}
		out = append(out, spot{Root: x.Root, at: at, prefixes: s.prefixes[from:to], all: covered})
	}
	return out, nil
}

// check refuses a bucket with a path that does not belong below at, and moves at behind what an inner node skips.
func (n *node) check(at *place, r *Root) error {
	for _, i := range [...]int{0, len(n.entries) - 1} { // they ascend
		if i >= 0 && i < len(n.entries) && !at.has(n.entries[i].Path) {
			return &NodeError{r.Link, fmt.Errorf("%w: path %x does not belong there", ErrCorrupt, n.entries[i].Path)}
		}
	}
	if err := at.skip(n.skip); err != nil {
		return &NodeError{r.Link, err}
	}
	return nil
}
