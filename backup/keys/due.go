package keys

import (
	"context"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyscope"
)

// horizon is how long an intake key is kept after its week, so that what was held up on its way can still be opened.
const horizon = 14 * 24 * time.Hour

// eraseDue erases what policy asks for without a request: classes whose days are over, intake keys of old weeks, and what
// ended with its session. Generations that could not be destroyed before are tried again.
func (s *Service) eraseDue(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.looked.IsZero() && now.Sub(s.looked) < s.cfg.EraseEvery {
		return nil
	}
	e, err := s.due(ctx, now)
	if err != nil {
		return err
	}
	var out *Erased
	if len(e.ends)+len(e.days)+len(e.weeks) > 0 {
		if out, err = s.erase(ctx, e); err != nil {
			return err
		}
	}
	s.ends, s.looked = s.ends[len(e.ends):], now
	return s.destroy(ctx, out)
}

// due is what policy asks for at a time. Requires mu.
func (s *Service) due(ctx context.Context, now time.Time) (e Erasure, err error) {
	ring := s.version.ring
	days, err := ring.Days(ctx)
	if err != nil {
		return e, err
	}
	for _, day := range days {
		if day < keyscope.Day(now) { // the day itself belongs to the key's life
			e.days = append(e.days, day)
		}
	}
	for week := range s.pending.intake.keys {
		if now.After(keyscope.WeekStart(week + 1).Add(horizon)) {
			e.weeks = append(e.weeks, week)
		}
	}
	e.ends = slices.Clone(s.ends)
	return e, nil
}

// endedScopes are the keys that die with sessions: those of streams of the same service, in classes of which policy says so.
func (s *Service) endedScopes(ctx context.Context, ring *keyring.Ring, ends []ended) (out []keyring.Located, err error) {
	policy := s.control.Policy()
	for _, end := range ends {
		found, err := ring.Tagged(ctx, end.tag)
		if err != nil {
			return nil, err
		}
		for _, l := range found {
			if policy.Erasable(l.Class, time.Unix(0, l.Start), time.Now(), false, control.CauseSession).Erase && l.Start <= end.time && s.streams.names[l.Stream] == end.service {
				out = append(out, l)
			}
		}
	}
	return out, nil
}
