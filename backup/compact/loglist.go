package compact

import (
	"context"
	"time"

	"github.com/stelelog/stele/internal/control"
)

// listEvery is how old the last list of logs is before there is another.
const listEvery = time.Minute

// listLogs puts the list of logs into the control log, if it is another one than the last, which is older than age.
func (c *Compactor) listLogs(ctx context.Context, age time.Duration) error {
	var list control.Logs
	due := false
	c.control.View(func(s *control.State) {
		list = control.NewLogs(s.Size(), s.LogLines(s.Size()))
		due = list.Logs > 0
		if n := len(s.Lists); n > 0 {
			last := s.Lists[n-1]
			passed := c.now().Sub(last.Time) // negative if that clock was ahead
			due = due && last.Root != list.Root && (passed < 0 || passed >= age)
		}
	})
	if !due {
		return nil
	}
	e, err := control.Sign(c.trust.Archive, control.TypeLogs, c.now(), list, c.signer)
	if err != nil {
		return err
	}
	return c.control.Append(ctx, c.sealer, e)
}
