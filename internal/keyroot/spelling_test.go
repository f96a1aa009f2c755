package keyroot

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/merkle"
)

// TestSpelling: no byte of a record's file can be changed, and none added.
func TestSpelling(t *testing.T) {
	s := newService(t)
	s.fold(t, 3)
	file := s.space[0][0]
	keys, _ := s.verifiers(0)
	if _, err := Parse(file, keys); err != nil {
		t.Fatal(err)
	}
	for i := range file {
		for _, x := range []byte{1, 4, 0x20, 0x80} {
			bad := []byte(string(file))
			bad[i] ^= x
			if _, err := Parse(bad, keys); err == nil {
				t.Fatalf("byte %d changed from %q to %q: parsed", i, file[i], bad[i])
			}
		}
	}
	for _, bad := range []string{string(file) + "\n", string(file) + string(file[len(file)-150:]), strings.Replace(string(file), `"n":0`, `"n": 0`, 1)} {
		if _, err := Parse([]byte(bad), keys); err == nil {
			t.Errorf("parsed: %q…", bad[:40])
		}
	}
	for _, text := range []string{
		strings.Replace(string(file), `"n":0`, `"n": 0`, 1), strings.Replace(string(file), `"n":0`, `"n":0,"n":0`, 1), strings.Replace(string(file), `"n":0`, `"N":0`, 1),
		strings.Replace(string(file), `"generation":1`, `"generation":1,"burnt":[]`, 1),
	} {
		if _, err := Peek([]byte(text)); err == nil {
			t.Errorf("another spelling is read: %q", text[:200])
		}
	}
}

// TestOneSignature: a note that is as authentic, and another file, is no record: it would have another hash.
func TestOneSignature(t *testing.T) {
	s := newService(t)
	s.fold(t, 3)
	file := s.space[0][0]
	keys, _ := s.verifiers(0)
	end := bytes.LastIndexByte(file, '=') - 1 // the last digit before the padding says four bits; two of it are not used
	if end != len(file)-3 {
		t.Fatalf("the signature ends otherwise: %q", file[len(file)-8:])
	}
	spelt := bytes.Clone(file)
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	spelt[end] = digits[strings.IndexByte(digits, file[end])|1]
	other, err := merkle.NewSigner("somebody", ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(file, keys)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(n, other)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{"unused bits": spelt, "a second signature": signed} {
		if _, err := note.Open(bad, keys); err != nil || bytes.Equal(bad, file) {
			t.Fatalf("%s: not an authentic note of its own: %v", name, err)
		}
		if _, err := Parse(bad, keys); err == nil || !strings.Contains(err.Error(), "not written as it must be") {
			t.Errorf("%s: %v", name, err)
		}
	}
	long := bytes.Repeat([]byte{'x'}, MaxLen+1)
	if _, err := Parse(long, keys); err == nil || !strings.Contains(err.Error(), "record of 4194305 bytes") {
		t.Errorf("too long: %v", err)
	}
	for _, bad := range [][]byte{long, append(bytes.Clone(file), make([]byte, MaxLen)...), file[:bytes.Index(file, []byte("\n\n"))]} {
		if _, err := Peek(bad); err == nil || !strings.Contains(err.Error(), "this is no signed note") {
			t.Errorf("looked into: %v", err)
		}
	}
}

func FuzzPeek(f *testing.F) {
	s := newService(f)
	s.fold(f, 3)
	s.fold(f, 3)
	s.erase(f, 1)
	for _, versions := range s.space {
		f.Add(versions[0])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Peek(data)
		if err != nil {
			return
		}
		line, err := commit.MarshalLine(r)
		if text, _, _ := strings.Cut(string(data), "\n\n"); err != nil || string(line) != text+"\n" {
			t.Errorf("%q is written as %q", text, line)
		}
		var top Top
		if _, err := r.Open(&top, packs{}); err == nil {
			t.Error("opens without a key")
		}
	})
}
