package keytrie

import (
	"context"
	"errors"
	"fmt"

	"github.com/stelelog/stele/merkle"
)

// nodes reads nodes, and writes new ones where that is asked for.
type nodes interface {
	load(ctx context.Context, r *Root) (*node, error)
	loadAll(ctx context.Context, roots []*Root, into []*node) error // where into is nil
	node() *node                                                    // an empty one
	free(n *node)                                                   // nobody looks at it any more
	save(n *node) (Root, error)
	settle(top *Root) error // what was saved is finished, and top known as it will be read
	bucket() int
}

// oneByOne is a loadAll for nodes that need not be computed at once.
func oneByOne(ctx context.Context, t nodes, roots []*Root, into []*node) (err error) {
	for i := 0; i < len(roots) && err == nil; i++ {
		if into[i] == nil {
			into[i], err = t.load(ctx, roots[i])
		}
	}
	return err
}

// stored are the nodes of a trie in packs.
type stored struct {
	*Trie
	w    *Writer
	room *room // nil where nodes are kept
}

// room is memory that is used again.
type room struct {
	nodes   []*node
	commits commits
	fresh   []int
}

func (s stored) node() *node {
	if s.room == nil || len(s.room.nodes) == 0 {
		return new(node)
	}
	k := len(s.room.nodes) - 1
	n := s.room.nodes[k]
	s.room.nodes = s.room.nodes[:k]
	n.reset()
	return n
}

func (s stored) free(n *node) {
	if s.room != nil && !n.kept {
		s.room.nodes = append(s.room.nodes, n)
	}
}

// load reads a node.
func (s stored) load(ctx context.Context, r *Root) (*node, error) {
	n, fresh, err := s.fetch(ctx, r)
	if err == nil && fresh {
		var sum merkle.Hash
		if !s.Hidden {
			sum = commit(n.shape)
		}
		err = s.admit(r, n, &sum)
	}
	return n, err
}

// loadAll computes the commitments of all nodes at once.
func (s stored) loadAll(ctx context.Context, roots []*Root, into []*node) error {
	m := s.room
	if m == nil {
		m = new(room)
	}
	m.fresh = m.fresh[:0]
	m.commits.reset()
	for i, r := range roots {
		if into[i] != nil {
			continue
		}
		n, fresh, err := s.fetch(ctx, r)
		if err != nil {
			return err
		}
		if into[i] = n; fresh {
			m.fresh = append(m.fresh, i)
			if !s.Hidden {
				m.commits.add(n.shape)
			}
		}
	}
	var sums []merkle.Hash
	if !s.Hidden {
		sums = m.commits.sum()
	}
	for k, i := range m.fresh {
		var sum merkle.Hash
		if !s.Hidden {
			sum = sums[k]
		}
		if err := s.admit(roots[i], into[i], &sum); err != nil {
			return err
		}
	}
	return nil
}

// fetch finds a node in the cache, or reads it: what is fresh may have another commitment than its parent says.
func (s stored) fetch(ctx context.Context, r *Root) (n *node, fresh bool, err error) {
	var plain []byte
	if s.keeps() {
		if n, plain = s.Cache.get(r); n != nil {
			return n, false, nil
		}
	}
	n = s.node()
	if plain != nil {
		err = s.parse(plain, r, n)
	} else {
		fresh, err = true, s.read(ctx, r, n)
	}
	if err != nil {
		return nil, false, &NodeError{r.Link, err}
	}
	return n, fresh, nil
}

// admit refuses a fresh node that has another commitment than its parent says, and keeps others.
func (s stored) admit(r *Root, n *node, sum *merkle.Hash) error {
	if !s.Hidden && *sum != r.Hash {
		return &NodeError{r.Link, fmt.Errorf("%w: it has another commitment", ErrCorrupt)}
	}
	if s.keeps() {
		s.Cache.put(r, n)
	}
	return nil
}

// keeps reports whether nodes are kept in the cache. Those without their secrets are not.
func (t *Trie) keeps() bool { return t.Cache != nil && (t.Hidden || !t.Sealed) }

// read reads a node from its pack. Nobody has compared its commitment yet.
func (t *Trie) read(ctx context.Context, r *Root, n *node) error {
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

// decode reads a node from the bytes that lie in a pack.
func (t *Trie) decode(data []byte, r *Root, n *node) error {
	open := data[:r.Link.Clear:r.Link.Clear]
	if t.Hidden || !t.Sealed {
		plain, err := t.unseal(append(n.plain[:0], open...), data[len(open):], r)
		if err != nil {
			return err
		}
		open, n.plain = plain, plain
	}
	return t.parse(open, r, n)
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

func (s stored) settle(top *Root) error {
	err := s.w.settle()
	top.Hash, top.late = *top.hash(), nil
	return err
}
