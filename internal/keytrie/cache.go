package keytrie

import "sync"

// Cache keeps nodes of one trie that were read and opened, so that the steps of one operation need not open them again.
// It holds keys and values in memory: make one for an operation and drop it. A full cache forgets everything.
type Cache struct {
	limit int
	mu    sync.Mutex
	nodes map[Link]cached
}

type cached struct {
	root Root
	node *node
}

// NewCache makes a cache of at most limit nodes, each of some kilobytes.
func NewCache(limit int) *Cache { return &Cache{limit: limit, nodes: map[Link]cached{}} }

// get finds a node that was read under the same name and with the same key. Sealed tries are not kept: they have less.
func (c *Cache) get(r *Root, sealed bool) *node {
	if c == nil || sealed {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := c.nodes[r.Link]; found.node != nil && found.root == *r {
		return found.node
	}
	return nil
}

func (c *Cache) put(r *Root, n *node, sealed bool) {
	if c == nil || sealed {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.nodes) >= c.limit {
		clear(c.nodes)
	}
	c.nodes[r.Link] = cached{*r, n}
}
