package merkle_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/merkle"
)

// newSigner returns a signer with a fixed key and the verifier that goes with it.
func newSigner(t testing.TB, name string, seed byte) (note.Signer, note.Verifier) {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	signer, err := merkle.NewSigner(name, key)
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := note.NewEd25519VerifierKey(name, key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return signer, verifier
}

func TestSignerIsTheOneOfNote(t *testing.T) {
	skey, _, err := note.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{7}, 64)), "log.example")
	if err != nil {
		t.Fatal(err)
	}
	want, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := newSigner(t, "log.example", 7)
	text := &note.Note{Text: "text\n"}
	gotMsg, err := note.Sign(text, got)
	if err != nil {
		t.Fatal(err)
	}
	wantMsg, err := note.Sign(text, want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(gotMsg, wantMsg) {
		t.Errorf("signed note %q, want %q", gotMsg, wantMsg)
	}
}

func TestNewSignerRefuses(t *testing.T) {
	_, good, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		key  crypto.Signer
	}{
		{"", good}, {"a b", good}, {"a+b", good}, {"a+12345678", good}, {"a\nb", good}, {"a\x01b", good}, {"a\xff", good}, {"a\u00a0b", good},
		{"log.example", curve},
		{"log.example", oddKey{good, good.Public().(ed25519.PublicKey)[:31], nil}},
	} {
		if _, err := merkle.NewSigner(tt.name, tt.key); !errors.Is(err, merkle.ErrInvalid) {
			t.Errorf("NewSigner(%q, %T) = %v, want ErrInvalid", tt.name, tt.key, err)
		}
	}
}

// oddKey is a key in a device that returns what it should not.
type oddKey struct {
	ed25519.PrivateKey
	public crypto.PublicKey
	err    error
}

func (k oddKey) Public() crypto.PublicKey { return k.public }

func (k oddKey) Sign(_ io.Reader, msg []byte, opts crypto.SignerOpts) ([]byte, error) {
	if k.err != nil {
		return nil, k.err
	}
	sig, err := k.PrivateKey.Sign(nil, msg, opts)
	if err == nil {
		sig[0] ^= 1
	}
	return sig, err
}

func TestSignerPassesFaultsOn(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	gone := errors.New("the token was pulled")
	for name, k := range map[string]oddKey{
		"error":           {key, key.Public(), gone},
		"wrong signature": {key, key.Public(), nil},
	} {
		s, err := merkle.NewSigner("log.example", k)
		if err != nil {
			t.Fatal(err)
		}
		msg, err := merkle.Checkpoint{Origin: "log.example"}.Sign(s)
		if err == nil || msg != nil {
			t.Errorf("%s: Sign = %q, want an error", name, msg)
		}
		if k.err != nil && !errors.Is(err, k.err) {
			t.Errorf("%s: Sign = %v, want the error of the key", name, err)
		}
	}
}
