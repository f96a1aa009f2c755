package keytrie

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
)

// Visit calls f for each path that begins with one of the prefixes, in order. The prefixes are sorted and none is a
// prefix of another. f may look at the entry until it returns, and copies what it keeps. An error of f ends the visit and is
// returned.
func (t *Trie) Visit(ctx context.Context, r Root, prefixes [][]byte, f func(Entry) error) error {
	if err := checkSet(prefixes); err != nil {
		return err
	}
	return visit(ctx, stored{Trie: t, room: new(room)}, r, prefixes, false, f)
}

func visit(ctx context.Context, t nodes, r Root, prefixes [][]byte, all bool, f func(Entry) error) error {
	if r.Count == 0 || len(prefixes) == 0 && !all {
		return nil
	}
	return walk(ctx, t, &r, place{}, prefixes, all, func(n *node, prefixes [][]byte, whole bool) error {
		for _, e := range n.entries {
			if whole || find(prefixes, e.Path) >= 0 {
				if err := f(e); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

var errStop = errors.New("stop")

// All iterates over the whole trie in order. An error ends the iteration.
func (t *Trie) All(ctx context.Context, r Root) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		err := visit(ctx, stored{Trie: t}, r, nil, true, func(e Entry) error {
			if !yield(e, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && err != errStop {
			yield(Entry{}, err)
		}
	}
}

// Prefixes returns, in order, the different beginnings of n bytes of paths that begin with prefix. It reads no node in
// which all paths have the same one.
func (t *Trie) Prefixes(ctx context.Context, r Root, prefix []byte, n int) (out [][]byte, err error) {
	if err := checkSet([][]byte{prefix}); err != nil {
		return nil, err
	}
	if n < len(prefix) || n > MaxPath {
		return nil, fmt.Errorf("%w: beginnings of %d bytes", ErrPaths, n)
	}
	add := func(path []byte) {
		if len(path) >= n && (len(out) == 0 || !bytes.Equal(out[len(out)-1], path[:n])) {
			out = append(out, bytes.Clone(path[:n]))
		}
	}
	if r.Count > 0 {
		err = t.prefixes(ctx, &r, place{}, prefix, 8*n, add)
	}
	return out, err
}

func (t *Trie) prefixes(ctx context.Context, r *Root, at place, prefix []byte, n int, add func([]byte)) error {
	if at.bits >= n {
		add(at.buf[:])
		return nil
	}
	loaded, err := stored{Trie: t}.load(ctx, r)
	if err != nil {
		return err
	}
	if err := loaded.check(&at, r); err != nil {
		return err
	}
	for i := range loaded.entries {
		if bytes.HasPrefix(loaded.entries[i].Path, prefix) {
			add(loaded.entries[i].Path)
		}
	}
	for i := range loaded.slots {
		s := &loaded.slots[i]
		below, err := at.slot(s.code)
		if err != nil {
			return &NodeError{r.Link, err}
		}
		if below.compare(prefix) != 0 {
			continue
		}
		if err := t.prefixes(ctx, &s.Root, below, prefix, n, add); err != nil {
			return err
		}
	}
	return nil
}

// Open reads one node, wherever in a trie it lies: a bucket has entries, an inner node children. It is for those who
// look at nodes one by one, such as a drill that tries what can still be opened.
func (t *Trie) Open(ctx context.Context, r Root) (entries []Entry, children []Root, err error) {
	n, err := stored{Trie: t}.load(ctx, &r)
	if err != nil {
		return nil, nil, err
	}
	for i := range n.slots {
		children = append(children, n.slots[i].Root)
	}
	return n.entries, children, nil
}

// At returns the entry at an index, in the order of paths, for whoever wants to look at some of them.
func (t *Trie) At(ctx context.Context, r Root, index uint64) (Entry, error) {
	if index >= r.Count {
		return Entry{}, fmt.Errorf("%w: index %d of %d", ErrPaths, index, r.Count)
	}
	at := place{}
	for {
		n, err := stored{Trie: t}.load(ctx, &r)
		if err != nil {
			return Entry{}, err
		}
		if err := n.check(&at, &r); err != nil {
			return Entry{}, err
		}
		if !n.inner() {
			return n.entries[index], nil
		}
		for i := range n.slots {
			if index < n.slots[i].Count {
				if at, err = at.slot(n.slots[i].code); err != nil {
					return Entry{}, &NodeError{r.Link, err}
				}
				r = n.slots[i].Root
				break
			}
			index -= n.slots[i].Count
		}
	}
}
