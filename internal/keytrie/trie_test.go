package keytrie

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// drawSet draws paths that share long and short beginnings.
func drawSet(t *rapid.T, hidden bool) map[string]string {
	n := rapid.SampledFrom([]int{0, 1, 2, 15, 16, 17, 60, 64, 65, 200, 900}).Draw(t, "paths")
	seed := rapid.Uint64().Draw(t, "seed")
	return randomSet(rand.New(rand.NewPCG(seed, 1)), n, hidden)
}

// TestModel holds a trie against a map: built, removed from in rounds by paths and by prefixes, searched and compared.
func TestModel(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		t.Run(fmt.Sprintf("hidden=%v", hidden), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) { model(t, rt, hidden) })
		})
	}
}

func model(t *testing.T, rt *rapid.T, hidden bool) {
	ctx := context.Background()
	w := newWorld(hidden, 1)
	w.limit = rapid.SampledFrom([]int{1, 5000, 1 << 20}).Draw(rt, "pack limit")
	set := drawSet(rt, hidden)
	r := w.build(t, set)
	for round := range rapid.IntRange(1, 4).Draw(rt, "rounds") {
		if got := w.content(t, r); !maps.Equal(got, set) {
			rt.Fatalf("round %d: %d paths, want %d", round, len(got), len(set))
		}
		// The shape follows from the set alone, whatever happened before.
		again := w.build(t, set)
		if again.Commitment != r.Commitment {
			rt.Fatalf("round %d: commitment %v, a trie of the same paths has %v", round, r, again)
		}
		prefixes := drawPrefixes(rt, set)
		checkVisit(t, rt, w, r, set, prefixes)
		before, was := maps.Clone(set), r
		near := rapid.SampledFrom([]int{1, 3, 12, 13, 19}).Draw(rt, "near")
		stay, beside := seen(near)
		left, hits, _ := w.removeBeside(t, r, beside, prefixes...)
		for i, p := range byteSlices(prefixes) {
			n := uint64(0)
			for path := range set {
				if strings.HasPrefix(path, string(p)) {
					delete(set, path)
					n++
				}
			}
			if hits[i] != n {
				rt.Fatalf("prefix %x took %d paths, want %d", p, hits[i], n)
			}
		}
		r = left
		checkBeside(rt, near, stay, before, set)
		checkCompare(t, rt, w, was, r, before, set, near)
		if !hidden {
			checkProof(t, rt, w, was, r, prefixes)
		}
		if from := rapid.Uint64Range(0, w.next).Draw(rt, "rewrite from"); round%2 == 0 {
			r = w.rewritten(t, rt, r, from)
		}
		_, err := w.Prefixes(ctx, r, []byte{0x10}, 3)
		if err != nil {
			rt.Fatal(err)
		}
	}
}

// drawPrefixes draws whole paths, short prefixes, and some that nothing has.
func drawPrefixes(t *rapid.T, set map[string]string) (out []string) {
	keys := slices.Sorted(maps.Keys(set))
	var all []string
	for range rapid.IntRange(0, 40).Draw(t, "prefixes") {
		p := "\x10\x00\x01nothing"
		if len(keys) > 0 && rapid.IntRange(0, 9).Draw(t, "absent") > 0 {
			p = keys[rapid.IntRange(0, len(keys)-1).Draw(t, "which")]
		}
		p = p[:min(len(p), rapid.SampledFrom([]int{20, 20, 20, 20, 13, 4, 3, 1}).Draw(t, "length"))]
		if rapid.IntRange(0, 9).Draw(t, "beside") == 0 { // of where something is
			p = p[:len(p)-1] + string([]byte{p[len(p)-1] ^ 1<<rapid.IntRange(0, 7).Draw(t, "bit")})
		}
		all = append(all, p)
	}
	slices.Sort(all)
	for _, p := range all {
		if n := len(out); n == 0 || !strings.HasPrefix(p, out[n-1]) {
			out = append(out, p)
		}
	}
	return out
}

