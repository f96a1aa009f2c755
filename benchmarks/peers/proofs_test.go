package peers

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/transparency-dev/tessera/client"

	"github.com/stelelog/stele/internal/bigtree"
	"github.com/stelelog/stele/merkle"
)

// BenchmarkTesseraProof builds inclusion proofs among the 10⁹ leaves of BenchmarkProofAmongABillion in package backup with the client of
// Tessera, from tiles in memory: warm, of 512 leaves whose tiles it has fetched before; cold, with a new builder each time.
func BenchmarkTesseraProof(b *testing.B) {
	const segments = 15_259
	random := rand.New(rand.NewPCG(1, 2))
	made := make([]int, 32)
	for i := range made {
		made[i] = segments/2 + random.IntN(segments/2)
	}
	slices.Sort(made)
	made = slices.Compact(made)
	tree, size := bigtree.New(segments, made...), uint64(segments)<<bigtree.SegmentLevel
	tiles := map[[3]uint64][]byte{}
	fetch := func(_ context.Context, level, index uint64, p uint8) ([]byte, error) {
		at := [3]uint64{level, index, uint64(p)}
		if tiles[at] == nil {
			width := 256
			if p > 0 {
				width = int(p)
			}
			tiles[at] = tree.Tile(int(level), index, width)
		}
		return tiles[at], nil
	}
	builder := func() *client.ProofBuilder {
		pb, err := client.NewProofBuilder(b.Context(), size, fetch)
		if err != nil {
			b.Fatal(err)
		}
		return pb
	}
	warm, places := builder(), make([]uint64, 512)
	for i := range places {
		places[i] = uint64(made[random.IntN(len(made))])<<bigtree.SegmentLevel + random.Uint64N(bigtree.SegmentLeaves)
		path, err := warm.InclusionProof(b.Context(), places[i])
		if err != nil {
			b.Fatal(err)
		}
		p := merkle.InclusionProof{Index: places[i], Size: size}
		for _, h := range path {
			p.Path = append(p.Path, merkle.Hash(h))
		}
		if err := p.Verify(tree.Node(0, places[i]), tree.Root(segments-1)); err != nil {
			b.Fatal(err)
		}
	}
	for _, cold := range []bool{false, true} {
		name := map[bool]string{false: "warm", true: "cold"}[cold]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			pb, times := warm, make([]time.Duration, 0, b.N)
			before := cpuTime(b)
			for i := range b.N {
				if cold {
					pb = builder()
				}
				start := time.Now()
				if _, err := pb.InclusionProof(b.Context(), places[i%len(places)]); err != nil {
					b.Fatal(err)
				}
				times = append(times, time.Since(start))
			}
			b.ReportMetric((cpuTime(b)-before).Seconds()*1e6/float64(b.N), "cpu-µs/op")
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1000, "p50-µs")
		})
	}
}
