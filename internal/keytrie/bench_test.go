package keytrie

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// keyPaths makes what a key trie of n scopes holds: 100 days, random ids and checks.
func keyPaths(n int) [][]byte {
	r := rand.New(rand.NewPCG(7, 7))
	out := make([][]byte, n)
	for i := range out {
		p := make([]byte, 35)
		p[0] = 0x10
		binary.BigEndian.PutUint16(p[1:], 20_000+uint16(r.IntN(100)))
		copy(p[3:], p[1:3])
		for j := 5; j < 35; j++ {
			p[j] = byte(r.Uint32())
		}
		out[i] = p
	}
	slices.SortFunc(out, slices.Compare)
	return out
}

// tagPaths makes the three index paths of each scope: 200 tenants, subjects with 20 scopes, sessions with 3.
func tagPaths(keys [][]byte) [][]byte {
	var out [][]byte
	r := rand.New(rand.NewPCG(8, 8))
	tag := func(kind, n int) []byte {
		p := make([]byte, 14)
		p[0] = 0x20
		x := rand.New(rand.NewPCG(uint64(kind), uint64(r.IntN(n)))).Uint64()
		binary.BigEndian.PutUint64(p[1:], x)
		return p
	}
	for _, k := range keys {
		for kind, n := range []int{200, len(keys)/20 + 1, len(keys)/3 + 1} {
			p := tag(kind, n)
			copy(p[6:], k[1:9])
			out = append(out, p)
		}
	}
	slices.SortFunc(out, slices.Compare)
	return slices.CompactFunc(out, func(a, b []byte) bool { return string(a) == string(b) })
}

func entries(paths [][]byte, value []byte) func(func(Entry, error) bool) {
	return func(yield func(Entry, error) bool) {
		for _, p := range paths {
			if !yield(Entry{p, value}, nil) {
				return
			}
		}
	}
}

func benchBuild(b *testing.B, hidden bool, paths [][]byte, value []byte) (*world, Root) {
	var w *world
	var root Root
	for b.Loop() {
		w = newWorld(hidden, 1)
		w.limit = 64 << 20
		tally := w.write(b, func(out *Writer) (err error) {
			root, err = w.Build(out, entries(paths, value))
			return err
		})
		b.ReportMetric(float64(tally.Bytes)/float64(len(paths)), "B/path")
		b.ReportMetric(float64(len(paths))/float64(tally.Nodes), "paths/node")
	}
	return w, root
}

func BenchmarkBuild(b *testing.B) {
	keys := keyPaths(benchKeys)
	b.Run("keys", func(b *testing.B) { benchBuild(b, false, keys, make([]byte, 100)) })
	tags := tagPaths(keys)
	b.Run("tags", func(b *testing.B) { benchBuild(b, true, tags, nil) })
}

func BenchmarkRemove(b *testing.B) {
	keys := keyPaths(benchKeys)
	tags := tagPaths(keys)
	for _, hidden := range []bool{false, true} {
		name, paths, value := "keys", keys, make([]byte, 100)
		if hidden {
			name, paths, value = "tags", tags, nil
		}
		w := newWorld(hidden, 1)
		w.limit = 64 << 20
		var root Root
		w.write(b, func(out *Writer) (err error) {
			root, err = w.Build(out, entries(paths, value))
			return err
		})
		for _, n := range []int{1, 3, 100, 10_000} {
			b.Run(name+"/"+itoa(n), func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 1))
				var bytes, nodes, rounds int
				for b.Loop() {
					var gone [][]byte
					for range n {
						gone = append(gone, paths[r.IntN(len(paths))])
					}
					slices.SortFunc(gone, slices.Compare)
					gone = slices.CompactFunc(gone, func(a, b []byte) bool { return string(a) == string(b) })
					out := NewWriter(w.Archive, 1<<30, 64<<20, w.rand, func(uint64, []byte) error { return nil })
					if _, _, err := w.Remove(context.Background(), out, root, gone, nil); err != nil {
						b.Fatal(err)
					}
					bytes += out.Tally().Bytes
					nodes += out.Tally().Nodes
					rounds++
				}
				b.ReportMetric(float64(bytes)/float64(rounds), "B/op-written")
				b.ReportMetric(float64(nodes)/float64(rounds), "nodes/op")
			})
		}
	}
}

func itoa(n int) string {
	s := ""
	for ; n > 0; n /= 10 {
		s = string(rune('0'+n%10)) + s
	}
	return s
}

const benchKeys = 1_000_000
