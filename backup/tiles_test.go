package backup_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/tiles"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/merkle"
)

const patience = 2 * time.Minute

// intoDir writes what an export gives.
func intoDir(dir string) func(path string, data []byte) error {
	return func(path string, data []byte) error {
		name := filepath.Join(dir, filepath.FromSlash(path))
		return errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o644))
	}
}

func (a *testArchive) tiles() *tiles.View {
	a.t.Helper()
	view, err := tiles.Open(a.t.Context(), a.store, a.trust())
	if err != nil {
		a.t.Fatal(err)
	}
	return view
}

// export writes all logs and has them checked by a stranger's program.
func (a *testArchive) export() (sizes map[string]uint64, dir string) {
	a.t.Helper()
	view, dir, sizes := a.tiles(), a.t.TempDir(), map[string]uint64{}
	for _, origin := range view.Origins() {
		to := filepath.Join(dir, origin)
		c, err := view.Export(a.t.Context(), origin, intoDir(to))
		if err != nil {
			a.t.Fatal(err)
		}
		_, vkey, err := view.Checkpoint(a.t.Context(), origin)
		if err != nil {
			a.t.Fatal(err)
		}
		if err := testbed.Fsck(a.t, to, origin, vkey, patience); err != nil {
			a.t.Errorf("%s of size %d: %v", origin, c.Size, err)
		}
		sizes[origin] = c.Size
	}
	return sizes, dir
}

// An archive that grows is exported at each size at which the shape of its tiles changes.
func TestTilesOfAnArchive(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	var origin string
	targets := []uint64{1, 255, 256, 257, 65_536, 65_537}
	for _, size := range targets {
		for s.next < size {
			// The stream opens with its first leaf.
			s.send(some(int(min(400, size-s.next-open(s))))...)
		}
		if _, err := a.compact(t.Context(), keys, a.store, segmentsOf(1<<20)); err != nil {
			t.Fatal(err)
		}
		sizes, dir := a.export()
		for o, n := range sizes {
			if o != "test/control" {
				if origin = o; n != size {
					t.Errorf("%s is exported at size %d, want %d", o, n, size)
				}
			}
		}
		if size == 65_537 {
			changedEntry(t, a, filepath.Join(dir, origin), origin)
		}
	}
	tileByTile(t, a.tiles(), origin, targets[len(targets)-1])
}

// The log of a period that continues another is served like the first.
func TestTilesOfTwoPeriods(t *testing.T) {
	a, _, _ := turned(t)
	first, second := "test/0/"+periodAfter(t, 0), "test/0/"+periodAfter(t, quarter)
	for i, want := range []uint64{0, 5} { // it begins with a commit that has no leaves
		if i > 0 {
			a.stream(keyscope.Link{}).send(some(4)...)
		}
		a.once()
		sizes, _ := a.export()
		if len(sizes) != 3 || sizes[first] != 10 || sizes[second] != want {
			t.Fatalf("exported %v, want the control log, 10 leaves of %s and %d of %s", sizes, first, want, second)
		}
	}
}

func open(s *testStream) uint64 {
	if s.next == 0 {
		return 1
	}
	return 0
}

// changedEntry changes one byte of one entry.
func changedEntry(t *testing.T, a *testArchive, dir, origin string) {
	t.Helper()
	_, vkey, err := a.tiles().Checkpoint(t.Context(), origin)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "tile/entries/100")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, flip(data, 8*1000), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := testbed.Fsck(t, dir, origin, vkey, 5*time.Second); err == nil {
		t.Error("a log with a changed entry is accepted")
	}
}

