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
	due := false
	c.control.View(func(s *control.State) { _, due = c.listDue(s, age) })
	if !due {
		return nil
	}
	return c.control.AppendNext(ctx, c.sealer, func(s *control.State) (string, error) {
		list, due := c.listDue(s, age)
		if !due {
			return "", nil
		}
		return control.Sign(c.trust.Archive, control.TypeLogs, c.now(), list, c.signer)
	})
}

// listDue is the list of logs as it stands, and whether it is time for it.
func (c *Compactor) listDue(s *control.State, age time.Duration) (list control.Logs, due bool) {
	list = control.NewLogs(s.Size(), s.LogLines(s.Size()))
	due = list.Logs > 0
	if n := len(s.Lists); n > 0 {
		last := s.Lists[n-1]
		passed := c.now().Sub(last.Time) // negative if that clock was ahead
		due = due && last.Root != list.Root && (passed < 0 || passed >= age)
	}
	return list, due
}
