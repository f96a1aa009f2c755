package merkle_test

import (
	"math"
	"slices"
	"testing"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/stelelog/stele/merkle"
)

// This file builds proofs with this package and verifies them with two others,
// and the other way round.

// tlogStore keeps the hashes of a tree in the order of tlog.
type tlogStore []tlog.Hash

func newTlogStore(t testing.TB, leaves []merkle.Hash) tlogStore {
	var s tlogStore
	for i, leaf := range leaves {
		hashes, err := tlog.StoredHashesForRecordHash(int64(i), tlog.Hash(leaf), s)
		if err != nil {
			t.Fatal(err)
		}
		s = append(s, hashes...)
	}
	return s
}

func (s tlogStore) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, n := range indexes {
		hashes[i] = s[n]
	}
	return hashes, nil
}

// tlogProver makes proofs with tlog. It has no proofs from the empty tree.
func tlogProver(t testing.TB, leaves []merkle.Hash) prover {
	store := newTlogStore(t, leaves)
	return prover{
		inclusion: func(index, size uint64) []merkle.Hash {
			p, err := tlog.ProveRecord(int64(size), int64(index), store)
			if err != nil {
				t.Fatal(err)
			}
			return convert[merkle.Hash](p)
		},
		consistency: func(oldSize, newSize uint64) []merkle.Hash {
			if oldSize == 0 {
				return nil
			}
			p, err := tlog.ProveTree(int64(newSize), int64(oldSize), store)
			if err != nil {
				t.Fatal(err)
			}
			return convert[merkle.Hash](p)
		},
	}
}

func convert[To, From ~[32]byte](hashes []From) []To {
	out := make([]To, len(hashes))
	for i, h := range hashes {
		out[i] = To(h)
	}
	return out
}

func slicesOf(hashes []merkle.Hash) [][]byte {
	out := make([][]byte, len(hashes))
	for i := range hashes {
		out[i] = hashes[i][:]
	}
	return out
}

// rehasher makes the paths of proofs with transparency-dev/merkle.
func rehasher(t testing.TB, read merkle.NodeReader) prover {
	path := func(nodes proof.Nodes, err error) []merkle.Hash {
		if err != nil {
			t.Fatal(err)
		}
		addresses := make([]merkle.Node, len(nodes.IDs))
		for i, id := range nodes.IDs {
			addresses[i] = merkle.Node{Level: int(id.Level), Index: id.Index}
		}
		hashes := make([]merkle.Hash, len(addresses))
		if err := read(addresses, hashes); err != nil {
			t.Fatal(err)
		}
		folded, err := nodes.Rehash(slicesOf(hashes), rfc6962.DefaultHasher.HashChildren)
		if err != nil {
			t.Fatal(err)
		}
		out := make([]merkle.Hash, len(folded))
		for i, h := range folded {
			out[i] = merkle.Hash(h)
		}
		return out
	}
	return prover{
		inclusion:   func(index, size uint64) []merkle.Hash { return path(proof.Inclusion(index, size)) },
		consistency: func(oldSize, newSize uint64) []merkle.Hash { return path(proof.Consistency(oldSize, newSize)) },
	}
}

// FuzzProofsOfTrees checks all three implementations against each other on real
// trees: each builds, and each verifies what another built.
func FuzzProofsOfTrees(f *testing.F) {
	f.Add(uint16(0), uint16(1))
	f.Add(uint16(3), uint16(7))
	f.Add(uint16(6), uint16(8))
	f.Add(uint16(129), uint16(130))
	f.Add(uint16(255), uint16(777))
	const most = 1024
	leaves := leafHashes(most)
	all := newTree(leaves...)
	mine, golang, google := ours(f, all.read), tlogProver(f, leaves), rehasher(f, all.read)
	f.Fuzz(func(t *testing.T, m, n uint16) {
		size := uint64(n)%most + 1
		index := uint64(m) % size
		root, oldRoot := merkle.Root(leaves[:size]), merkle.Root(leaves[:index+1])

		path := mine.inclusion(index, size)
		if !slices.Equal(path, golang.inclusion(index, size)) || !slices.Equal(path, google.inclusion(index, size)) {
			t.Fatalf("leaf %d of %d: paths differ", index, size)
		}
		if err := tlog.CheckRecord(convert[tlog.Hash](path), int64(size), tlog.Hash(root), int64(index), tlog.Hash(leaves[index])); err != nil {
			t.Errorf("tlog: leaf %d of %d: %v", index, size, err)
		}
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaves[index][:], slicesOf(path), root[:]); err != nil {
			t.Errorf("transparency-dev: leaf %d of %d: %v", index, size, err)
		}
		if err := (merkle.InclusionProof{Index: index, Size: size, Path: golang.inclusion(index, size)}).Verify(leaves[index], root); err != nil {
			t.Errorf("ours: leaf %d of %d: %v", index, size, err)
		}

		path = mine.consistency(index+1, size)
		if !slices.Equal(path, golang.consistency(index+1, size)) || !slices.Equal(path, google.consistency(index+1, size)) {
			t.Fatalf("from %d to %d: paths differ", index+1, size)
		}
		if err := tlog.CheckTree(convert[tlog.Hash](path), int64(size), tlog.Hash(root), int64(index+1), tlog.Hash(oldRoot)); err != nil {
			t.Errorf("tlog: from %d to %d: %v", index+1, size, err)
		}
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, index+1, size, slicesOf(path), oldRoot[:], root[:]); err != nil {
			t.Errorf("transparency-dev: from %d to %d: %v", index+1, size, err)
		}
		if err := (merkle.ConsistencyProof{OldSize: index + 1, NewSize: size, Path: golang.consistency(index+1, size)}).Verify(oldRoot, root); err != nil {
			t.Errorf("ours: from %d to %d: %v", index+1, size, err)
		}
	})
}

