package erase

import (
	"context"
	"crypto/hpke"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/ledger"
)

// Desk is an archive's control log as one person sees it and writes to it. Its methods are safe for concurrent use.
// Methods that write return when the entry is durable in the inbox; with the identity of the policy root they take the
// inbox into the log as well, else a compactor does, within seconds.
type Desk struct {
	trust   identity.Trust
	store   worm.Store
	log     *ledger.Log
	me      note.Signer // nil: who only looks
	sealer  note.Signer // the control key, if this is the policy root
	seed    []byte      // of it
	pepper  []byte
	reading hpke.PrivateKey // of a reader
	now     func() time.Time
}

// Open opens the control log of the archive of a trust file. who is the content of the role file of an approver, a
// holder, a reader or the policy root; nil only looks.
func Open(ctx context.Context, store worm.Store, trust, who []byte) (*Desk, error) {
	d := &Desk{store: store, now: time.Now}
	if err := d.trust.UnmarshalText(trust); err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	if who != nil {
		if err := d.identify(who); err != nil {
			return nil, err
		}
	}
	var err error
	if d.log, err = ledger.Open(ctx, store, d.trust); err != nil {
		return nil, err
	}
	if err := d.log.Founded(ctx); err != nil {
		return nil, fmt.Errorf("the store holds no archive %s: %w", d.trust.Name, err)
	}
	return d, nil
}

func (d *Desk) identify(who []byte) (err error) {
	var archive identity.ID
	switch format := identity.Format(who); format {
	case identity.ApproverFormat, identity.HolderFormat:
		var p identity.Person
		if err := identity.Parse(who, format, &p); err != nil {
			return fmt.Errorf("role file: %w", err)
		}
		role := map[string]string{identity.ApproverFormat: control.RoleApprover, identity.HolderFormat: control.RoleHolder}[format]
		archive, d.pepper = p.Archive, p.Pepper
		d.me, err = identity.Signer(identity.KeyName(d.trust.Name, role, p.By), p.Key)
	case identity.ReaderFormat:
		var r *identity.Reader
		if r, d.me, err = d.trust.Reader(who); err != nil {
			return err
		}
		if d.reading, err = keyscope.KEM().NewPrivateKey(r.Key); err != nil {
			return fmt.Errorf("reader identity: %w", err)
		}
		archive, d.pepper = r.Archive, r.Pepper
	case identity.RootFormat:
		var r identity.Root
		if err := identity.Parse(who, format, &r); err != nil {
			return fmt.Errorf("policy root: %w", err)
		}
		if d.sealer, err = identity.Signer(d.trust.Origin(), r.Control); err != nil {
			return err
		}
		archive, d.pepper, d.seed = r.Archive, r.Pepper, r.Control
		d.me, err = identity.Signer(identity.RootName(d.trust.Name), r.Key)
	default:
		return fmt.Errorf("this is %q, no identity of an approver, a holder, a reader or the policy root", format)
	}
	if err == nil && archive != identity.ID(d.trust.Archive) {
		err = &identity.ForeignError{Why: "role file and trust file are of different archives"}
	}
	return err
}

// say signs an entry, checks that it can have an effect, and leaves it in the inbox.
func (d *Desk) say(ctx context.Context, kind string, body any) (entry string, err error) {
	if d.me == nil {
		return "", errors.New("this needs the identity of somebody who may sign it")
	}
	if entry, err = control.Sign(d.trust.Archive, kind, d.now(), body, d.me); err != nil {
		return "", err
	}
	return entry, d.submit(ctx, entry)
}

// submit leaves an entry in the inbox if it can have an effect, or may once what it names is in the log.
func (d *Desk) submit(ctx context.Context, entry string) error {
	if err := d.log.Refresh(ctx); err != nil {
		return err
	}
	if err := d.check(ctx, entry); err != nil {
		return err
	}
	if err := d.log.Drop(ctx, entry); err != nil {
		return fmt.Errorf("inbox of the control log: %w", err)
	}
	return d.sequence(ctx)
}

// check reports why an entry would be refused. One that is refused only because what it names is still in the inbox is not.
func (d *Desk) check(ctx context.Context, entry string) (err error) {
	d.log.View(func(s *control.State) { _, err = s.Check(entry, d.now()) })
	var r *control.Refused
	if !errors.As(err, &r) {
		return err
	}
	if r.Early() && d.sealer == nil {
		return nil
	}
	return &RefusedError{Why: r.Why, Err: r.Err}
}

// RefusedError says why what somebody wants to say would have no effect. Why is a word of docs/formats/control.md.
type RefusedError struct {
	Why string
	Err error
}

// Error implements error.
func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RefusedError) Unwrap() error { return e.Err }

// sequence takes the inbox into the log, if this is the policy root, which holds the control key.
func (d *Desk) sequence(ctx context.Context) error {
	if d.sealer == nil {
		return nil
	}
	return d.log.TakeIn(ctx, d.sealer, func(r control.Refusal) (string, error) {
		return control.Sign(d.trust.Archive, control.TypeRefusal, d.now(), r, d.me)
	})
}

// find returns the id of the request, or hold, whose id begins with the given digits.
func (d *Desk) find(ctx context.Context, what, digits string, ids func(*control.State) []commit.Hex32) (id commit.Hex32, err error) {
	if err := d.log.Refresh(ctx); err != nil {
		return id, err
	}
	if len(digits) < minDigits {
		return id, fmt.Errorf("%q is too short for the id of a %s: give at least %d digits", digits, what, minDigits)
	}
	n := 0
	d.log.View(func(s *control.State) {
		for _, have := range ids(s) {
			if text := have.String(); len(digits) <= len(text) && text[:len(digits)] == digits {
				id, n = have, n+1
			}
		}
	})
	switch n {
	case 1:
		return id, nil
	case 0:
		return id, &UnknownError{What: what, ID: digits}
	}
	return id, fmt.Errorf("%d %ss have an id that begins with %s: give more of it", n, what, digits)
}

// minDigits is how much of an id has to be given.
const minDigits = 8

// UnknownError says that the control log has no such request or hold. It may still be in the inbox.
type UnknownError struct{ What, ID string }

// Error implements error.
func (e *UnknownError) Error() string {
	return fmt.Sprintf("the control log has no %s %s, or no compactor has taken it in yet", e.What, e.ID)
}

func requestIDs(s *control.State) (ids []commit.Hex32) {
	for _, r := range s.Requests {
		ids = append(ids, r.ID)
	}
	return ids
}

func holdIDs(s *control.State) (ids []commit.Hex32) {
	for _, h := range s.Holds {
		ids = append(ids, h.Entry)
	}
	return ids
}
