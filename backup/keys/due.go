package keys

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyscope"
)

// horizon is how long an intake key is kept after its week, so that what was held up on its way can still be opened.
const horizon = control.Horizon

// eraseDue erases what policy asks for without a request: classes whose days are over, intake keys of old weeks, and what
// ended with its session. Generations that could not be destroyed before are tried again.
func (s *Service) eraseDue(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.looked.IsZero() && now.Sub(s.looked) < s.cfg.EraseEvery {
		return nil
	}
	if err := s.sync(ctx); err != nil {
		return err
	}
	session, ttl, err := s.due(ctx, now)
	if err != nil {
		return err
	}
	for _, b := range []*batch{session, ttl} {
		if len(b.ends)+len(b.days)+len(b.weeks) == 0 {
			continue
		}
		if err := s.eraseBy(ctx, b); err != nil {
			return err
		}
	}
	s.ends, s.looked = s.ends[len(session.ends):], now
	return s.destroyRest(ctx)
}

// eraseBy erases what policy asks for and tells the control log. Requires mu.
func (s *Service) eraseBy(ctx context.Context, b *batch) error {
	out, err := s.erase(ctx, b)
	if err != nil || out.After.N == out.Before.N {
		return err
	}
	failed := s.destroy(ctx, out)
	return errors.Join(failed, s.report(ctx, out))
}

// due is what policy asks for at a time: what ended with its session, and what is over. Requires mu.
func (s *Service) due(ctx context.Context, now time.Time) (session, ttl *batch, err error) {
	session, ttl = &batch{cause: control.CauseSession}, &batch{cause: control.CauseTTL}
	days, err := s.version.ring.Days(ctx)
	if err != nil {
		return session, ttl, err
	}
	if p := s.control.Policy(); p.Erasure != nil {
		for _, day := range days {
			if p.Erasure.TTL && day < keyscope.Day(now) { // the day itself belongs to the key's life
				ttl.days = append(ttl.days, day)
			}
		}
	}
	for week := range s.pending.intake.keys {
		if now.After(keyscope.WeekStart(week + 1).Add(horizon)) {
			ttl.weeks = append(ttl.weeks, week)
		}
	}
	session.ends = slices.Clone(s.ends)
	return session, ttl, nil
}

// endedScopes are the keys that die with sessions: those of streams of the same service, in classes of which policy says so.
func (s *Service) endedScopes(ctx context.Context, ring *keyring.Ring, ends []ended) (out []keyring.Located, err error) {
	for _, end := range ends {
		found, err := ring.Tagged(ctx, end.tag)
		if err != nil {
			return nil, err
		}
		for _, l := range found {
			if s.endsIn([]ended{end}, &l.Scope) {
				out = append(out, l)
			}
		}
	}
	return out, nil
}

// endsIn reports whether a scope dies with one of some sessions.
func (s *Service) endsIn(ends []ended, x *keyring.Scope) bool {
	if !s.control.Policy().Erasable(x.Class, time.Unix(0, x.Start), time.Now(), false, control.CauseSession).Erase {
		return false
	}
	return slices.ContainsFunc(ends, func(e ended) bool {
		return x.Tags.Has(e.tag) && x.Start <= e.time && s.streams.names[x.Stream] == e.service
	})
}
