package keyring

import (
	"context"
	"runtime"
	"testing"

	"github.com/stelelog/stele/internal/keytrie"
)

// watched is a source that looks at the heap now and then.
type watched struct {
	packs
	reads  int
	stored uint64 // bytes that a store would have
	peak   uint64
}

func (w *watched) look() {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	w.peak = max(w.peak, m.HeapAlloc-w.stored)
}

func (w *watched) ReadPack(ctx context.Context, pack, offset uint64, n int) ([]byte, error) {
	if w.reads++; w.reads%1000 == 0 {
		w.look()
	}
	return w.packs.ReadPack(ctx, pack, offset, n)
}

// TestEraseMemory: an erasure and its gate hold some hundred bytes for each scope that goes, besides the nodes that they are
// let to keep and the pack that is made, however much they read and write. Every second scope goes, so nearly all nodes do.
func TestEraseMemory(t *testing.T) {
	const cache, pack, each = 256 << 10, 64 << 10, 400
	ctx := context.Background()
	w, _ := filled(t, 12_000)
	var gone []Located
	i := 0
	for l, err := range w.All(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if i++; i%2 == 0 {
			gone = append(gone, l)
		}
	}
	see := &watched{packs: w.packs}
	ring := (&Ring{Archive: w.Archive, Packs: see, Runs: w.Runs}).Cached(cache)
	see.look()
	base := see.peak
	out := keytrie.NewWriter(w.Archive, w.next, pack, w.keys, func(n uint64, data []byte) error {
		see.look()
		see.packs[n], see.stored = data, see.stored+uint64(cap(data))
		return nil
	})
	e := Erasure{Scopes: gone}
	next, list, err := ring.Erase(ctx, out, e)
	if err == nil {
		err = out.Close()
	}
	if err == nil {
		err = Gate(ctx, ring, next, &e, list, 8, w.keys)
	}
	if err != nil {
		t.Fatal(err)
	}
	see.look()
	took := see.peak - base
	t.Logf("%d scopes of %d, %d bytes written, %d of heap: %d a scope", len(gone), i, see.stored, took, took/uint64(len(gone)))
	if limit := uint64(len(gone)*each + 2*cache + 4*pack); took > limit {
		t.Errorf("it takes %d bytes of heap, more than %d", took, limit)
	}
}
