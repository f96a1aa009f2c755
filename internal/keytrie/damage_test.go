package keytrie

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestDamage flips every byte of every node. Whoever has the keys gets an error that names a node; who has not, gets one
// wherever the bytes say something about paths.
func TestDamage(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		w := newWorld(hidden, 5)
		set := randomSet(rand.New(rand.NewPCG(5, 5)), 130, hidden)
		root := w.build(t, set)
		public := *w.Trie
		public.Sealed = true
		pack := w.packs[1]
		for i := packHeader; i < len(pack); i++ {
			pack[i] ^= 1 << (i % 8)
			err := scan(w.Trie, root, set)
			var where *NodeError
			if !errors.As(err, &where) {
				t.Fatalf("hidden=%v: byte %d was changed: %v", hidden, i, err)
			}
			if !hidden {
				// What is sealed is none of this reader's business, nor how long it is.
				if err := scan(&public, root, nil); err != nil && !errors.As(err, &where) {
					t.Fatalf("byte %d was changed, read without keys: %v", i, err)
				}
			}
			pack[i] ^= 1 << (i % 8)
		}
		if err := scan(w.Trie, root, set); err != nil {
			t.Fatal(err)
		}
		for _, other := range []func(*Root){
			func(r *Root) { r.Count++ },
			func(r *Root) { r.Key[0] ^= 1 },
			func(r *Root) { r.Hash[0] ^= 1 },
			func(r *Root) { r.Link.Offset-- },
			func(r *Root) { r.Link.Sealed = 1 << 30 },
			func(r *Root) { r.Link = Link{} },
			func(r *Root) { r.Link.Pack = 9 },
		} {
			bad := root
			other(&bad)
			if err := scan(w.Trie, bad, set); err == nil {
				t.Errorf("hidden=%v: %v is read as if it were %v", hidden, bad, root)
			}
		}
		stranger := *w.Trie
		stranger.Archive[0]++
		if err := scan(&stranger, root, set); !errors.Is(err, ErrCorrupt) {
			t.Errorf("hidden=%v: nodes of another archive: %v", hidden, err)
		}
	}
}

var errContent = errors.New("other content")

// scan reads a whole trie and compares it; without a set, it compares paths with what can be read at all.
func scan(t *Trie, r Root, set map[string]string) error {
	got := map[string]string{}
	for e, err := range t.All(context.Background(), r) {
		if err != nil {
			return err
		}
		got[string(e.Path)] = string(e.Value)
	}
	if set != nil && !maps.Equal(got, set) {
		return errContent
	}
	if uint64(len(got)) != r.Count {
		return errContent
	}
	return nil
}

// TestProofAltered alters every byte of two proofs in several ways: none passes, and none leads elsewhere.
func TestProofAltered(t *testing.T) {
	ctx := context.Background()
	w := newWorld(false, 6)
	set := randomSet(rand.New(rand.NewPCG(6, 6)), 700, false)
	was := w.build(t, set)
	keys := slices.Sorted(maps.Keys(set))
	prefixes := byteSlices([]string{keys[3], keys[4], keys[300], keys[301], keys[302], keys[699][:13]})
	is, _, _ := w.remove(t, was, keys[3], keys[4], keys[300], keys[301], keys[302], keys[699][:13])
	removal, err := w.ProveRemove(ctx, was, prefixes)
	if err != nil {
		t.Fatal(err)
	}
	finding, err := w.ProveFind(ctx, was, prefixes)
	if err != nil {
		t.Fatal(err)
	}
	holds := func(data []byte, find bool) bool {
		var p Proof
		if p.UnmarshalBinary(data) != nil {
			return false
		}
		if find {
			_, err := p.Find(was.Commitment, prefixes)
			return err == nil
		}
		left, _, err := p.Remove(was.Commitment, prefixes)
		return err == nil && left == is.Commitment
	}
	for _, find := range []bool{true, false} {
		p := removal
		if find {
			p = finding
		}
		data, err := p.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if !holds(data, find) {
			t.Fatalf("find=%v: the proof does not hold", find)
		}
		for i := range data {
			for _, x := range []byte{1, 2, 0x80, 0xff} {
				bad := bytes.Clone(data)
				bad[i] ^= x
				if holds(bad, find) {
					t.Fatalf("find=%v: holds with byte %d of %d changed", find, i, len(data))
				}
			}
		}
		for name, bad := range map[string][]byte{
			"shorter": data[:len(data)-1], "longer": append(bytes.Clone(data), 0), "empty": {}, "head only": data[:8],
		} {
			if holds(bad, find) {
				t.Errorf("find=%v: holds when %s", find, name)
			}
		}
	}
	// The same proofs show nothing else.
	others := byteSlices([]string{keys[3], keys[4], keys[300], keys[301], keys[302]})
	if left, _, err := removal.Remove(was.Commitment, others); err == nil && left == is.Commitment {
		t.Error("a removal of fewer paths leads to the same commitment")
	}
	if _, _, err := removal.Remove(is.Commitment, prefixes); !errors.Is(err, ErrProof) {
		t.Errorf("the proof is taken for another trie: %v", err)
	}
	if _, err := finding.Find(was.Commitment, byteSlices([]string{keys[500]})); !errors.Is(err, ErrProof) {
		t.Errorf("a path that the proof does not cover: %v", err)
	}
	if _, err := finding.Find(was.Commitment, others); !errors.Is(err, ErrProof) {
		t.Errorf("a proof with more than was asked for: %v", err)
	}
	wrong := was.Commitment
	wrong.Count++
	if _, err := finding.Find(wrong, prefixes); !errors.Is(err, ErrProof) {
		t.Errorf("a wrong count: %v", err)
	}
}

