package merkle_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/stelelog/stele/merkle"
)

// A tree that grows by leaves and by whole subtrees is the tree of all the leaves.
func TestAppendNode(t *testing.T) {
	leaves := make([]merkle.Hash, 300)
	for i := range leaves {
		leaves[i] = merkle.LeafHash([]byte{byte(i), byte(i >> 8)})
	}
	rapid.Check(t, func(t *rapid.T) {
		var f merkle.Frontier
		for size := rapid.IntRange(0, len(leaves)).Draw(t, "size"); int(f.Size()) < size; {
			at := int(f.Size())
			level := rapid.IntRange(0, 8).Draw(t, "level")
			if n := 1 << level; at%n == 0 && at+n <= size {
				if err := f.AppendNode(level, merkle.Root(leaves[at:at+n])); err != nil {
					t.Fatal(err)
				}
			} else {
				f.Append(leaves[at])
			}
			if want := merkle.Root(leaves[:f.Size()]); f.Root() != want {
				t.Fatalf("after %d leaves: %v, want %v", f.Size(), f.Root(), want)
			}
		}
		before := f
		for level := range 9 {
			if f.Size()%(1<<level) != 0 && (f.AppendNode(level, merkle.Hash{1}) == nil || f != before) {
				t.Fatalf("a node of level %d fits behind %d leaves", level, f.Size())
			}
		}
	})
	var f merkle.Frontier
	for _, level := range []int{-1, 63, 64} {
		if f.AppendNode(level, merkle.Hash{}) == nil {
			t.Errorf("a node of level %d", level)
		}
	}
	if f.AppendNode(62, merkle.Hash{1}) != nil || f.AppendNode(62, merkle.Hash{2}) == nil {
		t.Error("trees of up to 2^63-1 leaves, and no more")
	}
}
