package keytrie

import "context"

// Beside is what a removal, or a comparison, says of paths that stay: f is called for each entry that stays and has the
// first Bytes in common with one that goes, and for others. f may look at the entry until it returns.
type Beside struct {
	Bytes int
	F     func(Entry) error
}

// within reports whether all that lies at a place is beside each other.
func (b *Beside) within(at *place) bool { return b != nil && at.bits >= 8*b.Bytes }

// Remove makes the version of r without the paths that begin with one of the prefixes, which are sorted and of which
// none is a prefix of another. hits says how many paths each of them took. A node without such a path stays where it
// is; every other one is written anew, under a fresh key, or falls away. beside may be nil.
func (t *Trie) Remove(ctx context.Context, w *Writer, r Root, prefixes [][]byte, beside *Beside) (left Root, hits []uint64, err error) {
	return remove(ctx, stored{t, w, new(room)}, r, prefixes, beside)
}

func remove(ctx context.Context, t nodes, r Root, prefixes [][]byte, beside *Beside) (Root, []uint64, error) {
	if err := checkSet(prefixes); err != nil {
		return Root{}, nil, err
	}
	m := remover{nodes: t, hits: make([]uint64, len(prefixes)), beside: beside}
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
	left, err := m.keep(&g, 0)
	return left, m.hits, err
}

type remover struct {
	nodes
	hits   []uint64
	beside *Beside
	spare  [][]group // to be used again
}

// remove takes the prefixes out of the node r, which lies at a place; the first of them is number base of all.
func (m *remover) remove(ctx context.Context, r *Root, at place, prefixes [][]byte, base int) (g group, changed bool, err error) {
	n, err := m.load(ctx, r)
	if err != nil {
		return g, false, err
	}
	here := at
	if err := n.check(&here, r); err != nil {
		return g, false, err
	}
	if !n.inner() {
		if g, err = m.filter(n, prefixes, base); err != nil || g.count < r.Count {
			return g, true, err
		}
		m.free(n)
		return linked(r, &at), false, nil
	}
	left, changed, err := m.slots(ctx, r, n, &here, prefixes, base)
	if err != nil {
		return g, false, err
	}
	if !changed {
		m.free(n)
		return linked(r, &at), false, nil
	}
	g, ok, err := m.same(n, left, &here)
	if err == nil && !ok {
		g, err = m.join(ctx, n, left, &here)
	} else {
		m.free(n)
	}
	m.spare = append(m.spare, left)
	return g, true, err
}

// slots takes the prefixes out of the slots of n, and returns what is left in each. Where the first path of a node that
// stays is, it does not say.
func (m *remover) slots(ctx context.Context, r *Root, n *node, at *place, prefixes [][]byte, base int) (left []group, changed bool, err error) {
	if k := len(m.spare) - 1; k >= 0 {
		left, m.spare = m.spare[k][:0], m.spare[:k]
	} else {
		left = make([]group, 0, 16)
	}
	ways := route(prefixes, at)
	for i := range n.slots {
		s := &n.slots[i]
		from, to, covered := ways.next(s.code)
		if covered {
			left = append(left, group{})
			m.hits[base+from] += s.Count
			changed = true
			continue
		}
		g := group{child: &s.Root, count: s.Count}
		if from < to || m.beside.within(at) {
			below, err := at.slot(s.code)
			if err != nil {
				return nil, false, &NodeError{r.Link, err}
			}
			less, took, err := m.remove(ctx, &s.Root, below, prefixes[from:to], base+from)
			if err != nil {
				return nil, false, err
			}
			if took {
				g, changed = less, true
			}
		}
		left = append(left, g)
	}
	return left, changed, nil
}

// same makes a node with the slots of n, if what is left of them has the same shape: this is so nearly always.
func (m *remover) same(n *node, left []group, at *place) (g group, ok bool, err error) {
	next := m.node()
	for i := range left {
		if count := left[i].count; count > 0 {
			next.slots = append(next.slots, slot{n.slots[i].code, Root{Commitment: Commitment{Count: count}}})
		}
	}
	bucket := uint64(m.bucket())
	if g.count = next.count(); g.count <= bucket || !next.canonical(bucket) {
		m.free(next)
		return g, false, nil
	}
	k := 0
	for i := range left {
		if left[i].count == 0 {
			continue
		}
		if next.slots[k].Root, err = m.keep(&left[i], at.bits/4+1); err != nil {
			return g, false, err
		}
		k++
	}
	g.first, g.slots, g.at, g.node = at.known(), next.slots, at.bits/4, next
	return g, true, nil
}

// keep writes what is left of a node, as one that begins at a nibble.
func (m *remover) keep(g *group, from int) (Root, error) {
	j := joiner{nodes: m.nodes}
	r, err := j.root(g, from)
	if g.node != nil {
		m.free(g.node)
	}
	return r, err
}

// join makes a node of what is left of the slots of n, whatever its shape is.
func (m *remover) join(ctx context.Context, n *node, left []group, at *place) (group, error) {
	j := joiner{nodes: m.nodes}
	for i := range left {
		if left[i].child != nil && left[i].first == nil {
			below, err := at.slot(n.slots[i].code)
			if err != nil {
				return group{}, err
			}
			left[i] = linked(left[i].child, &below)
		}
		if left[i].count > 0 {
			if err := j.add(ctx, left[i]); err != nil {
				return group{}, err
			}
		}
	}
	g, err := j.finish(ctx)
	if err != nil {
		return g, err
	}
	return g, m.lift(ctx, &g)
}

// filter leaves out the entries of n that begin with a prefix.
func (m *remover) filter(n *node, prefixes [][]byte, base int) (g group, err error) {
	stay := n.entries[:0]
	for _, e := range n.entries {
		if i := find(prefixes, e.Path); i >= 0 {
			m.hits[base+i]++
			continue
		}
		if m.beside != nil {
			if err := m.beside.F(e); err != nil {
				return g, err
			}
		}
		stay = append(stay, e)
	}
	if g.entries, g.node = stay, n; len(stay) > 0 {
		g.first, g.count = stay[0].Path, uint64(len(stay))
	}
	return g, nil
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
	at := g.place()
	if err := n.check(&at, g.child); err != nil {
		return err
	}
	g.first, g.slots, g.at, g.child = at.known(), n.slots, at.bits/4, nil
	return nil
}
