package keytrie

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
)

// nodes reads nodes, and writes new ones where that is asked for.
type nodes interface {
	load(ctx context.Context, r *Root) (*node, error)
	save(n *node) (Root, error)
	bucket() int
}

// stored are the nodes of a trie in packs.
type stored struct {
	*Trie
	w *Writer
}

// load reads a node. Nobody changes what it returns.
func (s stored) load(ctx context.Context, r *Root) (*node, error) {
	if n := s.Cache.get(r, s.Sealed); n != nil {
		return n, nil
	}
	n, err := s.Trie.load(ctx, r)
	if err != nil {
		return nil, &NodeError{r.Link, err}
	}
	s.Cache.put(r, n, s.Sealed)
	return n, nil
}

func (t *Trie) load(ctx context.Context, r *Root) (*node, error) {
	length := int(r.Link.Clear) + int(r.Link.Sealed)
	if t.Sealed && !t.Hidden {
		length = int(r.Link.Clear)
	}
	if r.Link.Clear > maxNode || r.Link.Sealed > maxNode || length == 0 {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrCorrupt, length)
	}
	data, err := t.Source.ReadPack(ctx, r.Link.Pack, r.Link.Offset, length)
	if err != nil {
		return nil, err
	}
	if len(data) != length {
		return nil, fmt.Errorf("%w: %d bytes of %d", ErrCorrupt, len(data), length)
	}
	n, err := t.decode(data, r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return n, nil
}

func (t *Trie) decode(data []byte, r *Root) (*node, error) {
	c := cursor{data: data[:r.Link.Clear:r.Link.Clear]}
	if t.Hidden {
		open, err := t.unseal(data, r)
		if err != nil {
			return nil, err
		}
		c.data = open
	}
	n := c.shape(t.Hidden, t.bucket())
	if c.err != nil {
		return nil, c.err
	}
	if err := n.named(&r.Commitment, t.Hidden); err != nil {
		return nil, err
	}
	c.links(n, t.Hidden)
	if !t.Hidden && c.end() == nil && !t.Sealed {
		secret, err := t.unseal(data[r.Link.Clear:], r)
		if err != nil {
			return nil, err
		}
		c.data = secret
	}
	if !t.Sealed || t.Hidden {
		c.secrets(n, t.Hidden)
	}
	return n, c.end()
}

// named checks that n is what a parent says of it.
func (n *node) named(want *Commitment, hidden bool) error {
	if n.count() != want.Count {
		return fmt.Errorf("it has %d paths, not %d", n.count(), want.Count)
	}
	if !hidden && commit(n.shape) != want.Hash {
		return errors.New("it has another commitment")
	}
	return nil
}

func (t *Trie) unseal(sealed []byte, r *Root) ([]byte, error) {
	aead, err := nodeCipher(&r.Key)
	if err != nil {
		return nil, err
	}
	open, err := aead.Open(nil, zeroNonce[:], sealed, nodeAAD(t.Archive, &r.Hash))
	if err != nil {
		return nil, errors.New("it does not open")
	}
	return open, nil
}

func (s stored) save(n *node) (Root, error) {
	var r Root
	var err error
	if r.Key, err = s.w.key(); err != nil {
		return r, err
	}
	r.Count = n.count()
	shape := n.appendShape(make([]byte, 0, 1024), s.Hidden)
	if s.Hidden {
		r.Link, err = s.w.add(nil, n.appendSecret(n.appendLinks(shape, true), true), &r.Key, &r.Hash)
		return r, err
	}
	r.Hash = commit(shape)
	r.Link, err = s.w.add(n.appendLinks(shape, false), n.appendSecret(make([]byte, 0, 2048), false), &r.Key, &r.Hash)
	return r, err
}

// walk calls bucket for each loaded bucket below r that may hold paths with one of the prefixes; whole says that all
// its paths do. all is for when there are no prefixes to look for.
func walk(ctx context.Context, t nodes, r *Root, at place, prefixes [][]byte, all bool, bucket func(n *node, whole bool) error) error {
	n, err := t.load(ctx, r)
	if err != nil {
		return err
	}
	if at, err = n.check(at, r); err != nil {
		return err
	}
	if !n.inner() {
		return bucket(n, all)
	}
	for i := range n.slots {
		s := &n.slots[i]
		below, err := at.slot(s.code)
		if err != nil {
			return &NodeError{r.Link, err}
		}
		from, to, covered := 0, 0, all
		if !all {
			if from, to, covered = below.match(prefixes); from == to {
				continue
			}
		}
		if err := walk(ctx, t, &s.Root, below, prefixes[from:to], covered, bucket); err != nil {
			return err
		}
	}
	return nil
}

// check refuses a bucket with a path that does not belong below at, and moves at behind what an inner node skips.
func (n *node) check(at place, r *Root) (place, error) {
	for i := range n.entries {
		if !at.has(n.entries[i].Path) {
			return at, &NodeError{r.Link, fmt.Errorf("%w: path %x does not belong there", ErrCorrupt, n.entries[i].Path)}
		}
	}
	at, err := at.skip(n.skip)
	if err != nil {
		return at, &NodeError{r.Link, err}
	}
	return at, nil
}

// Visit calls f for each path that begins with one of the prefixes, in order. The prefixes are sorted and none is a
// prefix of another. An error of f ends the visit and is returned.
func (t *Trie) Visit(ctx context.Context, r Root, prefixes [][]byte, f func(Entry) error) error {
	if err := checkSet(prefixes); err != nil {
		return err
	}
	return visit(ctx, stored{Trie: t}, r, prefixes, false, f)
}

func visit(ctx context.Context, t nodes, r Root, prefixes [][]byte, all bool, f func(Entry) error) error {
	if r.Count == 0 || len(prefixes) == 0 && !all {
		return nil
	}
	return walk(ctx, t, &r, place{}, prefixes, all, func(n *node, whole bool) error {
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
	if at, err = loaded.check(at, r); err != nil {
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
		if at, err = n.check(at, &r); err != nil {
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
