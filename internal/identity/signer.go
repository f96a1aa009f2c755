package identity

import (
	"crypto/ed25519"
	"errors"
	"fmt"

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

// Compactor opens the role file of a compactor of this archive: author signs what it says, sealer the heads of the control log.
func (t *Trust) Compactor(file []byte) (author, sealer note.Signer, err error) {
	var id Compactor
	if err := t.role(file, CompactorFormat, "compactor identity", &id, &id.Archive); err != nil {
		return nil, nil, err
	}
	if author, err = Signer(KeyName(t.Name, "compactor", id.By), id.Key); err == nil {
		sealer, err = Signer(t.Origin(), id.Control)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("compactor identity: %w", err)
	}
	return author, sealer, nil
}

// KeyService opens the role file of a key service of this archive.
func (t *Trust) KeyService(file []byte) (note.Signer, error) {
	var id KeyService
	if err := t.role(file, KeyServiceFormat, "key service identity", &id, &id.Archive); err != nil {
		return nil, err
	}
	signer, err := Signer(KeyName(t.Name, "keyservice", id.By), id.Key)
	if err != nil {
		return nil, fmt.Errorf("key service identity: %w", err)
	}
	return signer, nil
}

// Reader opens the role file of a reader of this archive, with the signer of its requests.
func (t *Trust) Reader(file []byte) (*Reader, note.Signer, error) {
	var id Reader
	if err := t.role(file, ReaderFormat, "reader identity", &id, &id.Archive); err != nil {
		return nil, nil, err
	}
	signer, err := Signer(KeyName(t.Name, "reader", id.By), id.Sign)
	if err != nil {
		return nil, nil, fmt.Errorf("reader identity: %w", err)
	}
	return &id, signer, nil
}

// role parses a role file, whose archive must be that of the trust file.
func (t *Trust) role(file []byte, format, what string, v any, archive *ID) error {
	if err := Parse(file, format, v); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if *archive != ID(t.Archive) {
		return &ForeignError{what + " and trust file are of different archives"}
	}
	return nil
}
