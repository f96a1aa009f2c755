package keytrie

import (
	"bytes"
	"context"
	"iter"
)

// Compare calls f for every path that is in one of two tries only, or has another value in the other, in order; was or
// is then has no path. f may look at them until it returns. What both have in the same nodes is not read; every node that
// differs is opened. With sealed tries only paths are compared. beside may be nil.
func Compare(ctx context.Context, a *Trie, was Root, b *Trie, is Root, beside *Beside, f func(was, is Entry) error) error {
	c := comparer{a: stored{Trie: a, room: new(room)}, b: stored{Trie: b, room: new(room)}, beside: beside, f: f}
	return c.steps(ctx, c.pair(nil, &was, &is, &place{}, &place{}))
}

type comparer struct {
	a, b   stored
	beside *Beside
	f      func(was, is Entry) error

	aRoots, bRoots []*Root // of the steps that are being read
	aNodes, bNodes []*node
	spare          [][]step
}

// step is two nodes at one place that differ, or what else is to be done when the comparison comes to that place.
type step struct {
	was, is Root
	at      place
	n, m    *node // the two nodes, once they were read
	do      func(context.Context) error
}

// steps takes steps in the order of their paths. It reads some nodes ahead, and both of each pair.
func (c *comparer) steps(ctx context.Context, all []step) error {
	for len(all) > 0 {
		part := all[:min(len(all), ahead)]
		all = all[len(part):]
		deeper, err := c.load(ctx, part)
		if err != nil {
			return err
		}
		if deeper {
			err = c.down(ctx, part)
		} else {
			err = c.take(ctx, part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// load reads the nodes of steps, and reports whether some are not buckets.
func (c *comparer) load(ctx context.Context, part []step) (deeper bool, err error) {
	c.aRoots, c.bRoots, c.aNodes, c.bNodes = c.aRoots[:0], c.bRoots[:0], c.aNodes[:0], c.bNodes[:0]
	for i := range part {
		if s := &part[i]; s.do == nil && s.n == nil {
			c.aRoots, c.bRoots = append(c.aRoots, &s.was), append(c.bRoots, &s.is)
			c.aNodes, c.bNodes = append(c.aNodes, nil), append(c.bNodes, nil)
		}
	}
	if err := c.a.loadAll(ctx, c.aRoots, c.aNodes); err != nil {
		return false, err
	}
	if err := c.b.loadAll(ctx, c.bRoots, c.bNodes); err != nil {
		return false, err
	}
	k := 0
	for i := range part {
		s := &part[i]
		if s.do != nil || s.n != nil {
			continue
		}
		s.n, s.m = c.aNodes[k], c.bNodes[k]
		k++
		deeper = deeper || s.n.inner() || s.m.inner()
		for _, x := range [...]struct {
			n *node
			r *Root
		}{{s.n, &s.was}, {s.m, &s.is}} {
			at := s.at
			if err := x.n.check(&at, x.r); err != nil {
				return false, err
			}
		}
	}
	return deeper, nil
}

// take takes steps that lead no deeper.
func (c *comparer) take(ctx context.Context, part []step) error {
	for i := range part {
		s := &part[i]
		if s.do != nil {
			if err := s.do(ctx); err != nil {
				return err
			}
			continue
		}
		if err := c.buckets(s.n.entries, s.m.entries); err != nil {
			return err
		}
		c.free(s)
	}
	return nil
}

func (c *comparer) free(s *step) {
	c.a.free(s.n)
	c.b.free(s.m)
}

// down goes on with what lies below the nodes of some steps.
func (c *comparer) down(ctx context.Context, part []step) (err error) {
	var below []step
	if k := len(c.spare) - 1; k >= 0 {
		below, c.spare = c.spare[k][:0], c.spare[:k]
	}
	for i := range part {
		s := &part[i]
		switch {
		case s.do != nil || !s.n.inner() && !s.m.inner():
			below = append(below, *s)
			continue
		case !s.n.inner() || !s.m.inner() || !bytes.Equal(s.n.skip, s.m.skip):
			below = append(below, c.entries([]rooted{{s.was, s.at}}, []rooted{{s.is, s.at}}))
		default:
			at := s.at
			if err = at.skip(s.n.skip); err == nil {
				below, err = c.slots(below, s.n.slots, s.m.slots, at)
			}
			if err != nil {
				return &NodeError{s.was.Link, err}
			}
		}
		c.free(s)
	}
	err = c.steps(ctx, below)
	clear(below) // of what they hold on to
	c.spare = append(c.spare, below)
	return err
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

// slots appends the steps of two nodes that branch at the same nibble. Slots that cover the same nibbles are compared as
// nodes, others by their paths.
func (c *comparer) slots(out []step, a, b []slot, at place) ([]step, error) {
	for len(a) > 0 || len(b) > 0 {
		if len(a) > 0 && len(b) > 0 && a[0].code == b[0].code { // as nearly always
			if !c.same(&a[0].Root, &b[0].Root) || c.beside.within(&at) {
				below, err := at.slot(a[0].code)
				if err != nil {
					return nil, err
				}
				out = c.pair(out, &a[0].Root, &b[0].Root, &at, &below)
			}
			a, b = a[1:], b[1:]
			continue
		}
		end := widest(a, b)
		was, a2, err := until(a, end, at)
		if err != nil {
			return nil, err
		}
		is, b2, err := until(b, end, at)
		if err != nil {
			return nil, err
		}
		out = append(out, c.entries(was, is))
		a, b = a2, b2
	}
	return out, nil
}

// pair appends the step of two nodes at a place below nodes whose slots begin at another, if there is anything to do.
func (c *comparer) pair(out []step, was, is *Root, at, below *place) []step {
	if !c.same(was, is) {
		if was.Count == 0 || is.Count == 0 {
			return append(out, c.entries([]rooted{{*was, *below}}, []rooted{{*is, *below}}))
		}
		return append(out, step{was: *was, is: *is, at: *below})
	}
	if !c.beside.within(at) {
		return out
	}
	top, place := *is, *below
	return append(out, step{do: func(ctx context.Context) error {
		return walk(ctx, c.b, &top, place, nil, true, func(n *node, _ [][]byte, _ bool) error {
			for _, e := range n.entries {
				if err := c.beside.F(e); err != nil {
					return err
				}
			}
			return nil
		})
	}})
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
	Root
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
		roots = append(roots, rooted{s[0].Root, below})
		s = s[1:]
	}
	return roots, s, nil
}

// entries is the step that compares all paths below two rows of nodes.
func (c *comparer) entries(was, is []rooted) step {
	return step{do: func(ctx context.Context) error { return c.merge(ctx, was, is) }}
}

func (c *comparer) merge(ctx context.Context, was, is []rooted) error {
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
			err := walk(ctx, stored{Trie: t.Trie}, &r.Root, r.at, nil, true, func(n *node, _ [][]byte, _ bool) error {
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
