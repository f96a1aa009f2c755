package segment

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// The list finds what a map and a sort would find, whatever the ids look like; also when its memory was used before.
func TestScopeList(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := func() (id [16]byte) {
		for i := range id {
			id[i] = byte(rng.Uint32())
		}
		return id
	}
	day := func(d byte) [16]byte {
		id := random()
		id[0], id[1] = 0x4e, d
		return id
	}
	kinds := map[string]func(i int) [16]byte{
		"of one day":              func(int) [16]byte { return day(7) },
		"of two days":             func(i int) [16]byte { return day(7 + byte(i)%2) },
		"of many days":            func(int) [16]byte { return day(byte(rng.IntN(40))) },
		"without structure":       func(int) [16]byte { return random() },
		"the same":                func(int) [16]byte { return [16]byte{1, 2, 3} },
		"none":                    func(int) [16]byte { return [16]byte{} },
		"alike but for the end":   func(int) [16]byte { return [16]byte{0: 9, 15: byte(rng.IntN(50))} },
		"alike but for the start": func(int) [16]byte { return [16]byte{0: byte(rng.IntN(50)), 15: 9} },
		"with many repeats": func(int) [16]byte {
			return [16]byte{0x4e, 7, byte(rng.IntN(8)), byte(rng.IntN(2))}
		},
		"counting": func(i int) [16]byte { return [16]byte{6: byte(i >> 8), 7: byte(i)} },
	}
	var l scopeList
	for name, next := range kinds {
		for _, n := range []int{0, 1, 2, 3, 100, 5000} {
			l.reset()
			codes, keys := map[[16]byte]uint32{}, [][16]byte(nil)
			var ids [][16]byte
			for i := range n {
				id := next(i)
				if i%7 == 6 {
					id = ids[rng.IntN(i)]
				}
				if i%50 == 49 {
					id = [16]byte{}
				}
				ids = append(ids, id)
				if place := l.add(id); int(place) != i {
					t.Fatalf("%s: place %d, not %d", name, place, i)
				}
				if _, ok := codes[id]; !ok {
					codes[id] = uint32(len(keys))
					keys = append(keys, id)
				}
			}
			var sorted []uint32
			for code := range keys {
				sorted = append(sorted, uint32(code))
			}
			slices.SortFunc(sorted, func(a, b uint32) int { return bytes.Compare(keys[a][:], keys[b][:]) })
			l.finish()
			if !slices.Equal(l.keys, keys) || !slices.Equal(l.sorted, sorted) {
				t.Errorf("%s, %d ids: %d keys and %d sorted, want %d; or in another order", name, n, len(l.keys), len(l.sorted), len(keys))
			}
			for place, id := range ids {
				if l.codes[place] != codes[id] {
					t.Fatalf("%s, %d ids: place %d has code %d, want %d", name, n, place, l.codes[place], codes[id])
				}
			}
		}
	}
}

func BenchmarkScopeList(b *testing.B) {
	rng := rand.New(rand.NewPCG(3, 4))
	ids := make([][16]byte, 90_000)
	for i := range ids {
		be.PutUint64(ids[i][:], 0x4e20<<48|rng.Uint64()>>16)
		be.PutUint64(ids[i][8:], rng.Uint64())
	}
	var l scopeList
	b.ReportAllocs()
	for b.Loop() {
		l.reset()
		for _, id := range ids {
			l.add(id)
		}
		l.finish()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(ids)), "ns/scope")
}
