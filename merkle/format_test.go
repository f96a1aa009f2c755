package merkle_test

import (
	"crypto/ed25519"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/merkle"
)

// TestFormatPage makes every example of docs/formats/tree.md and looks for it there.
func TestFormatPage(t *testing.T) {
	page, err := os.ReadFile("../docs/formats/tree.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	expect := func(what, example string) {
		t.Helper()
		if !strings.Contains(text, example) {
			t.Errorf("%s is not on the page:\n%s", what, example)
		}
	}

	var leaves []merkle.Hash
	for c := 'a'; c <= 'g'; c++ {
		leaves = append(leaves, merkle.LeafHash([]byte(string(c))))
	}
	all := newTree(leaves...)
	for _, row := range []struct{ address, covers, hash string }{
		{"(0,0)", "a", leaves[0].String()},
		{"(0,2)", "c", leaves[2].String()},
		{"(0,3)", "d", leaves[3].String()},
		{"(0,4)", "e", leaves[4].String()},
		{"(0,5)", "f", leaves[5].String()},
		{"(0,6)", "g", leaves[6].String()},
		{"(1,0)", "a b", all.levels[1][0].String()},
		{"(1,2)", "e f", all.levels[1][2].String()},
		{"(2,0)", "a b c d", all.levels[2][0].String()},
		{"", "e f g", merkle.Root(leaves[4:]).String()},
	} {
		expect("node "+row.address, strings.ReplaceAll("| "+row.address+" | "+row.covers+" | `"+row.hash+"` |\n", "|  |", "| |"))
	}
	expect("node (1,1)", "(1,1) "+all.levels[1][1].String()[:8]+"…")
	expect("empty root", merkle.EmptyRoot().String())
	expect("root", "root of 7 = "+all.edge.Root().String())
	expect("old root", merkle.Root(leaves[:3]).String())

	data, err := all.edge.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	expect("compact range", hex.EncodeToString(data[:8])+" "+hex.EncodeToString(data[8:16])+"\n"+
		hex.EncodeToString(data[16:48])+"\n"+hex.EncodeToString(data[48:80])+"\n"+hex.EncodeToString(data[80:])+"\n")

	mine := ours(t, all.read)
	expect("inclusion proof", "```\n"+lines(mine.inclusion(4, 7))+"```\n")
	expect("consistency proof", "```\n"+lines(mine.consistency(3, 7))+"```\n")

	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	signer, err := merkle.NewSigner("log.example", key)
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := note.NewEd25519VerifierKey("log.example", key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	expect("verifier key", "```\n"+vkey+"\n```\n")
	msg, err := merkle.Checkpoint{Origin: "log.example", Size: 7, Root: all.edge.Root()}.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	expect("checkpoint", "```\n"+string(msg)+"```\n")
	proof, err := merkle.TLogProof{Index: 4, Path: mine.inclusion(4, 7), Checkpoint: msg}.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	expect("proof file", "```\n"+string(proof)+"```\n")
}

func lines(hashes []merkle.Hash) string {
	var b strings.Builder
	for _, h := range hashes {
		b.WriteString(h.String() + "\n")
	}
	return b.String()
}
