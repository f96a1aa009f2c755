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
	node() *node  // an empty one
	free(n *node) // nobody looks at it any more
	save(n *node) (Root, error)
	bucket() int
}

// stored are the nodes of a trie in packs.
type stored struct {
	*Trie
	w    *Writer
	room *room // of nodes that were freed; nil where nodes are kept
}

type room []*node

func (s stored) node() *node {
	if s.room == nil || len(*s.room) == 0 {
		return new(node)
	}
	k := len(*s.room) - 1
	n := (*s.room)[k]
	*s.room = (*s.room)[:k]
	n.reset()
	return n
}

func (s stored) free(n *node) {
	if s.room != nil {
		*s.room = append(*s.room, n)
	}
}

// load reads a node.
func (s stored) load(ctx context.Context, r *Root) (*node, error) {
	n := s.node()
	if err := s.Trie.load(ctx, r, n); err != nil {
		return nil, &NodeError{r.Link, err}
	}
	return n, nil
}

func (t *Trie) load(ctx context.Context, r *Root, n *node) error {
	if t.keeps() {
		if plain := t.Cache.get(r); plain != nil {
			return t.parse(plain, r, n)
		}
	}
	length := int(r.Link.Clear) + int(r.Link.Sealed)
	if t.Sealed && !t.Hidden {
		length = int(r.Link.Clear)
	}
	if r.Link.Clear > maxNode || r.Link.Sealed > maxNode || length == 0 {
		return fmt.Errorf("%w: it has %d bytes", ErrCorrupt, length)
	}
	data, err := t.Source.ReadPack(ctx, r.Link.Pack, r.Link.Offset, length)
	if err != nil {
		return err
	}
	if len(data) != length {
		return fmt.Errorf("%w: %d bytes of %d", ErrCorrupt, len(data), length)
	}
	if err := t.decode(data, r, n); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

// keeps reports whether nodes are kept in the cache. Those without their secrets are not.
func (t *Trie) keeps() bool { return t.Cache != nil && (t.Hidden || !t.Sealed) }

// decode reads a node from the bytes that lie in a pack, and checks that it is what its parent names.
func (t *Trie) decode(data []byte, r *Root, n *node) error {
	open := data[:r.Link.Clear:r.Link.Clear]
	if t.Hidden || !t.Sealed {
		plain := n.plain[:0]
		if t.keeps() {
			plain = make([]byte, 0, len(data))
		}
		plain, err := t.unseal(append(plain, open...), data[len(open):], r)
		if err != nil {
			return err
		}
		if open = plain; !t.keeps() {
			n.plain = plain
		}
	}
	if err := t.parse(open, r, n); err != nil {
		return err
	}
	if !t.Hidden && commit(n.shape) != r.Hash {
		return errors.New("it has another commitment")
	}
	if t.keeps() {
		t.Cache.put(r, open)
	}
	return nil
}

// parse reads an open node. That it has the commitment of its parent is for others to see to.
func (t *Trie) parse(open []byte, r *Root, n *node) error {
	c := cursor{data: open}
	if c.shape(n, t.Hidden, t.bucket()); c.err != nil {
		return c.err
	}
	if count := n.count(); count != r.Count {
		return fmt.Errorf("it has %d paths, not %d", count, r.Count)
	}
	if c.links(n, t.Hidden); t.Hidden || !t.Sealed {
		if behind := len(open) - len(c.data); !t.Hidden && c.err == nil && behind != int(r.Link.Clear) {
			return fmt.Errorf("its public part has %d bytes, not %d", behind, r.Link.Clear)
		}
		c.secrets(n, t.Hidden)
	}
	return c.end()
}

// unseal appends what is sealed of a node.
func (t *Trie) unseal(dst, sealed []byte, r *Root) ([]byte, error) {
	aead, err := nodeCipher(&r.Key)
	if err != nil {
		return nil, err
	}
	if dst, err = aead.Open(dst, zeroNonce[:], sealed, appendNodeAAD(make([]byte, 0, 64), t.Archive, &r.Hash)); err != nil {
		return nil, errors.New("it does not open")
	}
	return dst, nil
}

func (s stored) save(n *node) (Root, error) {
	var r Root
	var err error
	if r.Key, err = s.w.key(); err != nil {
		return r, err
	}
	r.Count = n.count()
	return r, s.w.add(n, s.Hidden, &r)
}

// walk calls bucket for each loaded bucket below r that may hold paths with one of the prefixes, and hands those on; whole
// says that all its paths do. all is for when there are no prefixes to look for.
func walk(ctx context.Context, t nodes, r *Root, at place, prefixes [][]byte, all bool, bucket func(n *node, prefixes [][]byte, whole bool) error) error {
	n, err := t.load(ctx, r)
	if err != nil {
		return err
	}
	if err := n.check(&at, r); err != nil {
		return err
	}
	defer t.free(n)
	if !n.inner() {
		return bucket(n, prefixes, all)
	}
	ways := route(prefixes, &at)
	for i := range n.slots {
		s := &n.slots[i]
		from, to, covered := 0, 0, all
		if !all {
			if from, to, covered = ways.next(s.code); from == to {
				continue
			}
		}
		below, err := at.slot(s.code)
		if err != nil {
			return &NodeError{r.Link, err}
		}
		if err := walk(ctx, t, &s.Root, below, prefixes[from:to], covered, bucket); err != nil {
			return err
		}
	}
	return nil
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
