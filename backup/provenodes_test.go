package backup_test

import (
	"context"
	"sync/atomic"
	"testing"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/merkle"
)

// countingStore counts reads.
type countingStore struct {
	worm.Store
	reads, bytes atomic.Int64
}

func (c *countingStore) Read(ctx context.Context, key, version string, r worm.Range) ([]byte, error) {
	data, err := c.Store.Read(ctx, key, version, r)
	c.reads.Add(1)
	c.bytes.Add(int64(len(data)))
	return data, err
}

// Every leaf is proved in every tree that has it, whatever was read before; under the head of its own segment with four reads at most.
func TestTreeNodes(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	for _, n := range []int{3, 1, 300, 7, 2, 513, 1, 40} {
		for ; n > 0; n -= 300 {
			s.send(some(min(n, 300))...)
		}
		a.once(keys)
	}
	store := &countingStore{Store: a.store}
	archive, err := OpenArchive(t.Context(), store, a.trust())
	if err != nil {
		t.Fatal(err)
	}
	sizes := OpenTree(archive, 0).Sizes()
	leaves := a.leafHashes(sizes[len(sizes)-1])
	warm := OpenTree(archive, 0)
	for i, size := range sizes {
		root := merkle.Root(leaves[:size])
		first := uint64(0)
		if i > 0 {
			first = sizes[i-1]
		}
		for index := uint64(0); index < size; index += 1 + index%13 {
			cold := OpenTree(archive, 0)
			store.reads.Store(0)
			p, err := cold.Prove(t.Context(), index, size)
			if err == nil {
				err = p.Verify(leaves[index], root)
			}
			if reads := store.reads.Load(); err != nil || index >= first && reads > 4 {
				t.Fatalf("leaf %d of %d, in the segment from %d on: %d reads, %v", index, size, first, reads, err)
			}
			again, err := warm.Prove(t.Context(), index, size)
			if err == nil {
				err = again.Verify(leaves[index], root)
			}
			if err != nil {
				t.Fatalf("leaf %d of %d, warm: %v", index, size, err)
			}
		}
	}
}

// leafHashes are those of the log of partition 0, as tiles give them.
func (a *testArchive) leafHashes(size uint64) (hashes []merkle.Hash) {
	a.t.Helper()
	view := a.tiles()
	for tile := range merkle.Tiles(size) {
		if tile.Level != 0 {
			continue
		}
		data, err := view.Tile(a.t.Context(), view.Origins()[1], tile)
		if err != nil {
			a.t.Fatal(err)
		}
		for i := 0; i < len(data); i += 32 {
			hashes = append(hashes, merkle.Hash(data[i:]))
		}
	}
	return hashes
}
