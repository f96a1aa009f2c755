package keytrie

import (
	"bytes"
	"context"
	"iter"
	"slices"
)

// Compare calls f for every path that is in one of two tries only, or has another value in the other, in order; was or
// is then has no path. f may look at them until it returns. What both have in the same nodes is not read; every node that
// differs is opened. With sealed tries only paths are compared. beside may be nil.
func Compare(ctx context.Context, a *Trie, was Root, b *Trie, is Root, beside *Beside, f func(was, is Entry) error) error {
	c := comparer{stored{Trie: a, room: new(room)}, stored{Trie: b, room: new(room)}, beside, f}
	return c.roots(ctx, &was, &is, place{})
}

type comparer struct {
	a, b   stored
	beside *Beside
	f      func(was, is Entry) error
}

// same reports whether two nodes are known to hold the same without reading them.
func (c *comparer) same(was, is *Root) bool {
	if was.Commitment != is.Commitment {
		return false
	}
	if c.a.Sealed && !c.a.Hidden {
		return true
	}
	return was.Count == 0 || was.Link == is.Link && was.Key == is.Key
}

func (c *comparer) roots(ctx context.Context, was, is *Root, at place) error {
	if c.same(was, is) {
		return nil
	}
	if was.Count == 0 || is.Count == 0 {
		return c.entries(ctx, []rooted{{was, at}}, []rooted{{is, at}})
	}
	n, place, err := c.a.open(ctx, was, at)
	if err != nil {
		return err
	}
	defer c.a.free(n)
	m, _, err := c.b.open(ctx, is, at)
	if err != nil {
		return err
	}
	defer c.b.free(m)
	if !n.inner() && !m.inner() {
		return c.buckets(n.entries, m.entries)
	}
	if !n.inner() || !m.inner() || !bytes.Equal(n.skip, m.skip) {
		return c.entries(ctx, []rooted{{was, at}}, []rooted{{is, at}})
	}
	return c.slots(ctx, n.slots, m.slots, place)
}

// buckets compares the paths of two buckets.
func (c *comparer) buckets(was, is []Entry) error {
	for len(was) > 0 || len(is) > 0 {
		order := 1
		if len(is) == 0 {
			order = -1
		} else if len(was) > 0 {
			order = bytes.Compare(was[0].Path, is[0].Path)
		}
		var err error
		switch {
		case order < 0:
			err = c.f(was[0], Entry{})
		case order > 0:
			err = c.f(Entry{}, is[0])
		case !bytes.Equal(was[0].Value, is[0].Value):
			err = c.f(was[0], is[0])
		default:
			err = c.stays(is[0])
		}
		if err != nil {
			return err
		}
		if order <= 0 {
			was = was[1:]
		}
		if order >= 0 {
			is = is[1:]
		}
	}
	return nil
}

// open loads a node, and says which place its slots begin at.
func (s stored) open(ctx context.Context, r *Root, at place) (*node, place, error) {
	n, err := s.load(ctx, r)
	if err != nil {
		return nil, at, err
	}
	err = n.check(&at, r)
	return n, at, err
}

// slots compares two nodes that branch at the same nibble. Slots that cover the same nibbles are compared as nodes,
// others by their paths.
func (c *comparer) slots(ctx context.Context, a, b []slot, at place) error {
	if slices.EqualFunc(a, b, func(x, y slot) bool { return x.code == y.code }) {
		return c.pairs(ctx, a, b, &at)
	}
	for len(a) > 0 || len(b) > 0 {
		end := widest(a, b)
		was, a2, err := until(a, end, at)
		if err != nil {
			return err
		}
		is, b2, err := until(b, end, at)
		if err != nil {
			return err
		}
		if len(was) == 1 && len(is) == 1 && a[0].code == b[0].code {
			err = c.pair(ctx, was[0].Root, is[0].Root, &at, &was[0].at)
		} else {
			err = c.entries(ctx, was, is)
		}
		if err != nil {
			return err
		}
		a, b = a2, b2
	}
	return nil
}

// pairs compares slots of the same codes.
func (c *comparer) pairs(ctx context.Context, a, b []slot, at *place) error {
	for i := range a {
		if c.same(&a[i].Root, &b[i].Root) && !c.beside.within(at) {
			continue
		}
		below, err := at.slot(a[i].code)
		if err == nil {
			err = c.pair(ctx, &a[i].Root, &b[i].Root, at, &below)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pair compares what is below two slots of nodes whose slots begin at a place.
func (c *comparer) pair(ctx context.Context, was, is *Root, at, below *place) error {
	if !c.same(was, is) {
		return c.roots(ctx, was, is, *below)
	}
	if !c.beside.within(at) {
		return nil
	}
	return walk(ctx, c.b, is, *below, nil, true, func(n *node, _ [][]byte, _ bool) error {
		for _, e := range n.entries {
			if err := c.beside.F(e); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *comparer) stays(e Entry) error {
	if c.beside == nil {
		return nil
	}
	return c.beside.F(e)
}

// widest is the end of the nibbles that are covered by whichever first slot begins earlier, or covers more.
func widest(a, b []slot) (end int) {
	from := 16
	for _, s := range [...][]slot{a, b} {
		if len(s) == 0 {
			continue
		}
		if f, e := span(s[0].code); f < from || f == from && e > end {
			from, end = f, e
		}
	}
	return end
}

// rooted is a node with the place where it lies.
type rooted struct {
	*Root
	at place
}

// until cuts off the slots that begin before end.
func until(s []slot, end int, at place) (roots []rooted, rest []slot, err error) {
	for len(s) > 0 {
		if from, _ := span(s[0].code); from >= end {
			break
		}
		below, err := at.slot(s[0].code)
		if err != nil {
			return nil, nil, err
		}
		roots = append(roots, rooted{&s[0].Root, below})
		s = s[1:]
	}
	return roots, s, nil
}

// entries compares all paths below two rows of nodes.
func (c *comparer) entries(ctx context.Context, was, is []rooted) error {
	next, stop := iter.Pull2(c.below(ctx, c.a, was))
	defer stop()
	other, stopOther := iter.Pull2(c.below(ctx, c.b, is))
	defer stopOther()
	x, err, more := next()
	y, errOther, moreOther := other()
	for (more || moreOther) && err == nil && errOther == nil {
		order := bytes.Compare(x.Path, y.Path)
		if !more {
			order = 1
		} else if !moreOther {
			order = -1
		}
		var f error
		switch {
		case order < 0:
			f = c.f(x, Entry{})
		case order > 0:
			f = c.f(Entry{}, y)
		case !bytes.Equal(x.Value, y.Value):
			f = c.f(x, y)
		default:
			f = c.stays(y)
		}
		if f != nil {
			return f
		}
		if order <= 0 {
			x, err, more = next()
		}
		if order >= 0 {
			y, errOther, moreOther = other()
		}
	}
	if err != nil {
		return err
	}
	return errOther
}

// below iterates over what is below a row of nodes.
func (c *comparer) below(ctx context.Context, t stored, roots []rooted) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, r := range roots {
			if r.Count == 0 {
				continue
			}
			err := walk(ctx, stored{Trie: t.Trie}, r.Root, r.at, nil, true, func(n *node, _ [][]byte, _ bool) error {
				for _, e := range n.entries {
					if !yield(e, nil) {
						return errStop
					}
				}
				return nil
			})
			if err == errStop {
				return
			}
			if err != nil {
				yield(Entry{}, err)
				return
			}
		}
	}
}