// tileByTile reads tiles one by one, as over HTTP, and compares them with what an export computes.
func tileByTile(t *testing.T, view *tiles.View, origin string, size uint64) {
	t.Helper()
	want := map[string][]byte{}
	if _, err := view.Export(t.Context(), origin, func(path string, data []byte) error {
		want[path] = data
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	n := 0
	for tile := range merkle.Tiles(size) {
		n++
		got, err := view.Tile(t.Context(), origin, tile)
		if err != nil || string(got) != string(want[tile.Path()]) {
			t.Fatalf("%s: %d bytes, want %d, %v", tile.Path(), len(got), len(want[tile.Path()]), err)
		}
	}
	if n != len(want)-1 {
		t.Errorf("%d tiles, the export wrote %d", n, len(want)-1)
	}
	for _, tile := range []merkle.Tile{{Level: 0, Index: 256, Width: 2}, {Level: 0, Index: 1000, Width: 256}, {Level: 1, Index: 1, Width: 1},
		{Level: merkle.EntriesLevel, Index: 256, Width: 256}} {
		if _, err := view.Tile(t.Context(), origin, tile); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", tile.Path(), err)
		}
	}
	if _, err := view.Tile(t.Context(), "test/7/2020Q1", merkle.Tile{Width: 1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a log that is not there: %v", err)
	}
}

// The sizes that a real archive does not have.
func TestTilesOfSmallTrees(t *testing.T) {
	skey, vkey, err := note.GenerateKey(nil, "log.example")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []uint64{0, 2} {
		dir := t.TempDir()
		write := intoDir(dir)
		var leaves []merkle.Hash
		for i := range size {
			leaves = append(leaves, merkle.LeafHash(fmt.Append(nil, i)))
		}
		head, err := merkle.Checkpoint{Origin: "log.example", Size: size, Root: merkle.Root(leaves)}.Sign(signer)
		if err == nil {
			err = write("checkpoint", head)
		}
		for tile := range merkle.Tiles(size) {
			var data []byte
			for i := range size {
				if tile.Level == merkle.EntriesLevel {
					data, _ = merkle.AppendEntry(data, fmt.Append(nil, i))
				} else {
					data = append(data, leaves[i][:]...)
				}
			}
			err = errors.Join(err, write(tile.Path(), data))
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := testbed.Fsck(t, dir, "log.example", vkey, patience); err != nil {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

// An altered object is never exported, and never served as a full tile.
func TestTilesOfAnAlteredArchive(t *testing.T) {
	store := storetest.NewMemory()
	a := newTestArchive(t, store)
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	s.send(some(300)...)
	a.once(keys)
	origin := a.tiles().Origins()[1]
	for _, kind := range []string{".proof", ".index.arrow"} {
		for _, key := range keysOf(t, store, a.log()+"objects/") {
			if !strings.HasSuffix(key, kind) {
				continue
			}
			data := read(t, store, key)
			for at := 0; at < len(data); at += len(data)/12 + 1 {
				replace(t, store, key, flip(data, 8*at))
				view := a.tiles()
				_, err := view.Export(t.Context(), origin, func(path string, data []byte) error {
					return nil
				})
				served := map[string]string{}
				for tile := range merkle.Tiles(256) {
					if data, err := view.Tile(t.Context(), origin, tile); err == nil {
						served[tile.Path()] = string(data)
					}
				}
				replace(t, store, key, data)
				clean := a.tiles()
				for path, got := range served {
					tile, _ := merkle.ParseTilePath(path)
					if want, err := clean.Tile(t.Context(), origin, tile); err != nil || got != string(want) {
						t.Errorf("%s with byte %d changed: serves a wrong %s, export says %v", key, at, path, err)
					}
				}
				if err != nil && !strings.Contains(err.Error(), key) && !strings.Contains(err.Error(), "other hashes") {
					t.Errorf("%s with byte %d changed: %v", key, at, err)
				}
			}
		}
	}
}

// replace puts other bytes in the place of an object, as nobody can who has not got hold of the store.
func replace(t *testing.T, store *storetest.Memory, key string, data []byte) {
	t.Helper()
	for v, err := range store.Versions(t.Context(), key, "") {
		if err != nil {
			t.Fatal(err)
		}
		store.Remove(v.Key, v.ID)
	}
	store.Overwrite(key, data)
}

// An entry of the control log that no bundle holds is exported by its hash, and proves as much as any other.
func TestTilesOfALongEntry(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	a.policy(func(p *control.Policy) {
		for i := range 1000 {
			p.Writers = append(p.Writers, control.Writer{Name: fmt.Sprintf("service-%d", i), Key: fmt.Appendf(nil, "%032d", i)})
		}
	})
	keys := a.keys()
	a.stream(keyscope.Link{}).send(some(1)...)
	a.once(keys)
	wantExit(t, a.verify(VerifyOptions{}), 0, "integrity")
	a.export()
	e, err := a.open().Prove(t.Context(), idsOf(t, a.reader(keys)))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := evidence.Check(a.trust(), e.File); err != nil || !r.Whole() {
		t.Errorf("evidence under a policy that does not fit: %+v, %v", r, err)
	}
	a.noForkByHash()
}

// noForkByHash puts an entry and its hash beside each other as two histories: they have one leaf.
func (a *testArchive) noForkByHash() {
	a.t.Helper()
	view := a.tiles()
	head, vkey, err := view.Checkpoint(a.t.Context(), "test/control")
	if err != nil {
		a.t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := merkle.OpenCheckpoint(head, "test/control", note.VerifierList(v))
	if err != nil {
		a.t.Fatal(err)
	}
	bundle, err := view.Tile(a.t.Context(), "test/control", merkle.Tile{Level: merkle.EntriesLevel, Width: int(c.Size)})
	if err != nil {
		a.t.Fatal(err)
	}
	leaves, err := merkle.ParseEntries(bundle, int(c.Size))
	if err != nil {
		a.t.Fatal(err)
	}
	var all []string
	for _, key := range keysOf(a.t, a.store, "control/log/") {
		line, _, _ := strings.Cut(string(read(a.t, a.store, key)), "\n\n")
		var obj control.Object
		if err := json.Unmarshal([]byte(line), &obj); err != nil {
			a.t.Fatal(err)
		}
		all = append(all, obj.Entries...)
	}
	hashes := make([]merkle.Hash, len(leaves))
	long := -1
	for i, leaf := range leaves {
		hashes[i] = merkle.LeafHash(leaf)
		if string(leaf) != all[i] {
			long = i
		}
	}
	if long < 0 {
		a.t.Fatal("no entry is exported by its hash")
	}
	path, err := merkle.ProveInclusion(uint64(long), c.Size, func(nodes []merkle.Node, out []merkle.Hash) error {
		for i, n := range nodes {
			out[i] = merkle.Root(hashes[n.Index<<n.Level:][:1<<n.Level])
		}
		return nil
	})
	if err != nil {
		a.t.Fatal(err)
	}
	proof, err := merkle.TLogProof{Index: uint64(long), Path: path.Path, Checkpoint: head}.MarshalText()
	if err != nil {
		a.t.Fatal(err)
	}
	f := tiles.Fork{Stele: "fork/v1", Log: "test/control", Index: uint64(long), A: tiles.ForkSide{Entry: all[long], Proof: string(proof)}, B: tiles.ForkSide{Entry: string(leaves[long]), Proof: string(proof)}}
	file, err := json.Marshal(f)
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := tiles.CheckFork(file, a.trust()); err == nil || !strings.Contains(err.Error(), "reads like the hash") {
		a.t.Errorf("an entry and its hash are taken for two histories: %v", err)
	}
}
