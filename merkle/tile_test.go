package merkle_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/stelelog/stele/merkle"
)

// The examples of c2sp.org/tlog-tiles and of docs/formats/tree.md.
func TestTilePaths(t *testing.T) {
	for _, c := range []struct {
		tile merkle.Tile
		path string
	}{
		{merkle.Tile{Level: 0, Index: 0, Width: 256}, "tile/0/000"},
		{merkle.Tile{Level: 0, Index: 1234067, Width: 256}, "tile/0/x001/x234/067"},
		{merkle.Tile{Level: 0, Index: 273, Width: 112}, "tile/0/273.p/112"},
		{merkle.Tile{Level: 1, Index: 1, Width: 17}, "tile/1/001.p/17"},
		{merkle.Tile{Level: 2, Index: 0, Width: 1}, "tile/2/000.p/1"},
		{merkle.Tile{Level: merkle.EntriesLevel, Index: 1000, Width: 256}, "tile/entries/x001/000"},
		{merkle.Tile{Level: merkle.EntriesLevel, Index: 7, Width: 5}, "tile/entries/007.p/5"},
		{merkle.Tile{Level: 7, Index: 0, Width: 127}, "tile/7/000.p/127"},
		{merkle.Tile{Level: 0, Index: 1<<55 - 1, Width: 256}, "tile/0/x036/x028/x797/x018/x963/967"},
	} {
		if got := c.tile.Path(); got != c.path {
			t.Errorf("%+v: path %s, want %s", c.tile, got, c.path)
		}
		if got, err := merkle.ParseTilePath(c.path); err != nil || got != c.tile {
			t.Errorf("parse %s: %+v, %v", c.path, got, err)
		}
	}
	for _, path := range []string{"", "tile", "tile/", "tile//000", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/1234",
		"tile/8/000", "tile/00/000", "tile/-1/000", "tile/entries/", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/05", "tile/0/000.p/",
		"tile/0/000.p/-1", "tile/0/x000/000", "tile/0/001/x000", "tile/0/x001000", "/tile/0/000", "tile/0/000/", "tile/0/..", "tile/x/000",
		"tile/0/x999/x999/x999/x999/x999/x999/999", "tile/0/x999/x999/x999/x999/x999/999", "tile/7/001", "tile/0/000.p/1.p/1", "tile/é/000",
		"tile/0/" + strings.Repeat("x000/", 100) + "000"} {
		if got, err := merkle.ParseTilePath(path); !errors.Is(err, merkle.ErrInvalid) {
			t.Errorf("parse %q: %+v, %v", path, got, err)
		}
	}
}

// Tiles, their hashes and the nodes in them are those of golang.org/x/mod/sumdb/tlog with tiles of height 8.
func TestTilesAgainstSumdb(t *testing.T) {
	const most = 70_000
	stored := tlogStore{}
	var levels [][]merkle.Hash
	var f merkle.Frontier
	size := uint64(0)
	for _, target := range []uint64{0, 1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, most} {
		for ; size < target; size++ {
			data := fmt.Appendf(nil, "leaf %d", size)
			hashes, err := tlog.StoredHashes(int64(size), data, stored)
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, hashes...)
			levels = f.AppendLevels(levels, merkle.LeafHash(data))
		}
		want := map[string]bool{}
		for _, tile := range tlog.NewTiles(8, 0, int64(size)) {
			data, err := tlog.ReadTileData(tile, stored)
			if err != nil {
				t.Fatal(err)
			}
			path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
			// sumdb counts only the last partial tile of a level; so do we.
			want[path] = true
			got, err := merkle.ParseTilePath(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(data, tileBytes(t, got, levels)) {
				t.Errorf("size %d: %s differs", size, path)
			}
		}
		bundles, seen := 0, map[string]bool{}
		for tile := range merkle.Tiles(size) {
			if !tile.In(size) {
				t.Errorf("size %d: %s is not in it", size, tile.Path())
			}
			if tile.Level == merkle.EntriesLevel {
				bundles += tile.Width
				continue
			}
			seen[tile.Path()] = true
			if !want[tile.Path()] {
				t.Errorf("size %d: sumdb has no %s", size, tile.Path())
			}
			if tile.Width == 256 {
				p := tile.Parent()
				if hashes := hashesOf(tileBytes(t, tile, levels)); merkle.Root(hashes) != levels[p.Level][p.Index] {
					t.Errorf("size %d: %s does not add up to its parent", size, tile.Path())
				}
			}
		}
		if len(seen) != len(want) || bundles != int(size) {
			t.Errorf("size %d: %d tiles and %d entries, sumdb has %d tiles", size, len(seen), bundles, len(want))
		}
	}
	for range merkle.Tiles(1 << 63) {
		t.Fatal("a tree that cannot exist has tiles")
	}
}

