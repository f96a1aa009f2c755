package erase

import (
	"context"
	"time"

	"github.com/stelelog/stele/internal/control"
)

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
