package erase

import (
	"context"
	"fmt"
	"time"

	"github.com/stelelog/stele/internal/control"
)

// Clock is how late it is by others than the key service. What it erases without a request is over by its own clock and by
// this one; requests wait for neither, but for the end of a minimum retention.
type Clock struct {
	Time time.Time `json:"time,omitzero"` // zero: nobody says
	By   string    `json:"by"`            // "witnesses", or "log" for the control log, where the trust file wants none
	Gap  time.Time `json:"gap,omitzero"`  // of the log: somebody says that it is so late at least, which is believed a week later
}

// Clock says how late it is by others than the key service.
func (d *Desk) Clock(ctx context.Context) (*Clock, error) {
	if err := d.log.Refresh(ctx); err != nil {
		return nil, err
	}
	policy, err := d.trust.Cosigners()
	if err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	c, err := d.log.Clock(ctx, policy)
	if err != nil {
		return nil, err
	}
	out := &Clock{Time: c.Time, By: c.Source}
	if c.Source == control.ClockLog {
		d.log.View(func(s *control.State) { out.Gap = s.Reckoned().From.UTC() })
	}
	return out, nil
}
