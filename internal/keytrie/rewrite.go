package keytrie

import (
	"context"
	"slices"
)

// Rewrite writes every node of r that lies in pack from or later anew, under a fresh key, and leaves the others. Because
// children never lie in later packs than their parents, it looks at no other node. It serves to bring nodes of many small
// packs into one; the set of paths stays.
func (t *Trie) Rewrite(ctx context.Context, w *Writer, r Root, from uint64) (Root, error) {
	s := stored{Trie: t, w: w}
	top, err := s.rewrite(ctx, r, from)
	if err != nil {
		return Root{}, err
	}
	return top, s.settle(&top)
}

func (s stored) rewrite(ctx context.Context, r Root, from uint64) (Root, error) {
	if r.Count == 0 || r.Link.Pack < from {
		return r, nil
	}
	n, err := s.load(ctx, &r)
	if err != nil {
		return Root{}, err
	}
	again := &node{skip: n.skip, entries: n.entries, slots: slices.Clone(n.slots)}
	for i := range again.slots {
		if again.slots[i].Root, err = s.rewrite(ctx, n.slots[i].Root, from); err != nil {
			return Root{}, err
		}
	}
	return s.save(again)
}
