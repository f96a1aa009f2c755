package keydepot

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"iter"
	"testing"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/keyroot"
)

// one is a store of one object, which counts reads.
type one struct {
	worm.Store
	key   string
	data  []byte
	reads int
}

func (o *one) Versions(_ context.Context, prefix, _ string) iter.Seq2[worm.Version, error] {
	return func(yield func(worm.Version, error) bool) {
		if o.key >= prefix {
			yield(worm.Version{Key: o.key, ID: "v", Size: int64(len(o.data))}, nil)
		}
	}
}

func (o *one) Read(_ context.Context, key, id string, r worm.Range) ([]byte, error) {
	o.reads++
	if key != o.key || id != "v" || r.Off < 0 || r.Off+r.Len > int64(len(o.data)) || r.Len == 0 {
		return nil, fmt.Errorf("read %s %s %v", key, id, r)
	}
	return bytes.Clone(o.data[r.Off : r.Off+r.Len]), nil
}

// A pack is read by blocks, each once while there is room, whatever the ranges; nothing outside of it.
func TestSource(t *testing.T) {
	data := make([]byte, 3*blockSize+777)
	rand.Read(data)
	p := keyroot.Pack{N: 7, SHA256: sha256.Sum256(data), Size: int64(len(data))}
	store := &one{key: Packs + p.SHA256.String(), data: data}
	d := Open(Config{Store: store})
	s := d.Source([]keyroot.Pack{p})
	for _, r := range [][2]int{{0, 1}, {blockSize - 1, 2}, {blockSize - 10, blockSize + 20}, {3 * blockSize, 777}, {len(data) - 1, 1}, {0, len(data)}, {5, 0}} {
		got, err := s.ReadPack(t.Context(), 7, uint64(r[0]), r[1])
		if err != nil || !bytes.Equal(got, data[r[0]:r[0]+r[1]]) {
			t.Errorf("%d bytes at %d: %d bytes, %v", r[1], r[0], len(got), err)
		}
	}
	if store.reads != 4 {
		t.Errorf("%d reads of 4 blocks", store.reads)
	}
	for _, r := range [][3]uint64{{7, uint64(len(data)), 1}, {7, 1 << 63, 1}, {7, 0, uint64(len(data) + 1)}, {8, 0, 1}} {
		if _, err := s.ReadPack(t.Context(), r[0], r[1], int(r[2])); err == nil {
			t.Errorf("read %v", r)
		}
	}
	store.data = store.data[:100]
	other := Open(Config{Store: store}).Source([]keyroot.Pack{p})
	if _, err := other.ReadPack(t.Context(), 7, 0, 1); err == nil {
		t.Error("a pack of another size was read")
	}
}

// A full cache drops what was used least lately.
func TestCache(t *testing.T) {
	c := newCache(30)
	for i := range int64(3) {
		c.put(place{i: i}, make([]byte, 10))
	}
	c.get(place{i: 0})
	c.put(place{i: 3}, make([]byte, 10))
	if c.get(place{i: 1}) != nil || c.get(place{i: 0}) == nil || c.get(place{i: 3}) == nil || c.used != 30 {
		t.Errorf("the cache has %d bytes", c.used)
	}
}
