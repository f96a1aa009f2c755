package merkle_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/merkle"
)

type proofVectors struct {
	Origin string
	LogKey string `json:"log_key"`
	Leaf   merkle.Hash
	Cases  []struct{ Name, Text, Want string }
}

func TestTLogProofVectors(t *testing.T) {
	var v proofVectors
	readVectors(t, "tlogproof.json", &v)
	keys := verifiers(t, v.LogKey)
	for _, tt := range v.Cases {
		var p merkle.TLogProof
		err := p.UnmarshalText([]byte(tt.Text))
		if err != nil && p.Checkpoint != nil {
			t.Errorf("%s: refused, but changed", tt.Name)
		}
		if err == nil {
			text, errText := p.MarshalText()
			if errText != nil || string(text) != tt.Text {
				t.Errorf("%s: does not write what was read: %v", tt.Name, errText)
			}
			_, err = p.Verify(v.Leaf, v.Origin, keys)
		}
		if got := noteVerdict(err); got != tt.Want {
			t.Errorf("%s: %s (%v), want %s", tt.Name, got, err, tt.Want)
		}
	}
}

// newProof returns a proof file for leaf 4 of 7, and the key of its log.
func newProof(t testing.TB, extra []byte) (merkle.TLogProof, merkle.Checkpoint, note.Verifiers) {
	t.Helper()
	leaves := leafHashes(7)
	signer, key := newSigner(t, "log.example", 3)
	c := merkle.Checkpoint{Origin: "log.example", Size: 7, Root: naiveRoot(leaves)}
	msg, err := c.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	p, err := merkle.ProveInclusion(4, 7, newTree(leaves...).read)
	if err != nil {
		t.Fatal(err)
	}
	return merkle.TLogProof{Index: 4, Path: p.Path, Checkpoint: msg, Extra: extra}, c, note.VerifierList(key)
}

func TestTLogProofRoundTrip(t *testing.T) {
	for _, extra := range [][]byte{nil, {0}, []byte("context\n\n"), bytes.Repeat([]byte{0xff}, 32<<10)} {
		p, want, keys := newProof(t, extra)
		text, err := p.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var q merkle.TLogProof
		if err := q.UnmarshalText(text); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, q); diff != "" {
			t.Errorf("%d bytes of extra (-want +got):\n%s", len(extra), diff)
		}
		clear(text) // nothing may be retained
		if got, err := q.Verify(leafHashes(7)[4], "log.example", keys); err != nil || got != want {
			t.Errorf("Verify = %v, %v, want %v", got, err, want)
		}
	}
}

func TestTLogProofVerifyChecksEverything(t *testing.T) {
	p, _, keys := newProof(t, nil)
	leaves := leafHashes(7)
	_, otherKey := newSigner(t, "log.example", 4)
	longer := p
	longer.Path = append(longer.Path[:len(longer.Path):len(longer.Path)], leaves[0])
	for _, tt := range []struct {
		name   string
		proof  merkle.TLogProof
		leaf   merkle.Hash
		origin string
		keys   note.Verifiers
		want   string
	}{
		{"good", p, leaves[4], "log.example", keys, "ok"},
		{"other leaf", p, leaves[5], "log.example", keys, "mismatch"},
		{"other origin", p, leaves[4], "log.example/b", keys, "origin"},
		{"other key", p, leaves[4], "log.example", note.VerifierList(otherKey), "unverified"},
		{"long path", longer, leaves[4], "log.example", keys, "invalid"},
		{"zero value", merkle.TLogProof{}, leaves[4], "log.example", keys, "not a note"},
	} {
		c, err := tt.proof.Verify(tt.leaf, tt.origin, tt.keys)
		if got := noteVerdict(err); got != tt.want {
			t.Errorf("%s: %s (%v), want %s", tt.name, got, err, tt.want)
		}
		if err != nil && c != (merkle.Checkpoint{}) {
			t.Errorf("%s: failed, but returned %v", tt.name, c)
		}
	}
}

func TestTLogProofRefusesToBeWritten(t *testing.T) {
	for name, change := range map[string]func(*merkle.TLogProof){
		"extra over the limit":          func(p *merkle.TLogProof) { p.Extra = make([]byte, 32<<10+1) },
		"path too short":                func(p *merkle.TLogProof) { p.Path = p.Path[1:] },
		"index outside the tree":        func(p *merkle.TLogProof) { p.Index = 7 },
		"no checkpoint":                 func(p *merkle.TLogProof) { p.Checkpoint = nil },
		"checkpoint without blank line": func(p *merkle.TLogProof) { p.Checkpoint = bytes.ReplaceAll(p.Checkpoint, []byte("\n\n"), []byte("\n")) },
		"checkpoint far too large":      func(p *merkle.TLogProof) { p.Checkpoint = append(p.Checkpoint, make([]byte, 1<<20)...) },
	} {
		p, _, _ := newProof(t, nil)
		change(&p)
		if text, err := p.MarshalText(); !errors.Is(err, merkle.ErrInvalid) {
			t.Errorf("%s: MarshalText = %q, %v, want ErrInvalid", name, text, err)
		}
	}
}
