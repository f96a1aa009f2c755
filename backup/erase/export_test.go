package erase

import (
	"context"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
)

// Lasting is what keeps a proposal from stopping an archive for good.
func Lasting(now, next *control.Policy) error { return lasting(now, next) }

// Sequence takes the inbox into the log, as a compactor would.
func (d *Desk) Sequence(ctx context.Context) error { return d.sequence(ctx) }

// At sets the clock.
func (d *Desk) At(now time.Time) { d.now = func() time.Time { return now } }

// ProposeAnything proposes a policy as another program could, which does not look whether the archive can go on with it.
func (d *Desk) ProposeAnything(ctx context.Context, change func(*control.Policy)) (*Filed, error) {
	if err := d.log.Refresh(ctx); err != nil {
		return nil, err
	}
	p, base := d.governed(), d.log.Policy().Governed()
	change(p)
	return d.filed(ctx, control.TypeRequest, control.RequestBody{What: control.WhatPolicy, Until: d.inAMonth(), Base: &base, Policy: p}, nil)
}

// Drop leaves anything in the inbox, as whoever can write to the store may.
func (d *Desk) Drop(ctx context.Context, entry string) error { return d.log.Drop(ctx, entry) }

// ForgedApproval is an approval in the name of this person, signed with the key of another.
func (d *Desk) ForgedApproval(request string, other []byte) (string, error) {
	var p identity.Person
	if err := identity.Parse(other, identity.ApproverFormat, &p); err != nil {
		return "", err
	}
	signer, err := identity.Signer(d.me.Name(), p.Key)
	if err != nil {
		return "", err
	}
	var id commit.Hex32
	if err := id.UnmarshalText([]byte(request)); err != nil {
		return "", err
	}
	return control.Sign(d.trust.Archive, control.TypeApprove, d.now(), control.Decision{Request: id}, signer)
}
