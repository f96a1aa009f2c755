package admin

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/probe"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/ledger"
)

// Admin changes the access policy. It holds the policy root.
type Admin struct {
	root    identity.Root
	control *ledger.Log
	signer  note.Signer
	sealer  note.Signer
}

// Open opens the control log with the identity of the policy root: the contents of trust.stele and root.stele.
func Open(ctx context.Context, store worm.Store, trust, rootIdentity []byte) (*Admin, error) {
	a := new(Admin)
	var t identity.Trust
	if err := t.UnmarshalText(trust); err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	if err := identity.Parse(rootIdentity, identity.RootFormat, &a.root); err != nil {
		return nil, fmt.Errorf("policy root: %w", err)
	}
	if a.root.Archive != identity.ID(t.Archive) {
		return nil, &identity.ForeignError{Why: "policy root and trust file are of different archives"}
	}
	var err error
	if a.signer, err = identity.Signer(identity.RootName(t.Name), a.root.Key); err != nil {
		return nil, err
	}
	if a.sealer, err = identity.Signer(t.Origin(), a.root.Control); err != nil {
		return nil, err
	}
	if a.control, err = ledger.Open(ctx, store, t); err != nil {
		return nil, err
	}
	if err := a.control.Founded(ctx); err != nil {
		return nil, fmt.Errorf("the store holds no archive %s: %w", t.Name, err)
	}
	return a, nil
}

// AddWriter lets a new writer in, under a name that no writer has or had. keep gets its credential before the archive knows
// of it, and MUST make it durable: there is no second one for the name. When AddWriter returns nil, the policy is in the control
// log; after an error that is none of keep it may be.
func (a *Admin) AddWriter(ctx context.Context, name, to string, keep func(credential []byte) error) error {
	if !identity.ValidName(name) {
		return fmt.Errorf("writer name %q: use 1 to 63 of a–z 0–9 . -", name)
	}
	return a.change(ctx, func(p *control.Policy) error {
		if i := slices.IndexFunc(p.Writers, func(w control.Writer) bool { return w.Name == name }); i >= 0 {
			return taken(&p.Writers[i])
		}
		w, err := newWriter(p, p.Intake, a.readKeys(), a.root, name, to)
		if err != nil {
			return err
		}
		credential, err := jsonFile(w)
		if err != nil {
			return err
		}
		return keep(credential)
	})
}

// taken says why a name cannot be that of a new writer: it stands for one key in the archive.
func taken(w *control.Writer) error {
	if w.Revoked == nil {
		return fmt.Errorf("writer %s exists; renew its credential with 'stele key renew writer %s', or use another name", w.Name, w.Name)
	}
	return fmt.Errorf("writer %s was revoked on %s, and its name stands for its key in the archive; use another name", w.Name, w.Revoked.Format(time.DateOnly))
}

// RevokeWriter keeps a writer from opening new streams. What it wrote stays.
func (a *Admin) RevokeWriter(ctx context.Context, name string) error {
	return a.change(ctx, func(p *control.Policy) error {
		found, gone := false, false
		now := time.Now().UTC()
		for i := range p.Writers {
			if p.Writers[i].Name == name && p.Writers[i].Revoked == nil {
				p.Writers[i].Revoked, found = &now, true
			} else if p.Writers[i].Name == name {
				gone = true
			}
		}
		switch {
		case found:
			return nil
		case gone:
			return fmt.Errorf("writer %s was revoked already", name)
		}
		return fmt.Errorf("no writer %s in the access policy; 'stele key list writer' shows all", name)
	})
}

// RenewWriter gives an existing credential the read and intake keys and classes of now. The policy does not change.
func (a *Admin) RenewWriter(ctx context.Context, old []byte) ([]byte, error) {
	w, err := identity.ParseWriter(old)
	if err != nil {
		return nil, err
	}
	if err := a.takeIn(ctx); err != nil {
		return nil, err
	}
	p := a.control.Policy()
	key := w.SigningKey().Public().(ed25519.PublicKey)
	i := slices.IndexFunc(p.Writers, func(have control.Writer) bool { return bytes.Equal(have.Key, key) })
	if i < 0 {
		return nil, errors.New("the access policy knows no writer with the key of this credential; if adding it was broken off, remove the credential and add the writer again")
	}
	if p.Writers[i].Revoked != nil {
		return nil, fmt.Errorf("writer %s was revoked", w.Service)
	}
	fillWriter(w, p, p.Intake, a.readKeys())
	if err := w.Check(); err != nil {
		return nil, err
	}
	return jsonFile(w)
}

// LogProbe puts what a store was seen to enforce into the control log.
func (a *Admin) LogProbe(ctx context.Context, results []probe.Result) error {
	p := probeEntry(worm.LockMode(a.control.Policy().Lock.Mode), results)
	e, err := control.Sign(a.root.Archive, control.TypeProbe, time.Now(), p, a.signer)
	if err != nil {
		return err
	}
	return a.control.Append(ctx, a.sealer, e)
}

// takeIn takes entries of the inbox into the control log, intake keys that a key service has made among them.
func (a *Admin) takeIn(ctx context.Context) error {
	if err := a.control.Refresh(ctx); err != nil {
		return err
	}
	entries, _, err := a.control.Inbox(ctx)
	if err != nil {
		return err
	}
	return a.control.Append(ctx, a.sealer, entries...)
}

func (a *Admin) readKeys() (keys []control.ReadKey) {
	a.control.View(func(s *control.State) { keys = slices.Clone(s.ReadKeys) })
	return keys
}

// change makes the next version of the policy.
func (a *Admin) change(ctx context.Context, edit func(*control.Policy) error) error {
	if err := a.control.Refresh(ctx); err != nil {
		return err
	}
	next := *a.control.Policy()
	next.Version++
	next.Writers = slices.Clone(next.Writers)
	if err := edit(&next); err != nil {
		return err
	}
	now := time.Now()
	e, err := control.Sign(a.root.Archive, control.TypePolicy, now, next, a.signer)
	if err != nil {
		return err
	}
	roster, err := control.Sign(a.root.Archive, control.TypeRoster, now, control.NewRoster(&next), a.signer)
	if err != nil {
		return err
	}
	if err := a.control.Append(ctx, a.sealer, e, roster); err != nil {
		return err
	}
	return a.control.Effective(e)
}
