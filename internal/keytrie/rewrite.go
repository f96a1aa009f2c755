package keytrie

import (
	"context"
	"slices"
)

// Rewrite writes every node of r that lies in pack from or later anew, under a fresh key, and leaves the others. Because
// children never lie in later packs than their parents, it looks at no other node. It serves to bring nodes of many small
// packs into one; the set of paths stays.
func (t *Trie) Rewrite(ctx context.Context, w *Writer, r Root, from uint64) (Root, error) {
	if r.Count == 0 || r.Link.Pack < from {
		return r, nil
	}
	s := stored{Trie: t, w: w}
	n, err := s.load(ctx, &r)
	if err != nil {
		return Root{}, err
	}
	again := &node{skip: n.skip, entries: n.entries, slots: slices.Clone(n.slots)}
	for i := range again.slots {
		if again.slots[i].Root, err = t.Rewrite(ctx, w, n.slots[i].Root, from); err != nil {
			return Root{}, err
		}
	}
	return s.save(again)
}
