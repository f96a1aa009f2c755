package erase

import (
	"context"
	"time"
)

// Sequence takes the inbox into the log, as a compactor would.
func (d *Desk) Sequence(ctx context.Context) error { return d.sequence(ctx) }

// At sets the clock.
func (d *Desk) At(now time.Time) { d.now = func() time.Time { return now } }
