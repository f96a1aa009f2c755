package trillian

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/durable"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/merkle"
)

// role is the identity of the operator.
type role struct {
	Stele   string      `json:"stele"`
	Archive identity.ID `json:"archive"`
	Origin  string      `json:"origin"` // of the anchor's log
	Key     []byte      `json:"key"`    // Ed25519 seed
	Tree    int64       `json:"tree"`   // on the server
}

// NewRole makes the identity of an operator for the archive of a trust file, whose tree on the server has the id tree, and writes it
// to RoleFile in dir, which must not have one. origin names the anchor's log. It returns the line that the trust file needs.
func NewRole(trust []byte, dir, origin string, tree int64) (line string, err error) {
	var t identity.Trust
	if err := t.UnmarshalText(trust); err != nil {
		return "", fmt.Errorf("trust file: %w", err)
	}
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed) // never fails, by its documentation
	signer, err := merkle.NewSigner(origin, ed25519.NewKeyFromSeed(seed))
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(role{roleFormat, t.Archive, signer.Name(), seed, tree})
	if err != nil {
		return "", err
	}
	vkey, err := note.NewEd25519VerifierKey(origin, ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.OpenFile(filepath.Join(dir, RoleFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.Write(append(data, '\n'))
	return "anchor " + vkey, errors.Join(err, f.Sync(), f.Close())
}

// UseTree makes an identity use another tree, one that was made anew for [Anchor.Rebuild] say.
func UseTree(dir string, tree int64) error {
	path := filepath.Join(dir, RoleFile)
	id, err := readRole(path)
	if err != nil {
		return err
	}
	id.Tree = tree
	data, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return durable.WriteFile(path, append(data, '\n'), 0o600)
}

func readRole(path string) (id role, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return id, fmt.Errorf("identity of the anchor: %w", err)
	}
	if err := json.Unmarshal(data, &id); err != nil || id.Stele != roleFormat || len(id.Key) != ed25519.SeedSize {
		return id, errors.Join(fmt.Errorf("%s is no identity of an anchor's operator", path), err)
	}
	return id, nil
}