func checkVisit(t *testing.T, rt *rapid.T, w *world, r Root, set map[string]string, prefixes []string) {
	t.Helper()
	got := map[string]string{}
	last := ""
	err := w.Visit(context.Background(), r, byteSlices(prefixes), func(e Entry) error {
		if string(e.Path) <= last {
			rt.Fatalf("path %x comes after %x", e.Path, last)
		}
		last = string(e.Path)
		got[last] = string(e.Value)
		return nil
	})
	if err != nil {
		rt.Fatal(err)
	}
	want := map[string]string{}
	for p, v := range set {
		if slices.ContainsFunc(prefixes, func(x string) bool { return strings.HasPrefix(p, x) }) {
			want[p] = v
		}
	}
	if !maps.Equal(got, want) {
		rt.Fatalf("visit found %d paths, want %d", len(got), len(want))
	}
	for i, p := range slices.Sorted(maps.Keys(set)) {
		if i%97 == 0 {
			if e, err := w.At(context.Background(), r, uint64(i)); err != nil || string(e.Path) != p || string(e.Value) != set[p] {
				rt.Fatalf("entry %d is %x, %v, want %x", i, e.Path, err, p)
			}
		}
	}
	for _, start := range []string{"\x10", "\x11\x00"} {
		heads, err := w.Prefixes(context.Background(), r, []byte(start), 3)
		if err != nil {
			rt.Fatal(err)
		}
		want := map[string]bool{}
		for p := range set {
			if strings.HasPrefix(p, start) {
				want[p[:3]] = true
			}
		}
		if got := byteSlices(slices.Collect(maps.Keys(want))); !slices.EqualFunc(heads, got, func(a, b []byte) bool { return string(a) == string(b) }) {
			rt.Fatalf("prefixes %x, want %x", heads, got)
		}
	}
}

// seen collects what is said to be beside.
func seen(near int) (map[string]string, *Beside) {
	all := map[string]string{}
	return all, &Beside{near, func(e Entry) error {
		all[string(e.Path)] = string(e.Value)
		return nil
	}}
}

// checkBeside: what stays and has the beginning of something that went was seen, and nothing that went.
func checkBeside(rt *rapid.T, near int, stay, before, after map[string]string) {
	gone := map[string]bool{}
	for path := range before {
		if _, ok := after[path]; !ok {
			gone[path[:near]] = true
		}
	}
	for path, value := range after {
		if got, ok := stay[path]; gone[path[:near]] && (!ok || got != value) {
			rt.Fatalf("%x stays beside what went, and was not seen", path)
		}
	}
	for path := range stay {
		if _, ok := after[path]; !ok {
			rt.Fatalf("%x went, and is said to stay", path)
		}
	}
}

func checkCompare(t *testing.T, rt *rapid.T, w *world, was, is Root, before, after map[string]string, near int) {
	t.Helper()
	for _, sealed := range []bool{false, true} {
		trie := *w.Trie
		trie.Sealed = sealed
		gone, last := 0, ""
		stay, beside := seen(near)
		err := Compare(context.Background(), &trie, was, &trie, is, beside, func(a, b Entry) error {
			if b.Path != nil || string(a.Path) <= last {
				return fmt.Errorf("%x, then %x and %x", last, a.Path, b.Path)
			}
			last = string(a.Path)
			if _, ok := after[last]; ok {
				return fmt.Errorf("%x is said to be gone", last)
			}
			gone++
			return nil
		})
		if err != nil || gone != len(before)-len(after) {
			rt.Fatalf("comparing: %v, %d of %d", err, gone, len(before)-len(after))
		}
		if !sealed || w.Hidden {
			checkBeside(rt, near, stay, before, after)
		}
		added := 0
		err = Compare(context.Background(), &trie, is, &trie, was, nil, func(a, b Entry) error {
			if a.Path == nil {
				added++
			}
			return nil
		})
		if err != nil || added != gone {
			rt.Fatalf("comparing backwards: %v, %d of %d", err, added, gone)
		}
	}
}

func checkProof(t *testing.T, rt *rapid.T, w *world, was, is Root, prefixes []string) {
	t.Helper()
	public := *w.Trie
	public.Sealed = true
	stripped := was
	stripped.Key = [32]byte{}
	p, err := public.ProveRemove(context.Background(), stripped, byteSlices(prefixes))
	if err != nil {
		rt.Fatal(err)
	}
	got, _, err := reread(rt, p).Remove(was.Commitment, byteSlices(prefixes))
	if err != nil || got != is.Commitment {
		rt.Fatalf("the proof leads to %v, %v, want %v", got, err, is.Commitment)
	}
	p, err = public.ProveFind(context.Background(), stripped, byteSlices(prefixes))
	if err != nil {
		rt.Fatal(err)
	}
	paths, err := reread(rt, p).Find(was.Commitment, byteSlices(prefixes))
	if err != nil || uint64(len(paths)) != was.Count-is.Count {
		rt.Fatalf("the proof shows %d paths, %v, want %d", len(paths), err, was.Count-is.Count)
	}
}

