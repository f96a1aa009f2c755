package keytrie

import (
	"slices"
	"sync"
)

// Cache keeps nodes of one trie that were read and opened, so that the steps of one operation need not open them again.
// It holds keys and values in memory: make one for an operation and drop it. A full cache forgets some of them.
type Cache struct {
	limit int
	mu    sync.Mutex // guards what follows
	used  int
	nodes map[Link]opened
}

// opened is a node that is what its parent names. Inner nodes, which are read again for whatever lies below them, are kept
// as they were parsed; buckets, which would take several times as much memory so, as they were decrypted.
type opened struct {
	root  Root
	inner *node
	plain []byte
}

// NewCache makes a cache of nodes that take at most limit bytes of memory.
func NewCache(limit int) *Cache { return &Cache{limit: limit, nodes: map[Link]opened{}} }

// get finds a node that was read under the same name and with the same key, in one of its two forms, or in none. Sealed
// tries are not kept: they have less.
func (c *Cache) get(r *Root) (inner *node, plain []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.nodes[r.Link]; n.root == *r {
		return n.inner, n.plain
	}
	return nil, nil
}

// put keeps a node, of which plain is what it was parsed from. The caller goes on with both as it likes.
func (c *Cache) put(r *Root, n *node, plain []byte) {
	o := opened{root: *r}
	if n.inner() {
		o.inner = &node{skip: slices.Clone(n.skip), slots: slices.Clone(n.slots), kept: true}
	} else {
		o.plain = slices.Clone(plain)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.nodes[r.Link]
	c.used += o.size() - old.size()
	c.nodes[r.Link] = o
	for link, old := range c.nodes {
		if c.used <= c.limit {
			break
		}
		delete(c.nodes, link) // any of them: whoever reads more than fits in reads it in order
		c.used -= old.size()
	}
}

const slotSize = 120 // of a slot in memory, in bytes

// size is about how much memory a node takes in a cache.
func (o *opened) size() int {
	switch {
	case o.inner != nil:
		return 450 + len(o.inner.skip) + slotSize*len(o.inner.slots)
	case o.plain != nil:
		return 250 + len(o.plain)
	}
	return 0
}
