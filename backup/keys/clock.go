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

// clocks is what was heard of the time. It goes back nowhere.
type clocks struct {
	others  time.Time // how late it was by others than this machine, as last read
	heard   time.Time // when it was read last, or could not be
	beaten  time.Time // when this process last made an entry only so that there is one
	arrived time.Time // newest time that the transport gave to what was folded
}

// clock is how late it is by both clocks that an erasure without a request takes: the earlier of that of this machine and
// that of others. What cannot be read now leaves the last word heard: later than that it can only be. Requires mu.
func (s *Service) clock(ctx context.Context) (time.Time, error) {
	own := s.now()
	if own.Sub(s.clocks.others).Abs() > freshEnough && (s.clocks.heard.IsZero() || own.Sub(s.clocks.heard).Abs() >= askEvery) {
		c, err := s.control.Clock(ctx, s.cosigners)
		switch {
		case ctx.Err() != nil:
			return time.Time{}, ctx.Err()
		case err != nil:
			s.log.Warn("how late it is by witnesses cannot be read; what they said last counts", "said", s.clocks.others, "err", err)
		default:
			s.clocks.others = c.Time
		}
		s.clocks.heard = own
	}
	return s.lastHeard(), nil
}

// lastHeard is how late it is by both clocks, as others were heard last. Requires mu.
func (s *Service) lastHeard() time.Time {
	if own := s.now(); !s.clocks.others.Before(own) {
		return own
	}
	return s.clocks.others
}

// beat makes an entry of the control log where none has come for long: whoever sequences it, and witnesses, say with it how
// late it is. Requires mu.
func (s *Service) beat(ctx context.Context) error {
	var newest control.Reckoning
	s.control.View(func(c *control.State) { newest = c.Reckoned() })
	now := s.now()
	if now.Sub(newest.Time) < beatEvery || !s.clocks.beaten.IsZero() && now.Sub(s.clocks.beaten) < beatEvery {
		return nil
	}
	if err := s.sayRoot(ctx); err != nil {
		return err
	}
	s.clocks.beaten = now
	return nil
}
