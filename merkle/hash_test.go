package merkle_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/stelelog/stele/merkle"
)

func TestKnownHashes(t *testing.T) {
	// The first two are what certificate transparency logs have always used.
	for _, tt := range []struct {
		name string
		got  merkle.Hash
		want string
	}{
		{"empty root", merkle.EmptyRoot(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"empty leaf", merkle.LeafHash(nil), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},
		{"node", merkle.NodeHash(merkle.LeafHash(nil), merkle.LeafHash([]byte{0})), "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"},
	} {
		if got := hex.EncodeToString(tt.got[:]); got != tt.want {
			t.Errorf("%s = %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestLeafHashLengths(t *testing.T) {
	// Every length around the switch from copying to streaming, and around the block size.
	data := bytes.Repeat([]byte("0123456789abcdef"), 5000)
	lengths := []int{1000, 65535, len(data)}
	for n := range 520 {
		lengths = append(lengths, n)
	}
	for _, n := range lengths {
		want := sha256.Sum256(append([]byte{0}, data[:n]...))
		if got := merkle.LeafHash(data[:n]); got != want {
			t.Errorf("LeafHash of %d bytes = %v, want %v", n, got, merkle.Hash(want))
		}
	}
}

func TestHashesDoNotAllocate(t *testing.T) {
	small, large := make([]byte, 200), make([]byte, 4096)
	var h merkle.Hash
	for name, f := range map[string]func(){
		"LeafHash small": func() { h = merkle.LeafHash(small) },
		"LeafHash large": func() { h = merkle.LeafHash(large) },
		"NodeHash":       func() { h = merkle.NodeHash(h, h) },
		"EmptyRoot":      func() { h = merkle.EmptyRoot() },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

func TestHashText(t *testing.T) {
	want := merkle.LeafHash([]byte("text"))
	if got := want.String(); got != tlog.Hash(want).String() {
		t.Errorf("String() = %q, tlog writes %q", got, tlog.Hash(want).String())
	}
	data, err := json.Marshal(map[string]merkle.Hash{"root": want})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]merkle.Hash
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if got["root"] != want {
		t.Errorf("through JSON: %v, want %v", got["root"], want)
	}
}

func TestParseHashRefuses(t *testing.T) {
	good := merkle.EmptyRoot().String()
	for name, text := range map[string]string{
		"empty":            "",
		"short":            good[:43],
		"long":             good + "=",
		"31 bytes":         base64.StdEncoding.EncodeToString(make([]byte, 31)),
		"33 bytes":         base64.StdEncoding.EncodeToString(make([]byte, 33)),
		"unused bits set":  strings.Repeat("A", 42) + "B=",
		"carriage return":  good[:20] + "\r" + good[21:],
		"newline":          good[:20] + "\n" + good[21:],
		"newlines between": "\n\n\n\n" + base64.StdEncoding.EncodeToString(make([]byte, 30)),
		"URL alphabet":     strings.Repeat("_", 43) + "=",
		"hexadecimal":      hex.EncodeToString(make([]byte, 22)),
	} {
		if h, err := merkle.ParseHash(text); !errors.Is(err, merkle.ErrInvalid) {
			t.Errorf("%s: ParseHash(%q) = %v, %v, want ErrInvalid", name, text, h, err)
		}
	}
}

func TestFailedUnmarshalLeavesHash(t *testing.T) {
	h := merkle.LeafHash(nil)
	want := h
	if err := h.UnmarshalText([]byte(strings.Repeat("A", 43) + "!")); err == nil || h != want {
		t.Errorf("UnmarshalText = %v, hash %v, want an error and %v", err, h, want)
	}
}
