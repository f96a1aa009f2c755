package evidence

import (
	"bytes"
	"testing"

	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/formats/proof"
	googleproof "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/stelelog/stele/internal/anchorlog"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/merkle"
)

// What stands in a file are proofs and notes that other libraries read and verify: golang.org/x/mod/sumdb, and those of
// transparency-dev.
func TestPartsAreStandard(t *testing.T) {
	proofs, cosignatures := 0, 0
	for _, name := range fixtures() {
		var trust identity.Trust
		if err := trust.UnmarshalText(load(t, trustOf(name))); err != nil {
			t.Fatal(err)
		}
		_, parts, err := Parse(load(t, name))
		if err != nil {
			t.Fatal(err)
		}
		var leaf, head []byte
		for n, p := range parts {
			var text []byte
			of := leaf
			switch p.Kind {
			case KindRecord:
				r, err := parseRecord(p.Data)
				if err != nil {
					t.Fatal(err)
				}
				leaf = r.leafdata
			case KindEntry:
				leaf = control.LeafData(string(p.Data))
			case KindLog:
				text = p.Data
			case KindControl:
				text = p.Data
				_, head, _ = bytes.Cut(text, []byte("\n\n"))
			case KindAnchored:
				in := cursor{b: p.Data}
				in.path()
				other := in.bytes(in.uv())
				if len(other) == 0 {
					other = head
				}
				of, text = anchorlog.Leaf(string(other)), in.b
			case KindCosigned:
				cosignatures += outsideCosigned(t, &trust, p.Data)
			}
			if text != nil {
				proofs++
				outsideProof(t, name, n, text, of)
			}
		}
	}
	if proofs < 20 || cosignatures < 9 {
		t.Errorf("%d proofs and %d cosignatures were read", proofs, cosignatures)
	}
}

// outsideProof verifies a proof file with two other libraries, and without us.
func outsideProof(t *testing.T, name string, part int, text, leafdata []byte) {
	t.Helper()
	var p proof.TLogProof
	if err := p.Unmarshal(text); err != nil {
		t.Fatalf("%s part %d: %v\n%s", name, part, err, text)
	}
	head, _, _ := bytes.Cut(p.Checkpoint, []byte("\n\n"))
	c, err := tlog.ParseTree([]byte("go.sum database tree\n" + string(head[bytes.IndexByte(head, '\n')+1:]) + "\n"))
	if err != nil {
		t.Fatalf("%s part %d: %v\n%s", name, part, err, head)
	}
	path, theirs := make([][]byte, len(p.Hashes)), make(tlog.RecordProof, len(p.Hashes))
	for i, h := range p.Hashes {
		path[i], theirs[i] = h[:], h
	}
	leaf := merkle.LeafHash(leafdata)
	if err := googleproof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, uint64(c.N), leaf[:], path, c.Hash[:]); err != nil {
		t.Errorf("%s part %d: %v", name, part, err)
	}
	if err := tlog.CheckRecord(theirs, c.N, c.Hash, int64(p.Index), tlog.RecordHash(leafdata)); err != nil {
		t.Errorf("%s part %d: %v", name, part, err)
	}
}

// outsideCosigned counts the cosignatures that another library finds to be those of witnesses of the trust file.
func outsideCosigned(t *testing.T, trust *identity.Trust, data []byte) int {
	t.Helper()
	policy, err := trust.Cosigners()
	if err != nil {
		t.Fatal(err)
	}
	log, err := fnote.NewVerifier(trust.Log)
	if err != nil {
		t.Fatal(err)
	}
	keys := []note.Verifier{log}
	for _, w := range policy.Witnesses {
		v, err := fnote.NewVerifierForCosignatureV1(w.Key.String())
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, v)
	}
	in := cursor{b: data}
	in.path()
	n, err := note.Open(in.b, note.VerifierList(keys...))
	if err != nil || len(n.UnverifiedSigs) > 0 {
		t.Fatalf("%v\n%s", err, in.b)
	}
	return len(n.Sigs) - 1
}
