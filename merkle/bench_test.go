package merkle_test

import (
	"fmt"
	"testing"

	"github.com/stelelog/stele/merkle"
)

func BenchmarkLeafHash(b *testing.B) {
	for _, size := range []int{64, 200, 1 << 10, 4 << 10, 64 << 10} {
		data := make([]byte, size)
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				merkle.LeafHash(data)
			}
		})
	}
}

func BenchmarkNodeHash(b *testing.B) {
	h := merkle.EmptyRoot()
	b.ReportAllocs()
	for b.Loop() {
		h = merkle.NodeHash(h, h)
	}
}

func BenchmarkRoot(b *testing.B) {
	for _, n := range []int{1, 2, 16, 100, 1000, 65536} {
		leaves := leafHashes(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				merkle.Root(leaves)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/leaf")
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	leaves := leafHashes(65536)
	for _, n := range []int{1, 100, 65536} {
		perLeaf := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/leaf")
		}
		b.Run(fmt.Sprintf("edge/%d", n), func(b *testing.B) {
			var f merkle.Frontier
			b.ReportAllocs()
			for b.Loop() {
				f.Append(leaves[:n]...)
			}
			perLeaf(b)
		})
		b.Run(fmt.Sprintf("levels/%d", n), func(b *testing.B) {
			var f merkle.Frontier
			var rows [][]merkle.Hash
			b.ReportAllocs()
			for b.Loop() {
				for l := range rows {
					rows[l] = rows[l][:0]
				}
				rows = f.AppendLevels(rows, leaves[:n]...)
			}
			perLeaf(b)
		})
	}
}

func BenchmarkProofs(b *testing.B) {
	const size = 1<<30 - 1
	u := newUniform()
	f, old := u.frontier(size), u.frontier(size/3)
	root, oldRoot := f.Root(), old.Root()
	inclusion, err := merkle.ProveInclusion(size/5, size, u.read)
	if err != nil {
		b.Fatal(err)
	}
	consistency, err := merkle.ProveConsistency(size/3, size, u.read)
	if err != nil {
		b.Fatal(err)
	}
	for _, bm := range []struct {
		name string
		run  func() error
	}{
		{"inclusion/build", func() error { _, err := merkle.ProveInclusion(size/5, size, u.read); return err }},
		{"inclusion/verify", func() error { return inclusion.Verify(u[0], root) }},
		{"consistency/build", func() error { _, err := merkle.ProveConsistency(size/3, size, u.read); return err }},
		{"consistency/verify", func() error { return consistency.Verify(oldRoot, root) }},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := bm.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