func TestNodesFromTiles(t *testing.T) {
	var levels [][]merkle.Hash
	var f merkle.Frontier
	leaves := make([]merkle.Hash, 3000)
	for i := range leaves {
		leaves[i] = merkle.LeafHash(binary.BigEndian.AppendUint64(nil, uint64(i)))
	}
	levels = f.AppendLevels(levels, leaves...)
	rapid.Check(t, func(r *rapid.T) {
		size := rapid.Uint64Range(1, uint64(len(leaves))).Draw(r, "size")
		level := rapid.IntRange(0, 11).Draw(r, "level")
		if size>>level == 0 {
			return
		}
		n := merkle.Node{Level: level, Index: rapid.Uint64Range(0, size>>level-1).Draw(r, "index")}
		tile, err := merkle.NodeTile(n, size)
		if err != nil || !tile.In(size) {
			r.Fatalf("%+v in %d: %+v, %v", n, size, tile, err)
		}
		got, err := tile.NodeHash(n, tileBytes(t, tile, levels))
		if err != nil || got != levels[n.Level][n.Index] {
			r.Fatalf("%+v from %s: %v", n, tile.Path(), err)
		}
		if _, err := merkle.NodeTile(merkle.Node{Level: level, Index: size >> level}, size); err == nil {
			r.Fatal("a node that is not complete has a tile")
		}
	})
	tile := merkle.Tile{Level: 0, Index: 0, Width: 5}
	for _, n := range []merkle.Node{{0, 5}, {3, 0}, {0, 256}, {8, 0}, {-1, 0}, {7, 1 << 60}} {
		if _, err := tile.NodeHash(n, make([]byte, 5*32)); err == nil {
			t.Errorf("%+v out of %s", n, tile.Path())
		}
	}
}

func TestEntries(t *testing.T) {
	want := [][]byte{{}, []byte("a"), bytes.Repeat([]byte("b"), 65535)}
	var bundle []byte
	var err error
	for _, e := range want {
		if bundle, err = merkle.AppendEntry(bundle, e); err != nil {
			t.Fatal(err)
		}
	}
	got, err := merkle.ParseEntries(bundle, 3)
	if err != nil || !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%d entries, %v", len(got), err)
	}
	if _, err := merkle.AppendEntry(nil, make([]byte, 65536)); !errors.Is(err, merkle.ErrInvalid) {
		t.Errorf("too long: %v", err)
	}
	for _, bad := range [][]byte{nil, bundle[:1], bundle[:4], bundle[:len(bundle)-1], append(bytes.Clone(bundle), 0, 0)} {
		if _, err := merkle.ParseEntries(bad, 3); !errors.Is(err, merkle.ErrInvalid) {
			t.Errorf("bundle of %d bytes: %v", len(bad), err)
		}
	}
}

func FuzzParseTilePath(f *testing.F) {
	f.Add("tile/0/x001/x234/067")
	f.Add("tile/entries/007.p/5")
	f.Fuzz(func(t *testing.T, path string) {
		if tile, err := merkle.ParseTilePath(path); err == nil && tile.Path() != path {
			t.Errorf("%q is taken for %q", path, tile.Path())
		}
	})
}

// tileBytes is a tile of a tree with these nodes.
func tileBytes(t *testing.T, tile merkle.Tile, levels [][]merkle.Hash) (data []byte) {
	t.Helper()
	first, err := tile.Nodes()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range levels[first.Level][first.Index:][:tile.Width] {
		data = append(data, h[:]...)
	}
	return data
}

func hashesOf(data []byte) (out []merkle.Hash) {
	for ; len(data) > 0; data = data[32:] {
		out = append(out, merkle.Hash(data))
	}
	return out
}
