package keys

import (
	"context"
	"time"

	"github.com/stelelog/stele/internal/control"
)

const (
	// freshEnough is how old the word of others about the time may be before it is read again.
	freshEnough = time.Hour
	// askEvery is how often it is read at most, while it stays older than that.
	askEvery = 10 * time.Minute
	// beatEvery is how old the newest entry of the control log may be before this service makes one: what nothing comes to
	// stands still in time.
	beatEvery = 20 * time.Hour
)

// clock is how late it is by both clocks that an erasure without a request takes: the earlier of that of this machine and
// that of others. What cannot be read now leaves the last word heard: later than that it can only be. Requires mu.
func (s *Service) clock(ctx context.Context) (time.Time, error) {
	own := s.now()
	if own.Sub(s.others).Abs() > freshEnough && (s.heard.IsZero() || own.Sub(s.heard).Abs() >= askEvery) {
		c, err := s.control.Clock(ctx, s.cosigners)
		switch {
		case ctx.Err() != nil:
			return time.Time{}, ctx.Err()
		case err != nil:
			s.log.Warn("how late it is by witnesses cannot be read; what they said last counts", "said", s.others, "err", err)
		default:
			s.others = c.Time
		}
		s.heard = own
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
