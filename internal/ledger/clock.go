package ledger

import (
	"context"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/cosign"
)

// Clock is how late it is at least by others than whoever asks: by the witnesses whose quorum the policy of the trust file
// wants, and by nobody else then; else by what the log holds, as it was read. The zero Time: nobody says.
func (c *Log) Clock(ctx context.Context, policy *cosign.Policy) (out control.Clock, err error) {
	if !policy.Wants() {
		c.View(func(s *control.State) {
			out = control.Clock{Time: s.Reckoned().Time.UTC(), Source: control.ClockLog, Size: s.Size()}
		})
		return out, nil
	}
	w, err := c.Witnessed(ctx, policy)
	return control.Clock{Time: w.Time.UTC(), Source: control.ClockWitnesses, Witnesses: w.By, Size: w.Size}, err
}
