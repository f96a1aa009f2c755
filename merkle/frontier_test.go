package merkle_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"pgregory.net/rapid"

	"github.com/stelelog/stele/merkle"
)

func TestRootAgainstDefinition(t *testing.T) {
	leaves := leafHashes(1100)
	kept := slices.Clone(leaves)
	for n := range leaves {
		if got, want := merkle.Root(leaves[:n]), naiveRoot(leaves[:n]); got != want {
			t.Fatalf("Root of %d leaves = %v, want %v", n, got, want)
		}
	}
	if !slices.Equal(leaves, kept) {
		t.Error("Root changed its argument")
	}
}

// TestFrontier grows a tree in random steps by both ways of appending, through
// both of its stored forms, and compares everything with the definition.
func TestFrontier(t *testing.T) {
	all := leafHashes(3000)
	rapid.Check(t, func(t *rapid.T) {
		var f, g merkle.Frontier
		var rows [][]merkle.Hash
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			n := int(f.Size())
			step := rapid.OneOf(rapid.IntRange(0, 9), rapid.IntRange(120, 136), rapid.IntRange(0, 400)).Draw(t, "step")
			next := all[n:min(n+step, len(all))]
			f.Append(next...)
			rows = g.AppendLevels(rows, next...)
			if f != g {
				t.Fatalf("size %d: Append and AppendLevels disagree", n)
			}
			g = restore(t, g)
			if f != g {
				t.Fatalf("size %d: the restored frontier is another one", n)
			}
		}
		n := int(f.Size())
		if got, want := f.Root(), naiveRoot(all[:n]); got != want {
			t.Fatalf("root of %d leaves = %v, want %v", n, got, want)
		}
		checkRows(t, rows, all[:n])
	})
}

// restore passes f through NewFrontier and through its binary form.
func restore(t *rapid.T, f merkle.Frontier) merkle.Frontier {
	fromHashes, err := merkle.NewFrontier(f.Size(), f.Hashes())
	if err != nil {
		t.Fatal(err)
	}
	data, err := fromHashes.AppendBinary([]byte("before"))
	if err != nil {
		t.Fatal(err)
	}
	var g merkle.Frontier
	g.Append(leafHashes(5)...) // must be overwritten
	if err := g.UnmarshalBinary(data[len("before"):]); err != nil {
		t.Fatal(err)
	}
	return g
}

// checkRows checks that rows has every node that is complete, and no other.
func checkRows(t *rapid.T, rows [][]merkle.Hash, leaves []merkle.Hash) {
	for level := range 13 {
		var row []merkle.Hash
		if level < len(rows) {
			row = rows[level]
		}
		if want := len(leaves) >> level; len(row) != want {
			t.Fatalf("level %d of %d leaves has %d nodes, want %d", level, len(leaves), len(row), want)
		}
		for i, got := range row {
			if want := naiveRoot(leaves[i<<level : (i+1)<<level]); got != want {
				t.Fatalf("node %d of level %d of %d leaves = %v, want %v", i, level, len(leaves), got, want)
			}
		}
	}
}

func TestAppendLevelsOfGrownTree(t *testing.T) {
	// Rows that start empty at size 5 hold the nodes from 5>>l on.
	leaves := leafHashes(100)
	var f merkle.Frontier
	f.Append(leaves[:5]...)
	var rows [][]merkle.Hash
	for i := 5; i < len(leaves); i += 7 {
		rows = f.AppendLevels(rows, leaves[i:min(i+7, len(leaves))]...)
	}
	want := newTree(leaves...).levels
	for l := range want {
		want[l] = want[l][5>>l:]
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if len(f.AppendLevels(nil)) != 0 {
		t.Error("appending nothing made rows")
	}
}

func TestCompactRangeIsTheUsualOne(t *testing.T) {
	leaves := leafHashes(300)
	other := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	var f merkle.Frontier
	for i, leaf := range leaves {
		f.Append(leaf)
		if err := other.Append(leaf[:], nil); err != nil {
			t.Fatal(err)
		}
		var want []merkle.Hash
		for _, h := range other.Hashes() {
			want = append(want, merkle.Hash(h))
		}
		if got := f.Hashes(); !slices.Equal(got, want) {
			t.Fatalf("compact range of %d leaves = %v, want %v", i+1, got, want)
		}
	}
}

func TestFrontierRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		size   uint64
		hashes int
	}{
		{"too many", 0, 1},
		{"too few", 7, 2},
		{"too many for a power of two", 8, 2},
		{"size over the limit", 1 << 63, 1},
		{"largest number", math.MaxUint64, 64},
	} {
		if _, err := merkle.NewFrontier(tt.size, make([]merkle.Hash, tt.hashes)); !errors.Is(err, merkle.ErrInvalid) {
			t.Errorf("%s: NewFrontier = %v, want ErrInvalid", tt.name, err)
		}
	}
}

func TestFrontierBinaryRefuses(t *testing.T) {
	var f merkle.Frontier
	f.Append(leafHashes(5)...)
	good, err := f.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	huge := append([]byte("STLT\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80"), make([]byte, 32)...)
	version, name, padding := slices.Clone(good), slices.Clone(good), slices.Clone(good)
	version[4], name[0], padding[7] = 2, 's', 1
	for name, data := range map[string][]byte{
		"nothing":             nil,
		"header cut":          good[:15],
		"hash cut":            good[:len(good)-1],
		"hash missing":        good[:len(good)-32],
		"byte too many":       append(slices.Clone(good), 0),
		"hash too many":       append(slices.Clone(good), make([]byte, 32)...),
		"other version":       version,
		"other name":          name,
		"padding not zero":    padding,
		"size over the limit": huge,
	} {
		g := f
		if err := g.UnmarshalBinary(data); !errors.Is(err, merkle.ErrInvalid) {
			t.Errorf("%s: UnmarshalBinary = %v, want ErrInvalid", name, err)
		}
		if g != f {
			t.Errorf("%s: the failed UnmarshalBinary changed the frontier", name)
		}
	}
}

func TestFrontierIsPlainData(t *testing.T) {
	leaves := leafHashes(20)
	var f merkle.Frontier
	f.Append(leaves[:10]...)
	old := f
	f.Append(leaves[10:]...)
	if old.Size() != 10 || old.Root() != naiveRoot(leaves[:10]) {
		t.Error("appending to a frontier changed its copy")
	}
	old.Append(leaves[10:]...)
	if old != f {
		t.Error("two frontiers of the same tree differ")
	}
}

func TestLargestFrontierGrows(t *testing.T) {
	// Over the limit a frontier still counts; only what leaves it is refused.
	f := newUniform().frontier(math.MaxInt64)
	f.Append(leafHashes(1)...)
	if f.Size() != 1<<63 {
		t.Errorf("size = %d, want 2^63", f.Size())
	}
	if _, err := merkle.NewFrontier(f.Size(), f.Hashes()); !errors.Is(err, merkle.ErrInvalid) {
		t.Errorf("NewFrontier of 2^63 leaves = %v, want ErrInvalid", err)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	leaves := leafHashes(1000)
	var f merkle.Frontier
	var rows [][]merkle.Hash
	var root merkle.Hash
	for name, run := range map[string]func(){
		"Append": func() { f.Append(leaves...) },
		"Root":   func() { root = merkle.Root(leaves) },
		"AppendLevels into rows that have grown": func() {
			var g merkle.Frontier
			for l := range rows {
				rows[l] = rows[l][:0]
			}
			rows = g.AppendLevels(rows, leaves...)
			root = g.Root()
		},
	} {
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
	_ = root
}