// TestCommitPaths: the commitment follows from the paths, also for who has nothing else.
func TestCommitPaths(t *testing.T) {
	w := newWorld(false, 6)
	for _, n := range []int{0, 1, 8, 9, 500} {
		set := randomSet(rand.New(rand.NewPCG(6, 6)), n, false)
		c, err := CommitPaths(byteSlices(slices.Collect(maps.Keys(set))))
		if root := w.build(t, set); err != nil || c != root.Commitment {
			t.Errorf("%d paths: %v, %v, want %v", n, c, err, root.Commitment)
		}
	}
}

// TestShapesRefused hands nodes to the reader that no honest writer makes.
func TestShapesRefused(t *testing.T) {
	inner := func(skip []byte, slots ...slot) []byte {
		return (&node{skip: skip, slots: slots}).appendShape(nil, true)
	}
	at := func(code byte, count uint64) slot { return slot{code, Root{Commitment: Commitment{Count: count}}} }
	var many []Entry
	for i := range openBucket + 1 {
		many = append(many, Entry{Path: []byte{byte(i)}})
	}
	paths := func(n byte, rest ...byte) []byte { return append([]byte{kindBucket, n}, rest...) }
	good := map[string][]byte{
		"two halves":        inner(nil, at(2, 8), at(3, 1)),
		"quarters":          inner([]byte{1, 2, 3}, at(4, 8), at(5, 1), at(3, 1)),
		"an inner slot":     inner(nil, at(16, 1<<40), at(3, 1)),
		"a bucket":          paths(2, 1, 1, 'a', 0, 'b'),
		"different lengths": paths(2, 1, 1, 'a', 1, 2, 'b', 'c'),
	}
	bad := map[string][]byte{
		"nothing":                     {},
		"unknown kind":                {3, 0},
		"no paths":                    paths(0),
		"9 paths":                     (&node{entries: many}).appendShape(nil, false),
		"fewer paths than said":       paths(2, 1, 1, 'a'),
		"an empty path":               paths(1, 1, 0),
		"the same path twice":         paths(2, 1, 1, 'a', 0, 'a'),
		"paths that descend":          paths(2, 1, 1, 'b', 0, 'a'),
		"a prefix":                    paths(2, 1, 1, 'a', 3, 2, 'b'),
		"less shared than could be":   paths(2, 1, 2, 'a', 'b', 0, 'a', 'c'),
		"a length that is not needed": paths(2, 1, 1, 'a', 1, 1, 'b'),
		"more shared than there is":   paths(2, 1, 1, 'a', 5, 3, 'b'),
		"a path that is too long":     paths(1, 1, 65),
		"bytes behind":                append(paths(1, 1, 1, 'a'), 0),
		"a long count":                {kindBucket, 0x81, 0x00, 1, 1, 'a'},
		"no slots":                    {kindInner, 0, 0, 0, 0, 0},
		"one slot":                    inner(nil, at(16, 9)),
		"slots that overlap":          {kindInner, 0, 1<<2 | 1<<4, 0, 0, 0, 8, 8},
		"a code below 2":              {kindInner, 0, 1<<1 | 1<<2, 0, 0, 0, 8, 8},
		"an empty slot":               inner(nil, at(2, 9), at(3, 0)),
		"a half that is too large":    inner(nil, at(2, 9), at(3, 1)),
		"few enough for a bucket":     inner(nil, at(2, 4), at(3, 4)),
		"halved without need":         inner(nil, at(4, 4), at(5, 4), at(3, 8)),
		"a half nibble that is not 0": {kindInner, 1, 0x12, 1<<2 | 1<<3, 0, 0, 0, 8, 8},
		"a skip without end":          append([]byte{kindInner, 129}, make([]byte, 80)...),
		"a huge count":                inner(nil, at(2, 1), at(24, 1<<60)),
	}
	for name, data := range good {
		if err := parseAll(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, data := range bad {
		if err := parseAll(data); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func parseAll(data []byte) error {
	c := cursor{data: data}
	c.shape(new(node), true, openBucket)
	return c.end()
}

// TestMisplaced: a bucket that holds a path of another place is refused, though its parent names it rightly.
func TestMisplaced(t *testing.T) {
	w := newWorld(false, 1)
	var top Root
	w.write(t, func(out *Writer) error {
		s := stored{Trie: w.Trie, w: out}
		var slots []slot
		for i, code := range []byte{2, 3} {
			n := &node{}
			for j := range 10 {
				first := byte(0x10) // all of them belong into the first slot
				n.entries = append(n.entries, Entry{Path: []byte{first, byte(100*i + j)}, Value: []byte{}})
			}
			r, err := s.save(n)
			if err != nil {
				return err
			}
			slots = append(slots, slot{code, r})
		}
		var err error
		top, err = s.save(&node{slots: slots})
		return err
	})
	if err := scan(w.Trie, top, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("read: %v", err)
	}
	err := w.Visit(context.Background(), top, [][]byte{{0x80}}, func(Entry) error { return nil })
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("visit: %v", err)
	}
}

func TestPackHeader(t *testing.T) {
	w := newWorld(false, 1)
	w.build(t, map[string]string{"a": "1"})
	pack := w.packs[1]
	if err := CheckPack(w.Archive, 1, pack); err != nil {
		t.Error(err)
	}
	for i := range packHeader {
		bad := bytes.Clone(pack)
		bad[i]++
		if CheckPack(w.Archive, 1, bad) == nil {
			t.Errorf("byte %d changed: taken", i)
		}
	}
	if CheckPack(w.Archive, 2, pack) == nil || CheckPack(w.Archive, 1, pack[:20]) == nil {
		t.Error("another number, or half a header, is taken")
	}
}

// TestWriterFails: neither missing random bytes nor a pack that cannot be put pass unnoticed.
func TestWriterFails(t *testing.T) {
	w := newWorld(false, 1)
	set := randomSet(rand.New(rand.NewPCG(5, 5)), 300, false)
	if _, err := w.Build(NewWriter(w.Archive, 1, 1<<20, bytes.NewReader(make([]byte, 100)), nil), sorted(set)); err == nil {
		t.Error("built without random bytes")
	}
	refuse := func(uint64, []byte) error { return errContent }
	out := NewWriter(w.Archive, 1, 1, w.rand, refuse)
	if _, err := w.Build(out, sorted(set)); !errors.Is(err, errContent) {
		t.Errorf("Build over a store that refuses: %v", err)
	}
	out = NewWriter(w.Archive, 1, 1<<20, w.rand, refuse)
	if _, err := w.Build(out, sorted(set)); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); !errors.Is(err, errContent) {
		t.Errorf("Close: %v", err)
	}
	if err := out.Close(); !errors.Is(err, errContent) {
		t.Errorf("Close again: %v", err)
	}
}
