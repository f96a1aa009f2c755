package erase

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyscope"
)

// AddService makes the role file of a further compactor or key service, and enters its key into the access policy: the policy
// root alone while there are fewer than two approvers, else it is a request that two approve. A compactor gets the key of
// the control log, which only the policy root can give. keep gets the file before the archive knows of it, and MUST make it
// durable; after an error that is none of keep the archive may know of it.
func (d *Desk) AddService(ctx context.Context, role, name string, keep func(file []byte) error) (*Filed, error) {
	if d.sealer == nil {
		return nil, errors.New("a compactor or key service is added with the admin folder")
	}
	if !identity.ValidName(name) {
		return nil, fmt.Errorf("name %q: use 1 to 63 of a–z 0–9 . -", name)
	}
	if err := d.log.Refresh(ctx); err != nil {
		return nil, err
	}
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed)
	vkey, err := note.NewEd25519VerifierKey(identity.KeyName(d.trust.Name, role, name), ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	p, named := d.governed(), control.Named{Name: name, Key: vkey}
	var id any
	switch role {
	case control.RoleCompactor:
		p.Compactors = append(slices.Clone(p.Compactors), named)
		id = identity.Compactor{Stele: identity.CompactorFormat, Archive: d.trust.Archive, Name: d.trust.Name, By: name, Key: seed, Control: d.seed}
	case control.RoleKeyService:
		p.KeyServices = append(slices.Clone(p.KeyServices), named)
		id = identity.KeyService{Stele: identity.KeyServiceFormat, Archive: d.trust.Archive, Name: d.trust.Name, By: name, Key: seed}
	default:
		return nil, fmt.Errorf("a %s is not added this way", role)
	}
	if err := p.Check(&d.trust); err != nil {
		return nil, fmt.Errorf("%s %s cannot be added: %w", role, name, err)
	}
	file, err := json.MarshalIndent(id, "", " ")
	if err != nil {
		return nil, err
	}
	if err := keep(append(file, '\n')); err != nil {
		return nil, err
	}
	return d.enact(ctx, p)
}

// Revoke takes a compactor or key service out of the access policy and revokes its key: what it has done before stands, and
// nothing that it does later. The policy root does it alone while there are fewer than two approvers, else it is a request that
// two approve. The last instance of its role cannot be revoked.
func (d *Desk) Revoke(ctx context.Context, role, name string) (*Filed, error) {
	if err := d.log.Refresh(ctx); err != nil {
		return nil, err
	}
	last := map[string]uint64{}
	if role == control.RoleCompactor {
		var err error
		if last, err = datalog.Bound(ctx, d.log, d.store, &d.trust, identity.KeyName(d.trust.Name, role, name)); err != nil {
			return nil, fmt.Errorf("heads that %s logged: %w", name, err)
		}
	} else if n, err := keydepot.Bound(ctx, d.log, d.store, d.trust.Archive, identity.KeyName(d.trust.Name, role, name)); err != nil {
		return nil, err
	} else if n > 0 {
		last[control.RootsLog(d.trust.Name)] = n
	}
	p := d.governed()
	if err := p.Revoke(role, name, last); err != nil {
		return nil, err
	}
	return d.enact(ctx, p)
}

// NewReadKey makes the read key of a year, wrapped to every reader of the policy in force. It takes a reader, who may read
// what is written under it anyway, and an approval like a change of the policy. Writers use it once their credentials are
// renewed.
func (d *Desk) NewReadKey(ctx context.Context, year int) (*Filed, error) {
	if d.reading == nil {
		return nil, errors.New("a read key is made by a reader: use the identity of one")
	}
	if err := d.log.Refresh(ctx); err != nil {
		return nil, err
	}
	if year < 2000 || year > math.MaxUint16 {
		return nil, fmt.Errorf("there is no year %d", year)
	}
	there := false
	d.log.View(func(s *control.State) {
		there = slices.ContainsFunc(s.ReadKeys, func(k control.ReadKey) bool { return int(k.Year) == year })
	})
	if there {
		return nil, fmt.Errorf("the archive has a read key of %d", year)
	}
	key, err := keyscope.KEM().GenerateKey()
	if err != nil {
		return nil, err
	}
	seed, err := key.Bytes()
	if err != nil {
		return nil, err
	}
	k := control.ReadKey{Year: uint16(year), Key: key.PublicKey().Bytes()}
	for _, r := range d.log.Policy().Readers {
		to, err := keyscope.KEM().NewPublicKey(r.Key)
		if err != nil {
			return nil, fmt.Errorf("key of reader %s: %w", r.Name, err)
		}
		wrap, err := control.NewWrap(r.Name, to, d.trust.Archive, k.Year, [keyscope.SeedSize]byte(seed))
		if err != nil {
			return nil, err
		}
		k.Wraps = append(k.Wraps, wrap)
	}
	return d.propose(ctx, d.governed(), []control.ReadKey{k})
}
