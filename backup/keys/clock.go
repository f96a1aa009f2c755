package keys

import (
	"context"
	"time"

	"github.com/stelelog/stele/internal/control"
)

const (
	// freshEnough is how old the word of others about the time may be before it is read again.
	freshEnough = time.Hour
	// beatEvery is how old the newest entry of the control log may be before this service makes one: what nothing comes to
	// stands still in time.
	beatEvery = 20 * time.Hour
)

// clock is how late it is by both clocks that an erasure without a request takes: the earlier of that of this machine and
// that of others. Requires mu.
func (s *Service) clock(ctx context.Context) (time.Time, error) {
	own := s.now()
	if own.Sub(s.others).Abs() > freshEnough {
		c, err := s.control.Clock(ctx, s.cosigners)
		if err != nil {
			return time.Time{}, err
		}
		s.others = c.Time
	}
	if s.others.Before(own) {
		return s.others, nil
	}
	return own, nil
}

// beat makes an entry of the control log where none has come for long: whoever sequences it, and witnesses, say with it how
// late it is. Requires mu.
func (s *Service) beat(ctx context.Context) error {
	var newest control.Reckoning
	s.control.View(func(c *control.State) { newest = c.Reckoned() })
	now := s.now()
	if now.Sub(newest.Time) < beatEvery || !s.beaten.IsZero() && now.Sub(s.beaten) < beatEvery {
		return nil
	}
	if err := s.drop(ctx, control.TypeKeyRoot, s.rootEntry()); err != nil {
		return err
	}
	s.beaten = now
	return nil
}
