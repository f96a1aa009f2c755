package keytrie

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestCommits: many commitments at once are those that are computed one by one, also when the memory is used again.
func TestCommits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c commits
		for range 3 {
			shapes := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 700), 0, 40).Draw(t, "shapes")
			for _, s := range shapes {
				c.add(s)
			}
			sums := c.sum()
			if len(sums) != len(shapes) {
				t.Fatalf("%d commitments of %d shapes", len(sums), len(shapes))
			}
			for i, s := range shapes {
				if sums[i] != commit(s) {
					t.Fatalf("commitment %d of %d is wrong", i, len(shapes))
				}
			}
		}
	})
}

// TestLate: however many nodes wait to be hashed, and wherever packs end, the same bytes are written, and the commitments are
// those that follow from the paths.
func TestLate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hidden := rapid.Bool().Draw(t, "hidden")
		n := rapid.SampledFrom([]int{0, 1, 8, 9, 97, 400, 1000}).Draw(t, "paths")
		limit := rapid.SampledFrom([]int{1, 500, 5000, 1 << 20}).Draw(t, "limit")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		set := randomSet(r, n, hidden)
		var gone [][]byte
		rest := maps.Clone(set)
		for p := range set {
			if r.IntN(20) == 0 {
				gone = append(gone, []byte(p))
				delete(rest, p)
			}
		}
		slices.SortFunc(gone, bytes.Compare)
		var first packs
		for _, wait := range []int{1, rapid.IntRange(2, 100).Draw(t, "wait"), maxLaid} {
			p := packs{}
			trie := &Trie{Archive: [16]byte{3}, Hidden: hidden, Source: p}
			random, next := rand.NewChaCha8([32]byte{2}), uint64(1)
			write := func(f func(*Writer) error) {
				w := NewWriter(trie.Archive, next, limit, random, func(n uint64, data []byte) error { p[n] = data; return nil })
				w.wait = wait
				if err := errors.Join(f(w), w.Close()); err != nil {
					t.Fatal(err)
				}
				next = w.Next()
			}
			var root, left Root
			write(func(w *Writer) (err error) { root, err = trie.Build(w, sorted(set)); return err })
			write(func(w *Writer) (err error) {
				left, _, err = trie.Remove(context.Background(), w, root, gone, nil)
				return err
			})
			for _, x := range []struct {
				Root
				set map[string]string
			}{{root, set}, {left, rest}} {
				want := Commitment{Count: uint64(len(x.set))}
				if !hidden {
					var err error
					if want, err = CommitPaths(byteSlices(slices.Collect(maps.Keys(x.set)))); err != nil {
						t.Fatal(err)
					}
				}
				if x.Commitment != want || x.late != nil {
					t.Fatalf("%v waits: %v, want %v", wait, x.Root, want)
				}
				if err := scan(trie, x.Root, x.set); err != nil {
					t.Fatal(err)
				}
			}
			if first == nil {
				first = p
			}
			if !maps.EqualFunc(first, p, bytes.Equal) {
				t.Fatalf("other bytes when %d nodes wait for each other", wait)
			}
		}
	})
}

// TestAhead: what reads nodes ahead of others refuses each one that is not what its parent names, before it shows any path
// of it: whoever can write in the store may have changed paths that are not sealed.
func TestAhead(t *testing.T) {
	ctx := context.Background()
	w := newWorld(false, 6)
	set := randomSet(rand.New(rand.NewPCG(6, 6)), 600, false)
	root := w.build(t, set)
	var gone []string
	for p := range set {
		if len(gone) < 200 {
			gone = append(gone, p)
		}
	}
	left, _, _ := w.remove(t, root, gone...)
	damaged := 0
	for r := range w.nodes(t, left) {
		if r.Link.Pack != 2 {
			continue
		}
		damaged++
		last := &w.packs[2][r.Link.Offset+uint64(r.Link.Clear)-1] // of a path, in a bucket
		*last ^= 1
		see := func(e Entry) error {
			if _, ok := set[string(e.Path)]; !ok {
				t.Fatalf("path %x was shown", e.Path)
			}
			return nil
		}
		var where *NodeError
		for name, err := range map[string]error{
			"visit": w.Visit(ctx, left, [][]byte{{0x10}, {0x11}, {0x12}}, see),
			"compare": Compare(ctx, w.Trie, root, w.Trie, left, nil, func(was, is Entry) error {
				if is.Path != nil {
					return see(is)
				}
				return see(was)
			}),
		} {
			if !errors.As(err, &where) || !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s: %v was changed: %v", name, r, err)
			}
		}
		*last ^= 1
	}
	if damaged < 2*ahead {
		t.Errorf("only %d nodes", damaged)
	}
}

// nodes are the roots of all nodes of a trie.
func (w *world) nodes(t *testing.T, r Root) map[Root]bool {
	t.Helper()
	all, todo := map[Root]bool{}, []Root{r}
	for len(todo) > 0 {
		r := todo[len(todo)-1]
		_, children, err := w.Open(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		all[r], todo = true, append(todo[:len(todo)-1], children...)
	}
	return all
}

// TestCacheKept: nodes that are kept stay what they were, whatever is done with them.
func TestCacheKept(t *testing.T) {
	ctx := context.Background()
	for _, hidden := range []bool{false, true} {
		w := newWorld(hidden, 8)
		set := randomSet(rand.New(rand.NewPCG(8, 8)), 2000, hidden)
		root := w.build(t, set)
		w.Cache = NewCache(64 << 20)
		var gone []string
		for p := range set {
			if len(gone) < 500 {
				gone = append(gone, p)
			}
		}
		var kept []map[Link][]byte
		for range 2 {
			left, _, _ := w.remove(t, root, gone...)
			count := 0
			err := Compare(ctx, w.Trie, root, &Trie{Archive: w.Archive, Hidden: hidden, Source: w.packs}, left, nil, func(Entry, Entry) error { count++; return nil })
			if err != nil || count != len(gone) {
				t.Fatal(count, err)
			}
			if err := scan(w.Trie, root, set); err != nil {
				t.Fatal(err)
			}
			now := map[Link][]byte{}
			for link, o := range w.Cache.nodes {
				if now[link] = o.plain; o.inner != nil {
					now[link] = o.inner.appendSecret(o.inner.appendLinks(o.inner.appendShape(nil, hidden), hidden), hidden)
					if !hidden && commit(o.inner.appendShape(nil, false)) != o.root.Hash {
						t.Errorf("%v has another commitment", o.root)
					}
				}
			}
			kept = append(kept, now)
		}
		for link, was := range kept[0] {
			if !bytes.Equal(kept[1][link], was) {
				t.Errorf("hidden=%v: %v was changed", hidden, link)
			}
		}
	}
}
