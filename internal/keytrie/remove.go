package keytrie

import "context"

// Remove makes the version of r without the paths that begin with one of the prefixes, which are sorted and of which
// none is a prefix of another. hits says how many paths each of them took. A node without such a path stays where it
// is; every other one is written anew, under a fresh key, or falls away.
func (t *Trie) Remove(ctx context.Context, w *Writer, r Root, prefixes [][]byte) (left Root, hits []uint64, err error) {
	return remove(ctx, stored{t, w}, r, prefixes)
}

func remove(ctx context.Context, t nodes, r Root, prefixes [][]byte) (Root, []uint64, error) {
	if err := checkSet(prefixes); err != nil {
		return Root{}, nil, err
	}
	m := remover{nodes: t, hits: make([]uint64, len(prefixes))}
	if r.Count == 0 || len(prefixes) == 0 {
		return r, m.hits, nil
	}
	g, changed, err := m.remove(ctx, &r, place{}, prefixes, 0)
	if err != nil || !changed {
		return r, m.hits, err
	}
	if g.count == 0 {
		return Root{}, m.hits, nil
	}
	j := joiner{nodes: t}
	left, err := j.root(&g, 0)
	return left, m.hits, err
}

type remover struct {
	nodes
	hits []uint64
}

// remove takes the prefixes out of the node r, which lies at a place; the first of them is number base of all.
func (m *remover) remove(ctx context.Context, r *Root, at place, prefixes [][]byte, base int) (g group, changed bool, err error) {
	n, err := m.load(ctx, r)
	if err != nil {
		return g, false, err
	}
	asItIs := linked(r, &at)
	if at, err = n.check(at, r); err != nil {
		return g, false, err
	}
	if !n.inner() {
		g = m.filter(n.entries, prefixes, base)
		if g.count == r.Count {
			return asItIs, false, nil
		}
		return g, true, nil
	}
	j := joiner{nodes: m.nodes}
	for i := range n.slots {
		below, err := at.slot(n.slots[i].code)
		if err != nil {
			return g, false, &NodeError{r.Link, err}
		}
		g, took, err := m.slot(ctx, &n.slots[i].Root, below, prefixes, base)
		if err != nil {
			return g, false, err
		}
		changed = changed || took
		if g.count > 0 {
			if err := j.add(ctx, g); err != nil {
				return g, false, err
			}
		}
	}
	if !changed {
		return asItIs, false, nil
	}
	if g, err = j.finish(ctx); err != nil {
		return g, false, err
	}
	return g, true, m.lift(ctx, &g)
}

// slot takes the prefixes out of one slot.
func (m *remover) slot(ctx context.Context, r *Root, below place, prefixes [][]byte, base int) (group, bool, error) {
	from, to, covered := below.match(prefixes)
	if covered {
		m.hits[base+from] += r.Count
		return group{}, true, nil
	}
	if from == to {
		return linked(r, &below), false, nil
	}
	return m.remove(ctx, r, below, prefixes[from:to], base+from)
}

// filter leaves out the entries that begin with a prefix.
func (m *remover) filter(entries []Entry, prefixes [][]byte, base int) (g group) {
	for _, e := range entries {
		if i := find(prefixes, e.Path); i >= 0 {
			m.hits[base+i]++
			continue
		}
		g.entries = append(g.entries, e)
	}
	if len(g.entries) > 0 {
		g.first, g.count = g.entries[0].Path, uint64(len(g.entries))
	}
	return g
}

// lift opens an inner node that is all that is left of its parent: what it skips begins earlier now.
func (m *remover) lift(ctx context.Context, g *group) error {
	if g.child == nil || g.count <= uint64(m.bucket()) {
		return nil
	}
	n, err := m.load(ctx, g.child)
	if err != nil {
		return err
	}
	at, err := n.check(g.place(), g.child)
	if err != nil {
		return err
	}
	g.first, g.slots, g.at, g.child = at.known(), n.slots, at.bits/4, nil
	return nil
}
