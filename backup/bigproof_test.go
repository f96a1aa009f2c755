package backup_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/s3store"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/bigtree"
	"github.com/stelelog/stele/internal/testbed"
)

// bigSegments are a little over 10⁹ leaves.
const bigSegments = 15_259

// aBillion is a tree of 10⁹ leaves with some segments that are made, whose proof objects are in store.
func aBillion(tb testing.TB, store worm.Store, made int) (*bigtree.Tree, *Tree, []int) {
	tb.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	segments := make([]int, made)
	for i := range segments {
		segments[i] = bigSegments/2 + random.IntN(bigSegments/2)
	}
	slices.Sort(segments)
	segments = slices.Compact(segments)
	big := bigtree.New(bigSegments, segments...)
	for _, s := range segments {
		if _, err := store.Create(tb.Context(), fmt.Sprintf("logs/0/large/objects/%08d.proof", s), big.Proof(s), worm.Lock{Mode: worm.LockNone}); err != nil {
			tb.Fatal(err)
		}
	}
	return big, LargeTree(store, "acme/0/large", bigSegments, bigtree.SegmentLeaves, big.Before), segments
}

// proveOne proves a random leaf of a made segment under the head of its segment.
func proveOne(tb testing.TB, big *bigtree.Tree, tree *Tree, segment int, offset uint64, verify bool) {
	tb.Helper()
	index := uint64(segment)<<bigtree.SegmentLevel + offset
	p, err := tree.Prove(tb.Context(), index, uint64(segment+1)<<bigtree.SegmentLevel)
	if err == nil && verify {
		err = p.Verify(big.Node(0, index), big.Root(segment))
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// oneRound counts reads, and how many had begun before the first one was answered.
type oneRound struct {
	worm.Store
	begun, first atomic.Int64
}

func (o *oneRound) Read(ctx context.Context, key, version string, r worm.Range) ([]byte, error) {
	o.begun.Add(1)
	data, err := o.Store.Read(ctx, key, version, r)
	o.first.CompareAndSwap(0, o.begun.Load())
	return data, err
}

// Among 10⁹ leaves a proof takes at most four reads, whose places are all known before the first.
func TestProofAmongABillion(t *testing.T) {
	store := &countingStore{Store: storetest.NewMemory()}
	big, tree, segments := aBillion(t, store, 2)
	random := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		tree.Forget()
		store.reads.Store(0)
		proveOne(t, big, tree, segments[random.IntN(len(segments))], random.Uint64N(bigtree.SegmentLeaves), true)
		if n := store.reads.Load(); n > 4 {
			t.Fatalf("%d reads", n)
		}
	}
	before := store.reads.Load()
	for range 3 { // what was read is not read again
		proveOne(t, big, tree, segments[0], 5, true)
	}
	if n := store.reads.Load() - before; n > 4 {
		t.Errorf("%d reads for the same leaf again", n)
	}
}

// BenchmarkProofAmongABillion builds inclusion proofs: warm, of 512 leaves whose tiles were read before; cold, from a store in memory.
func BenchmarkProofAmongABillion(b *testing.B) {
	store := storetest.NewMemory()
	big, tree, segments := aBillion(b, store, 32)
	random := rand.New(rand.NewPCG(5, 6))
	type place struct {
		segment int
		offset  uint64
	}
	places := make([]place, 512)
	for i := range places {
		places[i] = place{segments[random.IntN(len(segments))], random.Uint64N(bigtree.SegmentLeaves)}
		proveOne(b, big, tree, places[i].segment, places[i].offset, true)
	}
	for _, cold := range []bool{false, true} {
		name := map[bool]string{false: "warm", true: "cold"}[cold]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			times := make([]time.Duration, 0, b.N)
			before := cpuTime(b)
			for i := range b.N {
				if cold {
					tree.Forget()
				}
				p := places[i%len(places)]
				start := time.Now()
				proveOne(b, big, tree, p.segment, p.offset, false)
				times = append(times, time.Since(start))
			}
			b.ReportMetric((cpuTime(b)-before).Seconds()*1e6/float64(b.N), "cpu-µs/op")
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1000, "p50-µs")
		})
	}
}

// BenchmarkProofFromMinIO builds proofs from a bucket, nothing kept, beside one range read of a tile.
func BenchmarkProofFromMinIO(b *testing.B) {
	service := testbed.MinIO(b)
	s3, err := s3store.Open(b.Context(), s3store.Config{Endpoint: service.Addr, Region: service.Region, Bucket: service.Bucket(b),
		Credentials: s3store.Credentials{AccessKey: service.AccessKey, SecretKey: service.SecretKey}})
	if err != nil {
		b.Fatal(err)
	}
	store := &oneRound{Store: s3}
	big, tree, segments := aBillion(b, store, 4)
	random := rand.New(rand.NewPCG(7, 8))
	proveOne(b, big, tree, segments[0], 1, true)
	var proofs, reads []time.Duration
	begun, first := int64(0), int64(0)
	for b.Loop() {
		tree.Forget()
		store.begun.Store(0)
		store.first.Store(0)
		s, at := segments[random.IntN(len(segments))], random.Uint64N(bigtree.SegmentLeaves)
		start := time.Now()
		proveOne(b, big, tree, s, at, true)
		proofs = append(proofs, time.Since(start))
		begun, first = begun+store.begun.Load(), first+store.first.Load()
		start = time.Now()
		if _, err := s3.Read(b.Context(), fmt.Sprintf("logs/0/large/objects/%08d.proof", s), "", worm.Range{Off: int64(at>>8) << 13, Len: 8192}); err != nil {
			b.Fatal(err)
		}
		reads = append(reads, time.Since(start))
	}
	slices.Sort(proofs)
	slices.Sort(reads)
	b.ReportMetric(float64(begun)/float64(len(proofs)), "reads/op")
	b.ReportMetric(float64(first)/float64(len(proofs)), "begun-before-an-answer/op")
	b.ReportMetric(float64(proofs[len(proofs)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(reads[len(reads)/2].Microseconds()), "one-read-p50-µs")
}
