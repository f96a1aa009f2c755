package merkle_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"math/bits"
	"slices"
	"testing"

	"github.com/stelelog/stele/merkle"
)

// byteLeaves returns the leaves that the accumulated vectors are made of.
func byteLeaves(n int) []merkle.Hash {
	leaves := make([]merkle.Hash, n)
	for i := range leaves {
		leaves[i] = merkle.LeafHash([]byte{byte(i)})
	}
	return leaves
}

func addLine(h hash.Hash, prefix string, path []merkle.Hash) {
	io.WriteString(h, prefix)
	for _, p := range path {
		fmt.Fprintf(h, " %x", p[:])
	}
	io.WriteString(h, "\n")
}

// prover makes the paths of proofs; this package and tlog each are one.
type prover struct {
	inclusion   func(index, size uint64) []merkle.Hash
	consistency func(oldSize, newSize uint64) []merkle.Hash
}

func ours(t testing.TB, read merkle.NodeReader) prover {
	return prover{
		inclusion: func(index, size uint64) []merkle.Hash {
			p, err := merkle.ProveInclusion(index, size, read)
			if err != nil {
				t.Fatal(err)
			}
			return p.Path
		},
		consistency: func(oldSize, newSize uint64) []merkle.Hash {
			p, err := merkle.ProveConsistency(oldSize, newSize, read)
			if err != nil {
				t.Fatal(err)
			}
			return p.Path
		},
	}
}

