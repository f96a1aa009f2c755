package merkle_test

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/merkle"
)

// The targets here check one thing: what a parser accepts is written back byte
// for byte, so that nothing has two forms, and what it refuses is ErrInvalid.

func FuzzParseHash(f *testing.F) {
	f.Add(merkle.EmptyRoot().String())
	f.Add("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := merkle.ParseHash(text)
		if err != nil {
			if !errors.Is(err, merkle.ErrInvalid) {
				t.Errorf("ParseHash(%q) = %v, want ErrInvalid", text, err)
			}
			return
		}
		if h.String() != text {
			t.Errorf("ParseHash(%q).String() = %q", text, h.String())
		}
	})
}

func FuzzFrontierBinary(f *testing.F) {
	for n := range 9 {
		var edge merkle.Frontier
		edge.Append(leafHashes(n)...)
		data, err := edge.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var edge merkle.Frontier
		if err := edge.UnmarshalBinary(data); err != nil {
			if !errors.Is(err, merkle.ErrInvalid) {
				t.Errorf("UnmarshalBinary = %v, want ErrInvalid", err)
			}
			return
		}
		if again, err := edge.AppendBinary(nil); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%x is written back as %x, %v", data, again, err)
		}
		size := edge.Size()
		edge.Append(leafHashes(3)...)
		if edge.Root(); edge.Size() != size+3 {
			t.Errorf("size %d after 3 leaves, want %d", edge.Size(), size+3)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	var v checkpointVectors
	readVectors(f, "checkpoint.json", &v)
	for _, tt := range v.Cases {
		f.Add([]byte(tt.Message))
		if body, _, ok := bytes.Cut([]byte(tt.Message), []byte("\n\n")); ok {
			f.Add(append(body, '\n'))
		}
	}
	keys := verifiers(f, v.LogKey)
	f.Fuzz(func(t *testing.T, msg []byte) {
		var c merkle.Checkpoint
		if err := c.UnmarshalText(msg); err == nil {
			if text, err := c.MarshalText(); err != nil || !bytes.Equal(text, msg) {
				t.Errorf("%q is written back as %q, %v", msg, text, err)
			}
		} else if !errors.Is(err, merkle.ErrInvalid) {
			t.Errorf("UnmarshalText = %v, want ErrInvalid", err)
		}
		c, err := merkle.OpenCheckpoint(msg, v.Origin, keys)
		if err != nil {
			return
		}
		n, err := note.Open(msg, keys)
		if err != nil {
			t.Fatalf("opened what note.Open refuses: %v", err)
		}
		if text, err := c.MarshalText(); err != nil || string(text) != n.Text {
			t.Errorf("%q is written back as %q, %v", n.Text, text, err)
		}
	})
}

func FuzzTLogProof(f *testing.F) {
	var v proofVectors
	readVectors(f, "tlogproof.json", &v)
	for _, tt := range v.Cases {
		if len(tt.Text) < 4096 {
			f.Add([]byte(tt.Text))
		}
	}
	keys := verifiers(f, v.LogKey)
	f.Fuzz(func(t *testing.T, text []byte) {
		var p merkle.TLogProof
		if err := p.UnmarshalText(text); err != nil {
			if !errors.Is(err, merkle.ErrInvalid) {
				t.Errorf("UnmarshalText = %v, want ErrInvalid", err)
			}
			return
		}
		if again, err := p.MarshalText(); err != nil || !bytes.Equal(again, text) {
			t.Errorf("%q is written back as %q, %v", text, again, err)
		}
		if c, err := p.Verify(v.Leaf, v.Origin, keys); err == nil && c.Origin != v.Origin {
			t.Errorf("verifies under origin %q", c.Origin)
		}
	})
}
