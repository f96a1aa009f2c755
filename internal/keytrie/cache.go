package keytrie

import "sync"

// Cache keeps nodes of one trie that were read and opened, so that the steps of one operation need not open them again.
// It holds keys and values in memory: make one for an operation and drop it. A full cache forgets some of them.
type Cache struct {
	limit int
	mu    sync.Mutex // guards what follows
	used  int
	nodes map[Link]opened
}

// opened is a node as it is decrypted: shape, links and secret.
type opened struct {
	root  Root
	plain []byte
}

// NewCache makes a cache of nodes that take at most limit bytes of memory.
func NewCache(limit int) *Cache { return &Cache{limit: limit, nodes: map[Link]opened{}} }

// get finds a node that was read under the same name and with the same key. Sealed tries are not kept: they have less.
func (c *Cache) get(r *Root) []byte {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.nodes[r.Link]; n.root == *r {
		return n.plain
	}
	return nil
}

// put keeps a node that is what its parent names.
func (c *Cache) put(r *Root, plain []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used += size(plain) - size(c.nodes[r.Link].plain)
	c.nodes[r.Link] = opened{*r, plain}
	for link, old := range c.nodes {
		if c.used <= c.limit {
			break
		}
		delete(c.nodes, link) // any of them: whoever reads more than fits in reads it in order
		c.used -= size(old.plain)
	}
}

// size is about how much memory a node takes in a cache.
func size(plain []byte) int {
	if plain == nil {
		return 0
	}
	return 250 + len(plain)
}