func reread(rt *rapid.T, p *Proof) *Proof {
	data, err := p.MarshalBinary()
	if err != nil {
		rt.Fatal(err)
	}
	again := new(Proof)
	if err := again.UnmarshalBinary(data); err != nil {
		rt.Fatal(err)
	}
	return again
}

// rewritten writes nodes of newer packs again and checks that nothing else changed and no old pack from there on is used.
func (w *world) rewritten(t *testing.T, rt *rapid.T, r Root, from uint64) (again Root) {
	t.Helper()
	end := w.next
	w.write(t, func(out *Writer) (err error) {
		again, err = w.Rewrite(context.Background(), out, r, from)
		return err
	})
	if again.Commitment != r.Commitment {
		rt.Fatalf("rewriting made %v of %v", again, r)
	}
	kept := packs{}
	for n, data := range w.packs {
		if n < from || n >= end {
			kept[n] = data
		}
	}
	whole := w.Source
	w.Source = kept
	defer func() { w.Source = whole }()
	w.content(t, again)
	return again
}

func TestRefusedPaths(t *testing.T) {
	w := newWorld(false, 1)
	ctx := context.Background()
	r := w.build(t, randomSet(rand.New(rand.NewPCG(1, 1)), 100, false))
	for name, prefixes := range map[string][][]byte{
		"not sorted":      {[]byte("b"), []byte("a")},
		"twice":           {[]byte("a"), []byte("a")},
		"one in another":  {[]byte("a"), []byte("ab")},
		"empty":           {{}},
		"longer than any": {make([]byte, MaxPath+1)},
	} {
		t.Run(name, func(t *testing.T) {
			if err := w.Visit(ctx, r, prefixes, nil); !errors.Is(err, ErrPaths) {
				t.Errorf("Visit: %v", err)
			}
			if _, _, err := w.Remove(ctx, nil, r, prefixes, nil); !errors.Is(err, ErrPaths) {
				t.Errorf("Remove: %v", err)
			}
			if _, err := w.ProveFind(ctx, r, prefixes); !errors.Is(err, ErrPaths) {
				t.Errorf("ProveFind: %v", err)
			}
			_, err := w.Build(NewWriter(w.Archive, 99, 1<<20, w.rand, nil), func(yield func(Entry, error) bool) {
				for _, p := range prefixes {
					if !yield(Entry{Path: p}, nil) {
						return
					}
				}
			})
			if !errors.Is(err, ErrPaths) {
				t.Errorf("Build: %v", err)
			}
		})
	}
	if _, err := w.Build(NewWriter(w.Archive, 99, 1<<20, w.rand, nil), sorted(map[string]string{"a": strings.Repeat("x", 256)})); err == nil {
		t.Error("a value of 256 bytes was taken")
	}
	hidden := newWorld(true, 1)
	if _, err := hidden.Build(NewWriter(w.Archive, 99, 1<<20, w.rand, nil), sorted(map[string]string{"a": "x"})); err == nil {
		t.Error("a hidden trie took a value")
	}
	if _, err := hidden.ProveFind(ctx, Root{}, nil); !errors.Is(err, ErrProof) {
		t.Errorf("proof of a hidden trie: %v", err)
	}
	if _, err := w.At(ctx, r, r.Count); !errors.Is(err, ErrPaths) {
		t.Errorf("At the end: %v", err)
	}
}

// TestAbsentSlot: a prefix of which nothing is there, between two that have much, leads to neither.
func TestAbsentSlot(t *testing.T) {
	w, set := newWorld(false, 1), map[string]string{}
	for i := range 200 {
		set[fmt.Sprintf("\x10%c%04d", 2*(i%2), i)] = "value"
	}
	root := w.build(t, set)
	prefixes := [][]byte{{0x10, 1}}
	if err := w.Visit(context.Background(), root, prefixes, func(e Entry) error { return fmt.Errorf("%x is there", e.Path) }); err != nil {
		t.Error(err)
	}
	if left, hits, _ := w.remove(t, root, "\x10\x01"); left != root || hits[0] != 0 {
		t.Errorf("%d paths went", hits[0])
	}
}
