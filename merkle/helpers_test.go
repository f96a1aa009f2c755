package merkle_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stelelog/stele/merkle"
)

// leafHashes returns the hashes of n leaves whose data are their numbers.
func leafHashes(n int) []merkle.Hash {
	leaves := make([]merkle.Hash, n)
	for i := range leaves {
		leaves[i] = merkle.LeafHash(binary.BigEndian.AppendUint32(nil, uint32(i)))
	}
	return leaves
}

// naiveRoot is MTH of RFC 6962 section 2.1, word for word.
func naiveRoot(leaves []merkle.Hash) merkle.Hash {
	switch len(leaves) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leaves[0]
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	return merkle.NodeHash(naiveRoot(leaves[:k]), naiveRoot(leaves[k:]))
}

// tree is a tree that keeps all its nodes.
type tree struct {
	edge   merkle.Frontier
	levels [][]merkle.Hash
	reads  int
}

func newTree(leaves ...merkle.Hash) *tree {
	t := new(tree)
	t.levels = t.edge.AppendLevels(nil, leaves...)
	return t
}

// read implements merkle.NodeReader. It panics if a node is not complete.
func (t *tree) read(nodes []merkle.Node, hashes []merkle.Hash) error {
	t.reads++
	for i, n := range nodes {
		hashes[i] = t.levels[n.Level][n.Index]
	}
	return nil
}

// readAddress implements merkle.NodeReader for a tree of any size in which the
// hash of a node tells its address, so that no two are the same.
func readAddress(nodes []merkle.Node, hashes []merkle.Hash) error {
	for i, n := range nodes {
		binary.BigEndian.PutUint64(hashes[i][:], uint64(n.Level))
		binary.BigEndian.PutUint64(hashes[i][8:], n.Index)
	}
	return nil
}

// uniform is a tree of any size up to 2^63-1 whose leaves are all the same, so
// that one hash for each level is enough to know every node.
type uniform [64]merkle.Hash

func newUniform() *uniform {
	var u uniform
	u[0] = merkle.LeafHash([]byte("the same"))
	for l := range len(u) - 1 {
		u[l+1] = merkle.NodeHash(u[l], u[l])
	}
	return &u
}

func (u *uniform) read(nodes []merkle.Node, hashes []merkle.Hash) error {
	for i, n := range nodes {
		hashes[i] = u[n.Level]
	}
	return nil
}

func (u *uniform) frontier(size uint64) merkle.Frontier {
	var hashes []merkle.Hash
	for l := 63; l >= 0; l-- {
		if size>>l&1 == 1 {
			hashes = append(hashes, u[l])
		}
	}
	f, err := merkle.NewFrontier(size, hashes)
	if err != nil {
		panic(err)
	}
	return f
}

func readVectors(t testing.TB, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
