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

// byPolicy is what erasures without a request go by.
type byPolicy struct {
	ends    []ended   // session ends that were folded and not acted upon
	looked  time.Time // when policy was last asked what to erase
	granted granted
}

// EraseDue erases what policy asks for without a request: classes whose days are over, intake keys of old weeks, and what
// ended with its session. What is over must be so by two clocks, this machine's and that of the witnesses, or of the control
// log where the trust file wants none: [Stats] says what waits for the second one. Generations that could not be destroyed
// before are tried again. [Service.Run] does this every EraseEvery.
func (s *Service) EraseDue(ctx context.Context) error {
	if s.signer == nil {
		return errReadOnly
	}
	s.mu.Lock()
	s.clocks.heard = time.Time{}
	s.mu.Unlock()
	for {
		if more, err := s.erasePart(ctx, 0); err != nil || !more {
			return err
		}
		if err := s.step("part"); err != nil {
			return err
		}
	}
}

// eraseDue is EraseDue every EraseEvery. Of what does not fit into one generation, each pass erases a part.
func (s *Service) eraseDue(ctx context.Context) error {
	_, err := s.erasePart(ctx, s.cfg.EraseEvery)
	return err
}

// erasePart erases what is due by both clocks, if that was last looked up so long ago, and as far as it fits into one generation.
// In between others are answered.
func (s *Service) erasePart(ctx context.Context, every time.Duration) (more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.policy.looked.IsZero() && s.now().Sub(s.policy.looked) < every {
		return false, nil
	}
	if err := s.sync(ctx); err != nil {
		return false, err
	}
	if err := s.beat(ctx); err != nil {
		return false, err
	}
	now, err := s.clock(ctx)
	if err != nil {
		return false, err
	}
	session, ttl, err := s.due(ctx, now)
	if err != nil {
		return false, err
	}
	for _, b := range []*batch{session, ttl} {
		if len(b.ends)+len(b.days)+len(b.weeks) == 0 && !b.spent {
			continue
		}
		if err := s.eraseBy(ctx, b); err != nil {
			return false, err
		}
	}
	if !session.more {
		s.policy.ends = s.policy.ends[len(session.ends):]
	}
	if more = session.more || ttl.more || ttl.spent; !more {
		s.policy.looked = s.now()
	}
	s.doubt(ctx)
	return more, s.destroyRest(ctx)
}

// eraseBy erases what policy asks for, or a part of it, and tells the control log. Requires mu.
func (s *Service) eraseBy(ctx context.Context, b *batch) error {
	out, err := s.erase(ctx, b)
	if err != nil || out.After.N == out.Before.N {
		return err
	}
	failed := s.destroy(ctx, out)
	return errors.Join(failed, s.report(ctx, out))
}

// due is what policy asks for when it is so late by both clocks: what ended with its session, and what is over. What is over
// by the clock of this machine alone is counted. Requires mu.
func (s *Service) due(ctx context.Context, now time.Time) (session, ttl *batch, err error) {
	session, ttl = &batch{cause: control.CauseSession}, &batch{cause: control.CauseTTL}
	days, err := s.version.ring.Days(ctx)
	if err != nil {
		return session, ttl, err
	}
	own, overdue := s.now(), 0
	if p := s.control.Policy(); p.Erasure != nil && p.Erasure.TTL {
		for _, day := range days {
			switch { // the day itself belongs to the key's life
			case !now.IsZero() && day < keyscope.Day(now):
				ttl.days = append(ttl.days, day)
			case day < keyscope.Day(own):
				overdue++
			}
		}
	}
	for week := range s.pending.intake.keys {
		switch end := keyscope.WeekStart(week + 1).Add(horizon); {
		case now.After(end):
			ttl.weeks = append(ttl.weeks, week)
		case own.After(end):
			overdue++
		}
	}
	if ttl.spent, err = s.version.ring.Forgettable(ctx, ttl.weeks); err != nil {
		return session, ttl, err
	}
	session.ends = slices.Clone(s.policy.ends)
	s.countOverdue(overdue, own.Sub(s.clocks.others))
	return session, ttl, nil
}

// endsIn reports whether a scope dies with one of some sessions: one that the same service granted, in a class of which policy
// says so.
func (s *Service) endsIn(ends []ended, x *keyring.Scope, now time.Time) bool {
	if !s.control.Policy().Erasable(x.Class, time.Unix(0, x.Start), now, false, control.CauseSession).Erase {
		return false
	}
	return slices.ContainsFunc(ends, func(e ended) bool {
		return x.Tags.Has(e.tag) && x.Start <= e.time && s.policy.granted.by(e.service, x)
	})
}
