package identity

import (
	"crypto/ed25519"
	"errors"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/merkle"
)

// Signer makes the signer of notes under a name from the seed of an Ed25519 key.
func Signer(name string, seed []byte) (note.Signer, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, errors.New("a key seed has a wrong length")
	}
	return merkle.NewSigner(name, ed25519.NewKeyFromSeed(seed))
}
