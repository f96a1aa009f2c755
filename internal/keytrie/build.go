package keytrie

import (
	"context"
	"fmt"
	"iter"
)

// Build makes a trie of entries, which come in ascending order of paths. Children are written before parents, so memory
// is bounded by the depth. The trie can be read when w was closed.
func (t *Trie) Build(w *Writer, entries iter.Seq2[Entry, error]) (Root, error) {
	return build(stored{Trie: t, w: w}, t.Hidden, entries)
}

// build reads no stored node: what it joins is all new.
func build(t nodes, hidden bool, entries iter.Seq2[Entry, error]) (Root, error) {
	ctx, j := context.Background(), joiner{nodes: t}
	var last []byte
	for e, err := range entries {
		if err != nil {
			return Root{}, err
		}
		if err := checkSet([][]byte{e.Path}); err != nil {
			return Root{}, err
		}
		if len(e.Value) > MaxValue || hidden && len(e.Value) > 0 {
			return Root{}, fmt.Errorf("keytrie: path %x has a value of %d bytes", e.Path, len(e.Value))
		}
		if last != nil && string(last) >= string(e.Path) {
			return Root{}, fmt.Errorf("%w: %x and %x", ErrPaths, last, e.Path)
		}
		last = e.Path
		if err := j.add(ctx, group{first: e.Path, count: 1, entries: []Entry{e}}); err != nil {
			return Root{}, err
		}
	}
	g, err := j.finish(ctx)
	if err != nil || g.count == 0 {
		return Root{}, err
	}
	return j.root(&g, 0)
}
