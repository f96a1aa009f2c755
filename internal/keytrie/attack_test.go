package keytrie

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// spy keeps the root of every node that is ever written. With reuse it is the broken variant: a node that replaces
// another one is encrypted under the key of that one.
type spy struct {
	stored
	rand   io.Reader
	all    *[]Root
	reuse  bool
	loaded *[][KeySize]byte
}

func (s spy) load(ctx context.Context, r *Root) (*node, error) {
	*s.loaded = append(*s.loaded, r.Key)
	return s.stored.load(ctx, r)
}

func (s spy) save(n *node) (Root, error) {
	if last := len(*s.loaded) - 1; s.reuse && last >= 0 {
		key := (*s.loaded)[last]
		*s.loaded = (*s.loaded)[:last]
		s.w.rand.Reset(constant(key))
		defer s.w.rand.Reset(s.rand)
	}
	r, err := s.stored.save(n)
	*s.all = append(*s.all, r)
	return r, err
}

// constant gives the same bytes for ever.
type constant [KeySize]byte

func (c constant) Read(p []byte) (int, error) { return copy(p, c[:]), nil }

// attacker has every node of every epoch, knows where each lies, and knows one key.
type attacker struct {
	trie   *Trie
	nodes  []Root // keys are not looked at
	sealed [][]byte
	opened []bool
	found  map[string]string
}

func newAttacker(t *testing.T, w *world, nodes []Root) *attacker {
	a := &attacker{trie: w.Trie, nodes: nodes, opened: make([]bool, len(nodes)), found: map[string]string{}}
	for _, r := range nodes {
		data, err := w.packs.ReadPack(context.Background(), r.Link.Pack, r.Link.Offset, int(r.Link.Clear+r.Link.Sealed))
		if err != nil {
			t.Fatal(err)
		}
		a.sealed = append(a.sealed, data)
	}
	return a
}

// try opens whatever a key opens, and goes on with the keys found there.
func (a *attacker) try(t *testing.T, key [KeySize]byte) {
	keys := [][KeySize]byte{key}
	seen := map[[KeySize]byte]bool{key: true}
	for len(keys) > 0 {
		key, keys = keys[0], keys[1:]
		for i, r := range a.nodes {
			if a.opened[i] {
				continue
			}
			r.Key = key
			if _, err := a.trie.unseal(nil, a.sealed[i][r.Link.Clear:], &r); err != nil {
				continue
			}
			a.opened[i] = true
			n := new(node)
			if err := a.trie.decode(a.sealed[i], &r, n); err != nil {
				t.Fatal(err)
			}
			for _, e := range n.entries {
				a.found[string(e.Path)] = string(e.Value)
			}
			for _, s := range n.slots {
				if !seen[s.Key] {
					seen[s.Key] = true
					keys = append(keys, s.Key)
				}
			}
		}
	}
}

// erasures runs epochs of removals of all kinds and returns what is live, what was erased, and every node.
func erasures(t *testing.T, hidden, reuse bool) (w *world, root Root, live, erased map[string]string, nodes []Root) {
	w = newWorld(hidden, 3)
	r := rand.New(rand.NewPCG(4, 4))
	live, erased = randomSet(r, 1800, hidden), map[string]string{}
	var loaded [][KeySize]byte
	step := func(f func(spy) error) {
		out := NewWriter(w.Archive, w.next, w.limit, w.rand, func(n uint64, data []byte) error { w.packs[n] = slices.Clone(data); return nil })
		loaded = loaded[:0]
		if err := f(spy{stored{Trie: w.Trie, w: out, room: new(room)}, w.rand, &nodes, reuse, &loaded}); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		w.next = out.Next()
	}
	step(func(s spy) (err error) {
		root, err = build(s, hidden, sorted(live))
		return err
	})
	for epoch := range 45 {
		var prefixes []string
		keys := slices.Sorted(maps.Keys(live))
		for range 1 + epoch%5 {
			prefixes = append(prefixes, keys[r.IntN(len(keys))])
		}
		if epoch%10 == 9 {
			prefixes = []string{keys[r.IntN(len(keys))][:4]}
		}
		prefixes = slices.Compact(slices.Sorted(slices.Values(prefixes)))
		step(func(s spy) (err error) {
			root, _, err = remove(context.Background(), s, root, byteSlices(prefixes), nil)
			return err
		})
		for _, k := range keys {
			if find(byteSlices(prefixes), []byte(k)) >= 0 {
				erased[k] = live[k]
				delete(live, k)
			}
		}
	}
	return w, root, live, erased, nodes
}

// TestErasedIsGone: with all nodes of all epochs and the key of the newest root, everything that lives opens and nothing
// that was erased. With node keys that are used again, the same attack finds what was erased.
func TestErasedIsGone(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		for _, reuse := range []bool{false, true} {
			t.Run(fmt.Sprintf("hidden=%v reuse=%v", hidden, reuse), func(t *testing.T) {
				w, root, live, erased, nodes := erasures(t, hidden, reuse)
				a := newAttacker(t, w, nodes)
				a.try(t, root.Key)
				missing, risen := 0, 0
				for k, v := range live {
					if got, ok := a.found[k]; !ok || got != v {
						missing++
					}
				}
				for k := range erased {
					if _, ok := a.found[k]; ok {
						risen++
					}
				}
				t.Logf("%d nodes: %d of %d live do not open, %d of %d erased do", len(nodes), missing, len(live), risen, len(erased))
				if missing > 0 {
					t.Errorf("%d of %d live paths do not open", missing, len(live))
				}
				if !reuse && risen > 0 {
					t.Errorf("%d of %d erased paths were recovered", risen, len(erased))
				}
				if reuse && risen < len(erased)/2 {
					t.Errorf("keys are used again, and the attack finds only %d of %d: it is too weak", risen, len(erased))
				}
			})
		}
	}
}
