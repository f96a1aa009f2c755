package merkle_test

import (
	"crypto/ed25519"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/merkle"
)

// A log appends two batches and keeps the nodes that they complete; a verifier
// holds roots only.
func Example() {
	var edge merkle.Frontier
	var nodes [][]merkle.Hash
	grow := func(records ...string) (size uint64, root merkle.Hash) {
		for _, r := range records {
			nodes = edge.AppendLevels(nodes, merkle.LeafHash([]byte(r)))
		}
		return edge.Size(), edge.Root()
	}
	oldSize, oldRoot := grow("a", "b", "c")
	newSize, newRoot := grow("d", "e", "f", "g")

	read := func(want []merkle.Node, hashes []merkle.Hash) error {
		for i, n := range want {
			hashes[i] = nodes[n.Level][n.Index]
		}
		return nil
	}
	inclusion, err := merkle.ProveInclusion(4, newSize, read)
	if err != nil {
		fmt.Println(err)
	}
	consistency, err := merkle.ProveConsistency(oldSize, newSize, read)
	if err != nil {
		fmt.Println(err)
	}

	fmt.Println("root:", newRoot)
	fmt.Println("e is leaf 4:", inclusion.Verify(merkle.LeafHash([]byte("e")), newRoot) == nil)
	fmt.Println("x is leaf 4:", inclusion.Verify(merkle.LeafHash([]byte("x")), newRoot) == nil)
	fmt.Println("the old tree is a prefix:", consistency.Verify(oldRoot, newRoot) == nil)
	// Output:
	// root: SuGRk59UjZk0dAuI3qLFy4m7iHD8RQXNed7Gu/qu6cs=
	// e is leaf 4: true
	// x is leaf 4: false
	// the old tree is a prefix: true
}

func ExampleInclusionNodes() {
	nodes, err := merkle.InclusionNodes(3, 7)
	fmt.Println(nodes, err)
	// Output: [{0 2} {1 0} {1 2} {0 6}] <nil>
}

func ExampleTLogProof() {
	// The log: sign its head, and write a proof file for its second record.
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) // a real log has a secret one
	signer, err := merkle.NewSigner("log.example", key)
	if err != nil {
		fmt.Println(err)
	}
	leaves := []merkle.Hash{merkle.LeafHash([]byte("first")), merkle.LeafHash([]byte("second"))}
	head, err := merkle.Checkpoint{Origin: "log.example", Size: 2, Root: merkle.Root(leaves)}.Sign(signer)
	if err != nil {
		fmt.Println(err)
	}
	file, err := merkle.TLogProof{Index: 1, Path: leaves[:1], Checkpoint: head}.MarshalText()
	if err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%s", file)

	// The verifier: has the record, the name of the log and its public key.
	vkey, err := note.NewEd25519VerifierKey("log.example", key.Public().(ed25519.PublicKey))
	if err != nil {
		fmt.Println(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		fmt.Println(err)
	}
	var proof merkle.TLogProof
	if err := proof.UnmarshalText(file); err != nil {
		fmt.Println(err)
	}
	checkpoint, err := proof.Verify(merkle.LeafHash([]byte("second")), "log.example", note.VerifierList(verifier))
	fmt.Println(checkpoint.Size, err)
	// Output:
	// c2sp.org/tlog-proof@v1
	// index 1
	// oa8DAjHKL9IOzzDFKUuvj2kyHQm7FqxTiFzNF6OFKA0=
	//
	// log.example
	// 2
	// OuW/pX/6dp2WNKhvOiYoaqaf1Q6gWF+AYfkCrV8DJ/c=
	//
	// — log.example 2F9odH0O9tv/uECkOWDGg5/JZzPkEv3u/sQ/SHv1YMIi9ZZteBQPdD+7rO3NKvtxtrTU7+gNHQxYEByTeJNMJRcE8wQ=
	// 2 <nil>
}
