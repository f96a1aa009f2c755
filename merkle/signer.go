package merkle

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// NewSigner returns a signer of notes under the given key name that uses an
// Ed25519 key held anywhere: an [ed25519.PrivateKey], or a [crypto.Signer] in
// front of a token or a service. The name must be UTF-8 without spaces and '+';
// for a log it should be the origin of its checkpoints. The signer checks every
// signature before it hands it out, because a faulty one may give the key away.
// It is safe for concurrent use if key is.
//
// The verifier key that goes with it is
// [note.NewEd25519VerifierKey](name, key.Public().(ed25519.PublicKey)).
func NewSigner(name string, key crypto.Signer) (note.Signer, error) {
	if err := checkLine("key name", name); err != nil {
		return nil, err
	}
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, invalidf("signer %q: key is %T, want ed25519.PublicKey", name, key.Public())
	}
	vkey, err := note.NewEd25519VerifierKey(name, public)
	if err != nil {
		return nil, invalidf("signer %q: %w", name, err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, invalidf("key name %q has a space or '+'", name)
	}
	return &signer{Verifier: verifier, key: key}, nil
}

// signer is a note.Signer; its verifier gives it the name and the key hash.
type signer struct {
	note.Verifier
	key crypto.Signer
}

// Sign implements note.Signer.
func (s *signer) Sign(msg []byte) ([]byte, error) {
	sig, err := s.key.Sign(rand.Reader, msg, crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("merkle: sign as %q: %w", s.Name(), err)
	}
	if !s.Verify(msg, sig) {
		return nil, fmt.Errorf("merkle: sign as %q: the key returned a signature that does not verify", s.Name())
	}
	return sig, nil
}