// FuzzPathsOfHugeTrees compares paths where every node has its own hash, at all
// sizes up to the limit.
func FuzzPathsOfHugeTrees(f *testing.F) {
	f.Add(uint64(0), uint64(math.MaxInt64))
	f.Add(uint64(math.MaxInt64-1), uint64(math.MaxInt64))
	f.Add(uint64(1<<62), uint64(1<<62+1))
	f.Add(uint64(123456789), uint64(1<<40+7))
	mine, google := ours(f, readAddress), rehasher(f, readAddress)
	f.Fuzz(func(t *testing.T, index, size uint64) {
		size = size%math.MaxInt64 + 1
		index %= size
		if got, want := mine.inclusion(index, size), google.inclusion(index, size); !slices.Equal(got, want) {
			t.Errorf("leaf %d of %d: path %v, want %v", index, size, got, want)
		}
		if got, want := mine.consistency(index, size), google.consistency(index, size); !slices.Equal(got, want) {
			t.Errorf("from %d to %d: path %v, want %v", index, size, got, want)
		}
		nodes, err := merkle.InclusionNodes(index, size)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			if _, end := compact.NewNodeID(uint(n.Level), n.Index).Coverage(); end > size {
				t.Errorf("leaf %d of %d: node %v is not complete", index, size, n)
			}
		}
	})
}

// FuzzVerifyAnything feeds all three verifiers the same arbitrary proofs: none
// may panic, and they must agree.
func FuzzVerifyAnything(f *testing.F) {
	tree := newTree(leafHashes(13)...)
	p := ours(f, tree.read)
	f.Add(uint64(4), uint64(13), joined(p.inclusion(4, 13)), uint8(0))
	f.Add(uint64(6), uint64(13), joined(p.consistency(6, 13)), uint8(1))
	f.Add(uint64(8), uint64(13), joined(p.consistency(8, 13)), uint8(1))
	f.Add(uint64(0), uint64(0), []byte{}, uint8(0))
	f.Add(uint64(math.MaxUint64), uint64(math.MaxUint64), make([]byte, 64*32), uint8(2))
	f.Fuzz(func(t *testing.T, m, n uint64, data []byte, pick uint8) {
		var path []merkle.Hash
		for ; len(data) >= 32; data = data[32:] {
			path = append(path, merkle.Hash(data))
		}
		leaves := tree.levels[0]
		leaf, root := leaves[m%13], merkle.Root(leaves[:n%14])
		oldRoot := merkle.Root(leaves[:m%14])
		if pick&2 != 0 {
			m, n = m%14, n%14
		}

		mine := merkle.InclusionProof{Index: m, Size: n, Path: path}.Verify(leaf, root)
		if n > math.MaxInt64 {
			if mine == nil {
				t.Errorf("accepts size %d", n)
			}
			return
		}
		google := proof.VerifyInclusion(rfc6962.DefaultHasher, m, n, leaf[:], slicesOf(path), root[:])
		if (mine == nil) != (google == nil) {
			t.Errorf("inclusion: ours %v, transparency-dev %v", mine, google)
		}
		if golang := tlog.CheckRecord(convert[tlog.Hash](path), int64(n), tlog.Hash(root), int64(m), tlog.Hash(leaf)); (mine == nil) != (golang == nil) {
			t.Errorf("inclusion: ours %v, tlog %v", mine, golang)
		}

		mine = merkle.ConsistencyProof{OldSize: m, NewSize: n, Path: path}.Verify(oldRoot, root)
		if m == 0 {
			return // the others disagree among themselves about the empty tree
		}
		google = proof.VerifyConsistency(rfc6962.DefaultHasher, m, n, slicesOf(path), oldRoot[:], root[:])
		if (mine == nil) != (google == nil) {
			t.Errorf("consistency: ours %v, transparency-dev %v", mine, google)
		}
		if golang := tlog.CheckTree(convert[tlog.Hash](path), int64(n), tlog.Hash(root), int64(m), tlog.Hash(oldRoot)); (mine == nil) != (golang == nil) {
			t.Errorf("consistency: ours %v, tlog %v", mine, golang)
		}
	})
}

func joined(hashes []merkle.Hash) []byte {
	return slices.Concat(slicesOf(hashes)...)
}
