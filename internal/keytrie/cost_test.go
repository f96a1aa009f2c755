package keytrie

import (
	"context"
	"slices"
	"testing"
)

// TestRemoveCost holds what a removal of paths all over a trie writes and allocates to what benchmarks/RESULTS.md goes by.
func TestRemoveCost(t *testing.T) {
	ctx, keys := context.Background(), keyPaths(10_000)
	for _, x := range []struct {
		hidden        bool
		paths         [][]byte
		bytes, allocs int // for each path at most
	}{
		{false, keys, 2500, 30},
		{true, tagPaths(keys), 1000, 20},
	} {
		w := newWorld(x.hidden, 1)
		value := make([]byte, 100)
		if x.hidden {
			value = nil
		}
		var root Root
		w.write(t, func(out *Writer) (err error) {
			root, err = w.Build(out, entries(x.paths, value))
			return err
		})
		var gone [][]byte
		for i := 7; i < len(x.paths); i += len(x.paths) / 100 {
			gone = append(gone, x.paths[i])
		}
		slices.SortFunc(gone, slices.Compare)
		var tally Tally
		w.Cache = NewCache(64 << 20)
		allocs := testing.AllocsPerRun(3, func() {
			out := NewWriter(w.Archive, 1<<30, 1<<20, w.rand, func(uint64, []byte) error { return nil })
			if _, _, err := w.Remove(ctx, out, root, gone, nil); err != nil {
				t.Fatal(err)
			}
			tally = out.Tally()
		})
		t.Logf("hidden=%v: %d paths of %d, for each %d nodes/100, %d bytes, %.0f allocations", x.hidden, len(gone), len(x.paths), 100*tally.Nodes/len(gone),
			tally.Bytes/len(gone), allocs/float64(len(gone)))
		if tally.Bytes > x.bytes*len(gone) || int(allocs) > x.allocs*len(gone) {
			t.Errorf("hidden=%v: %d bytes and %.0f allocations for %d paths, at most %d and %d for each", x.hidden, tally.Bytes, allocs, len(gone), x.bytes, x.allocs)
		}
	}
}