func accumulate(p prover, leaves uint64) string {
	h := sha256.New()
	for n := range leaves + 1 {
		for m := range n {
			addLine(h, fmt.Sprintf("inclusion %d %d", m, n), p.inclusion(m, n))
		}
		for m := range n + 1 {
			addLine(h, fmt.Sprintf("consistency %d %d", m, n), p.consistency(m, n))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// TestAccumulatedProofs checks every proof of every tree of up to 130 leaves.
func TestAccumulatedProofs(t *testing.T) {
	var want struct {
		Leaves uint64
		Proofs string
	}
	readVectors(t, "accumulated.json", &want)
	leaves := byteLeaves(int(want.Leaves))
	if got := accumulate(ours(t, newTree(leaves...).read), want.Leaves); got != want.Proofs {
		t.Errorf("accumulated hash of our proofs = %s, want %s", got, want.Proofs)
	}
	if got := accumulate(tlogProver(t, leaves), want.Leaves); got != want.Proofs {
		t.Errorf("accumulated hash of the proofs of tlog = %s, want %s", got, want.Proofs)
	}
}

// TestPublishedVectors reproduces two values of the appendix "Subtree Test
// Vectors" of draft-ietf-plants-merkle-tree-certs. A subtree there is a range
// of leaves that starts at a multiple of its width rounded up to a power of
// two; it hashes and proves like a tree of its own.
func TestPublishedVectors(t *testing.T) {
	const n = 130
	leaves := byteLeaves(n)
	roots, proofs := sha256.New(), sha256.New()
	for end := range n + 1 {
		for start := range end + 1 {
			width := end - start
			if width > 1 && start&(1<<bits.Len(uint(width-1))-1) != 0 {
				continue
			}
			root := merkle.Root(leaves[start:end])
			fmt.Fprintf(roots, "[%d, %d) %x\n", start, end, root[:])
			p := ours(t, newTree(leaves[start:end]...).read)
			for index := range width {
				addLine(proofs, fmt.Sprintf("%d [%d, %d)", start+index, start, end), p.inclusion(uint64(index), uint64(width)))
			}
		}
	}
	if got, want := hex.EncodeToString(roots.Sum(nil)), "b82806ad4265bb151c1119c0f4db437bb4d1a1f887b3a7fba1cd4ebf552e3e81"; got != want {
		t.Errorf("subtree hashes = %s, want %s", got, want)
	}
	if got, want := hex.EncodeToString(proofs.Sum(nil)), "ac2a8f989e44d99e399db448050ff5f19757df53cfb716aa81015d3955d8163f"; got != want {
		t.Errorf("subtree inclusion proofs = %s, want %s", got, want)
	}
}

func TestInclusionVectors(t *testing.T) {
	var vectors []struct {
		Name        string
		Index, Size uint64
		Path        []merkle.Hash
		Leaf, Root  merkle.Hash
		Want        string
	}
	readVectors(t, "inclusion.json", &vectors)
	for _, v := range vectors {
		err := merkle.InclusionProof{Index: v.Index, Size: v.Size, Path: v.Path}.Verify(v.Leaf, v.Root)
		if got := verdict(err); got != v.Want {
			t.Errorf("%s: %s (%v), want %s", v.Name, got, err, v.Want)
		}
	}
}

func TestConsistencyVectors(t *testing.T) {
	var vectors []struct {
		Name    string
		OldSize uint64 `json:"old_size"`
		NewSize uint64 `json:"new_size"`
		Path    []merkle.Hash
		OldRoot merkle.Hash `json:"old_root"`
		NewRoot merkle.Hash `json:"new_root"`
		Want    string
	}
	readVectors(t, "consistency.json", &vectors)
	for _, v := range vectors {
		err := merkle.ConsistencyProof{OldSize: v.OldSize, NewSize: v.NewSize, Path: v.Path}.Verify(v.OldRoot, v.NewRoot)
		if got := verdict(err); got != v.Want {
			t.Errorf("%s: %s (%v), want %s", v.Name, got, err, v.Want)
		}
	}
}

func verdict(err error) string {
	var mismatch *merkle.MismatchError
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, merkle.ErrInvalid):
		return "invalid"
	case !errors.As(err, &mismatch):
		return "unexpected error"
	case mismatch.Got == mismatch.Want:
		return "mismatch of equal roots"
	case mismatch.What == "consistency: old root":
		return "mismatch old"
	case mismatch.What == "consistency: new root":
		return "mismatch new"
	}
	return "mismatch"
}

func TestMismatchSaysWhere(t *testing.T) {
	leaves := leafHashes(9)
	p, err := merkle.ProveInclusion(3, 9, newTree(leaves...).read)
	if err != nil {
		t.Fatal(err)
	}
	var got *merkle.MismatchError
	err = p.Verify(leaves[3], leaves[0])
	if !errors.As(err, &got) {
		t.Fatalf("Verify = %v, want a MismatchError", err)
	}
	want := merkle.MismatchError{What: "inclusion of leaf 3", Size: 9, Got: naiveRoot(leaves), Want: leaves[0]}
	if *got != want {
		t.Errorf("got %+v, want %+v", *got, want)
	}
}

// TestProofsOfHugeTrees builds and verifies at sizes that no store holds.
func TestProofsOfHugeTrees(t *testing.T) {
	u := newUniform()
	sizes := []uint64{1<<30 - 1, 1 << 30, 1<<30 + 1, 1<<62 - 1, 1 << 62, 1<<62 + 12345, math.MaxInt64 - 1, math.MaxInt64}
	for i, size := range sizes {
		f := u.frontier(size)
		root := f.Root()
		for _, index := range []uint64{0, 1, size / 3, size / 2, size - 2, size - 1} {
			p, err := merkle.ProveInclusion(index, size, u.read)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Verify(u[0], root); err != nil {
				t.Errorf("leaf %d of %d: %v", index, size, err)
			}
		}
		for _, oldSize := range slices.Concat([]uint64{0, 1, 2, 3, size / 3, size - 1}, sizes[:i+1]) {
			old := u.frontier(oldSize)
			p, err := merkle.ProveConsistency(oldSize, size, u.read)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Verify(old.Root(), root); err != nil {
				t.Errorf("from %d to %d: %v", oldSize, size, err)
			}
		}
	}
}

func TestProofsReadOnce(t *testing.T) {
	u := newTree(leafHashes(77)...)
	for size := range uint64(78) {
		for m := range size {
			nodes, err := merkle.InclusionNodes(m, size)
			if err != nil {
				t.Fatal(err)
			}
			checkReads(t, u, nodes, func(r merkle.NodeReader) error { _, err := merkle.ProveInclusion(m, size, r); return err })
			nodes, err = merkle.ConsistencyNodes(m, size)
			if err != nil {
				t.Fatal(err)
			}
			checkReads(t, u, nodes, func(r merkle.NodeReader) error { _, err := merkle.ProveConsistency(m, size, r); return err })
		}
	}
}

// checkReads checks that prove reads exactly nodes, distinct ones, in one call.
func checkReads(t *testing.T, u *tree, nodes []merkle.Node, prove func(merkle.NodeReader) error) {
	t.Helper()
	var got []merkle.Node
	u.reads = 0
	err := prove(func(nodes []merkle.Node, hashes []merkle.Hash) error {
		got = slices.Clone(nodes)
		return u.read(nodes, hashes)
	})
	if err != nil {
		t.Fatal(err)
	}
	if u.reads != min(1, len(nodes)) || !slices.Equal(got, nodes) {
		t.Errorf("read %v in %d calls, want %v in one", got, u.reads, nodes)
	}
	seen := make(map[merkle.Node]bool)
	for _, n := range got {
		if seen[n] {
			t.Errorf("read %v twice", n)
		}
		seen[n] = true
	}
}

func TestReaderErrorIsReturned(t *testing.T) {
	want := errors.New("the disk is gone")
	read := func([]merkle.Node, []merkle.Hash) error { return want }
	if _, err := merkle.ProveInclusion(0, 2, read); !errors.Is(err, want) {
		t.Errorf("ProveInclusion = %v, want the error of the reader", err)
	}
	if _, err := merkle.ProveConsistency(1, 2, read); !errors.Is(err, want) {
		t.Errorf("ProveConsistency = %v, want the error of the reader", err)
	}
}

func TestProveRefuses(t *testing.T) {
	u := newUniform()
	for _, tt := range [][2]uint64{{0, 0}, {1, 1}, {5, 4}, {0, 1 << 63}, {1 << 63, 1<<63 + 1}, {math.MaxUint64, math.MaxUint64}} {
		if _, err := merkle.ProveInclusion(tt[0], tt[1], u.read); !errors.Is(err, merkle.ErrInvalid) {
			t.Errorf("ProveInclusion(%d, %d) = %v, want ErrInvalid", tt[0], tt[1], err)
		}
		if _, err := merkle.InclusionNodes(tt[0], tt[1]); !errors.Is(err, merkle.ErrInvalid) {
			t.Errorf("InclusionNodes(%d, %d) = %v, want ErrInvalid", tt[0], tt[1], err)
		}
	}
	for _, tt := range [][2]uint64{{1, 0}, {5, 4}, {0, 1 << 63}, {1 << 63, 1 << 63}, {math.MaxUint64, 1}} {
		if _, err := merkle.ProveConsistency(tt[0], tt[1], u.read); !errors.Is(err, merkle.ErrInvalid) {
			t.Errorf("ProveConsistency(%d, %d) = %v, want ErrInvalid", tt[0], tt[1], err)
		}
		if _, err := merkle.ConsistencyNodes(tt[0], tt[1]); !errors.Is(err, merkle.ErrInvalid) {
			t.Errorf("ConsistencyNodes(%d, %d) = %v, want ErrInvalid", tt[0], tt[1], err)
		}
	}
}

func TestVerifyDoesNotAllocate(t *testing.T) {
	u := newUniform()
	f, g := u.frontier(1<<30-1), u.frontier(1<<29+5)
	root, oldRoot := f.Root(), g.Root()
	inclusion, err := merkle.ProveInclusion(123456789, f.Size(), u.read)
	if err != nil {
		t.Fatal(err)
	}
	consistency, err := merkle.ProveConsistency(g.Size(), f.Size(), u.read)
	if err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(100, func() {
		if inclusion.Verify(u[0], root) != nil || consistency.Verify(oldRoot, root) != nil {
			t.Error("a good proof does not verify")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
