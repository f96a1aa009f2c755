package keytrie

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
)

// packs is a Source in memory.
type packs map[uint64][]byte

func (p packs) ReadPack(_ context.Context, pack, offset uint64, n int) ([]byte, error) {
	data, ok := p[pack]
	if !ok || offset+uint64(n) > uint64(len(data)) {
		return nil, fmt.Errorf("pack %d has no %d bytes at %d", pack, n, offset)
	}
	return bytes.Clone(data[offset : offset+uint64(n)]), nil
}

// world is one trie's packs with what is needed to write more.
type world struct {
	*Trie
	packs packs
	rand  *rand.ChaCha8
	next  uint64
	limit int
}

func newWorld(hidden bool, seed byte) *world {
	p := packs{}
	return &world{Trie: &Trie{Archive: [16]byte{1: 7}, Hidden: hidden, Source: p}, packs: p,
		rand: rand.NewChaCha8([32]byte{seed}), next: 1, limit: 1 << 20}
}

// write runs f with a writer and closes it.
func (w *world) write(t testing.TB, f func(*Writer) error) Tally {
	t.Helper()
	out := NewWriter(w.Archive, w.next, w.limit, w.rand, func(n uint64, data []byte) error {
		if w.packs[n] != nil {
			t.Fatalf("pack %d is written twice", n)
		}
		w.packs[n] = bytes.Clone(data)
		return CheckPack(w.Archive, n, data)
	})
	if err := f(out); err != nil {
		t.Fatal(err)
	}
	w.next = out.Next()
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if out.Next() != w.next {
		t.Fatalf("next pack is %d after Close, was to be %d", out.Next(), w.next)
	}
	return out.Tally()
}

func (w *world) build(t testing.TB, set map[string]string) (r Root) {
	t.Helper()
	w.write(t, func(out *Writer) (err error) {
		r, err = w.Build(out, sorted(set))
		return err
	})
	return r
}

func (w *world) remove(t testing.TB, r Root, prefixes ...string) (left Root, hits []uint64, tally Tally) {
	t.Helper()
	return w.removeBeside(t, r, nil, prefixes...)
}

func (w *world) removeBeside(t testing.TB, r Root, beside *Beside, prefixes ...string) (left Root, hits []uint64, tally Tally) {
	t.Helper()
	tally = w.write(t, func(out *Writer) (err error) {
		left, hits, err = w.Remove(context.Background(), out, r, byteSlices(prefixes), beside)
		return err
	})
	return left, hits, tally
}

func byteSlices(in []string) (out [][]byte) {
	for _, s := range slices.Sorted(slices.Values(in)) {
		out = append(out, []byte(s))
	}
	return out
}

func sorted(set map[string]string) iter.Seq2[Entry, error] {
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return func(yield func(Entry, error) bool) {
		for _, k := range keys {
			if !yield(Entry{[]byte(k), []byte(set[k])}, nil) {
				return
			}
		}
	}
}

// content reads a whole trie.
func (w *world) content(t testing.TB, r Root) map[string]string {
	t.Helper()
	out := map[string]string{}
	for e, err := range w.All(context.Background(), r) {
		if err != nil {
			t.Fatal(err)
		}
		out[string(e.Path)] = string(e.Value)
	}
	return out
}

// randomSet makes n paths of 20 bytes with few different beginnings, so that there are long skips and full buckets.
func randomSet(r *rand.Rand, n int, hidden bool) map[string]string {
	set := map[string]string{}
	for len(set) < n {
		p := make([]byte, 20)
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		p[0] = 0x10 + byte(r.IntN(3))
		p[1] = 0
		p[2] = byte(r.IntN(4))
		if r.IntN(3) == 0 {
			copy(p[3:12], "same same ")
		}
		value := ""
		if !hidden {
			value = fmt.Sprintf("value %x", p[10:14])
		}
		set[string(p)] = value
	}
	return set
}
