package erase

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
)

// NewKey makes the role file of an approver, a holder or a reader of the archive of a trust file, and its public half,
// which somebody who may enters into the access policy with [Desk.AddKey]. like is the content of a role file or
// credential that has the archive's pepper: readers need one, and holders to place a hold on somebody; approvers may do
// without, and then cannot check whose records a request is about. nil: none.
func NewKey(trust []byte, role, name string, like []byte) (private, public []byte, err error) {
	var t identity.Trust
	if err := t.UnmarshalText(trust); err != nil {
		return nil, nil, fmt.Errorf("trust file: %w", err)
	}
	if !identity.ValidName(name) {
		return nil, nil, fmt.Errorf("name %q: use 1 to 63 of a–z 0–9 . -", name)
	}
	seed, pepper := make([]byte, ed25519.SeedSize), identity.PepperOf(like)
	rand.Read(seed)
	p := identity.Public{Archive: t.Archive, Role: role, Name: name}
	if pepper == nil && (role == control.RoleHolder || role == control.RoleReader) {
		return nil, nil, fmt.Errorf("a %s needs the archive's pepper, from a role file or credential that has it: without it nobody can be found", role)
	}
	var file any
	switch role {
	case control.RoleApprover:
		file = identity.Person{Stele: identity.ApproverFormat, Archive: t.Archive, Name: t.Name, By: name, Key: seed, Pepper: pepper}
	case control.RoleHolder:
		file = identity.Person{Stele: identity.HolderFormat, Archive: t.Archive, Name: t.Name, By: name, Key: seed, Pepper: pepper}
	case control.RoleReader:
		r := identity.Reader{Stele: identity.ReaderFormat, Archive: t.Archive, Name: t.Name, By: name, Key: make([]byte, keyscope.SeedSize), Sign: seed, Pepper: pepper}
		rand.Read(r.Key)
		key, err := keyscope.KEM().NewPrivateKey(r.Key)
		if err != nil {
			return nil, nil, err
		}
		file, p.HPKE = r, key.PublicKey().Bytes()
	default:
		return nil, nil, fmt.Errorf("keys are made for the roles approver, holder and reader, not for %q", role)
	}
	signer, err := identity.Signer(identity.KeyName(t.Name, role, name), seed)
	if err != nil {
		return nil, nil, err
	}
	p.Key, err = note.NewEd25519VerifierKey(signer.Name(), ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
	if err != nil {
		return nil, nil, err
	}
	if public, err = p.Sign(signer); err != nil {
		return nil, nil, err
	}
	private, err = json.MarshalIndent(file, "", " ")
	return append(private, '\n'), public, err
}
