package merkle_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/formats/proof"
	googleproof "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/merkle"
)

// Checkpoints and proof files are read by the library of transparency-dev, and those that it writes by us: the same bytes.
func TestFormatsOfTransparencyDev(t *testing.T) {
	skey, vkey, err := note.GenerateKey(nil, "log.example")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	leaves := leafHashes(300)
	all := newTree(leaves...)
	for _, size := range []uint64{1, 2, 3, 7, 8, 255, 256, 257, 300} {
		root := merkle.Root(leaves[:size])
		ours, err := merkle.Checkpoint{Origin: "log.example", Size: size, Root: root}.Sign(signer)
		if err != nil {
			t.Fatal(err)
		}
		read, rest, _, err := log.ParseCheckpoint(ours, "log.example", verifier)
		if err != nil || read.Size != size || !bytes.Equal(read.Hash, root[:]) || len(rest) > 0 {
			t.Fatalf("size %d: %+v, %q, %v", size, read, rest, err)
		}
		theirs, err := note.Sign(&note.Note{Text: string(read.Marshal())}, signer)
		if err != nil || !bytes.Equal(theirs, ours) {
			t.Fatalf("size %d: theirs is\n%s(%v)\nours\n%s", size, theirs, err, ours)
		}
		if c, err := merkle.OpenCheckpoint(theirs, "log.example", note.VerifierList(verifier)); err != nil || c.Size != size || c.Root != root {
			t.Errorf("size %d: %+v, %v", size, c, err)
		}
		for _, index := range []uint64{0, size / 2, size - 1} {
			p, err := merkle.ProveInclusion(index, size, all.read)
			if err != nil {
				t.Fatal(err)
			}
			for _, extra := range [][]byte{nil, []byte("extra")} {
				proofFile(t, merkle.TLogProof{Index: index, Path: p.Path, Checkpoint: ours, Extra: extra}, leaves[index], root, size)
			}
		}
	}
}

// proofFile has the other library read ours, verify it, and write it again for us to read.
func proofFile(t *testing.T, ours merkle.TLogProof, leaf, root merkle.Hash, size uint64) {
	t.Helper()
	text, err := ours.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var read proof.TLogProof
	if err := read.Unmarshal(text); err != nil {
		t.Fatalf("leaf %d of %d: %v\n%s", ours.Index, size, err, text)
	}
	path := make([][]byte, len(read.Hashes))
	for i := range path {
		path[i] = read.Hashes[i][:]
	}
	if err := googleproof.VerifyInclusion(rfc6962.DefaultHasher, read.Index, size, leaf[:], path, root[:]); err != nil {
		t.Errorf("leaf %d of %d: %v", ours.Index, size, err)
	}
	again := read.Marshal()
	if !bytes.Equal(again, text) {
		t.Errorf("leaf %d of %d: theirs is\n%s\nours\n%s", ours.Index, size, again, text)
	}
	var back merkle.TLogProof
	if err := back.UnmarshalText(again); err != nil || back.Index != ours.Index || !slices.Equal(back.Path, ours.Path) || !bytes.Equal(back.Extra, ours.Extra) {
		t.Errorf("leaf %d of %d: %+v, %v", ours.Index, size, back, err)
	}
}
