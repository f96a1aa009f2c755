package merkle_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/stelelog/stele/merkle"
)

func verifiers(t testing.TB, vkeys ...string) note.Verifiers {
	t.Helper()
	var list []note.Verifier
	for _, vkey := range vkeys {
		v, err := note.NewVerifier(vkey)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	return note.VerifierList(list...)
}

// noteVerdict names the reason why a checkpoint or a proof file was refused.
func noteVerdict(err error) string {
	var unverified *note.UnverifiedNoteError
	var bad *note.InvalidSignatureError
	switch {
	case errors.Is(err, merkle.ErrOrigin):
		return "origin"
	case errors.As(err, &unverified):
		return "unverified"
	case errors.As(err, &bad):
		return "bad signature"
	case err != nil && strings.Contains(err.Error(), "malformed note"):
		return "not a note"
	}
	return verdict(err)
}

type checkpointVectors struct {
	Origin     string
	LogKey     string `json:"log_key"`
	WitnessKey string `json:"witness_key"`
	Cases      []struct{ Name, Message, Want string }
}

func TestCheckpointVectors(t *testing.T) {
	var v checkpointVectors
	readVectors(t, "checkpoint.json", &v)
	keys := verifiers(t, v.LogKey)
	for _, tt := range v.Cases {
		c, err := merkle.OpenCheckpoint([]byte(tt.Message), v.Origin, keys)
		if got := noteVerdict(err); got != tt.Want {
			t.Errorf("%s: %s (%v), want %s", tt.Name, got, err, tt.Want)
		}
		if err != nil && c != (merkle.Checkpoint{}) {
			t.Errorf("%s: refused, but returned %v", tt.Name, c)
		}
		if err != nil {
			continue
		}
		text, err := c.MarshalText()
		if err != nil || !strings.HasPrefix(tt.Message, string(text)+"\n") {
			t.Errorf("%s: writes %q, %v", tt.Name, text, err)
		}
	}
}

func TestCosignatureStaysOpenable(t *testing.T) {
	// A witness is checked on the same bytes, against its own key.
	var v checkpointVectors
	readVectors(t, "checkpoint.json", &v)
	for _, tt := range v.Cases {
		if tt.Name == "with a cosignature" {
			if _, err := note.Open([]byte(tt.Message), verifiers(t, v.WitnessKey)); err != nil {
				t.Error(err)
			}
			return
		}
	}
	t.Error("no such vector")
}

func TestCheckpointTooLarge(t *testing.T) {
	msg := bytes.Repeat([]byte("x\n"), 1<<20)
	if _, err := merkle.OpenCheckpoint(msg, "x", nil); !errors.Is(err, merkle.ErrInvalid) {
		t.Errorf("OpenCheckpoint of %d bytes = %v, want ErrInvalid", len(msg), err)
	}
}

func TestCheckpointRefusesToBeWritten(t *testing.T) {
	signer, _ := newSigner(t, "log.example", 1)
	for name, c := range map[string]merkle.Checkpoint{
		"no origin":           {},
		"newline in origin":   {Origin: "log\nexample"},
		"tab in origin":       {Origin: "log\texample"},
		"origin not UTF-8":    {Origin: "log\xff"},
		"size over the limit": {Origin: "log.example", Size: math.MaxInt64 + 1},
	} {
		if _, err := c.MarshalText(); !errors.Is(err, merkle.ErrInvalid) {
			t.Errorf("%s: MarshalText = %v, want ErrInvalid", name, err)
		}
		if _, err := c.Sign(signer); !errors.Is(err, merkle.ErrInvalid) {
			t.Errorf("%s: Sign = %v, want ErrInvalid", name, err)
		}
	}
	if _, err := (merkle.Checkpoint{Origin: "log.example"}).Sign(); !errors.Is(err, merkle.ErrInvalid) {
		t.Errorf("Sign without signers = %v, want ErrInvalid", err)
	}
}

func TestSignOpen(t *testing.T) {
	log, logKey := newSigner(t, "log.example/a", 1)
	backup, backupKey := newSigner(t, "log.example/b", 2)
	want := merkle.Checkpoint{Origin: "log.example/a", Size: 5, Root: merkle.Root(leafHashes(5))}
	msg, err := want.Sign(log, backup)
	if err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string]note.Verifiers{
		"first key":  note.VerifierList(logKey),
		"second key": note.VerifierList(backupKey),
		"both":       note.VerifierList(logKey, backupKey),
	} {
		if got, err := merkle.OpenCheckpoint(msg, want.Origin, keys); err != nil || got != want {
			t.Errorf("%s: OpenCheckpoint = %v, %v, want %v", name, got, err, want)
		}
	}
	if _, err := merkle.OpenCheckpoint(msg, want.Origin, nil); noteVerdict(err) != "unverified" {
		t.Errorf("no keys: %v, want an UnverifiedNoteError", err)
	}
	other := errors.New("the keys cannot be read")
	if _, err := merkle.OpenCheckpoint(msg, want.Origin, brokenKeys{other}); !errors.Is(err, other) {
		t.Errorf("broken keys: %v, want their error", err)
	}
}

type brokenKeys struct{ err error }

func (k brokenKeys) Verifier(string, uint32) (note.Verifier, error) { return nil, k.err }

func TestCheckpointBodyIsTheUsualOne(t *testing.T) {
	// The public checksum database fixes the first line; the other two must agree.
	want := tlog.Tree{N: 12345, Hash: tlog.Hash(merkle.EmptyRoot())}
	text, err := merkle.Checkpoint{Origin: "go.sum database tree", Size: 12345, Root: merkle.EmptyRoot()}.MarshalText()
	if err != nil || string(text) != string(tlog.FormatTree(want)) {
		t.Errorf("MarshalText = %q, %v, want %q", text, err, tlog.FormatTree(want))
	}
}
