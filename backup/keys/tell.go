package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
)

const (
	// tellEvery is how often the control log is told of a root record that only folds.
	tellEvery = time.Hour
	// repeatEvery is how long an entry is left to whoever sequences the inbox, before it is put there again.
	repeatEvery = 10 * time.Minute
)

// told is what the control log was last told.
type told struct {
	at     time.Time // when that was of a root record
	record uint64
	late   int                    // of the depot's records about late grants, those that it has
	weeks  [2]uint16              // first of the intake weeks that wait in its inbox, by each clock
	waits  map[commit.Hex32]entry // by what they are about: what was said and is not in the log yet
}

// entry is one that was left in the inbox.
type entry struct {
	file string
	at   time.Time // when it was last put there
}

// tell drops entries into the inbox of the control log: the newest root record, so that nobody can take it away unseen,
// and intake keys that writers do not know of. Requires mu.
func (s *Service) tell(ctx context.Context) error {
	if err := errors.Join(s.repeat(ctx), s.announce(ctx), s.tellLate(ctx)); err != nil {
		return err
	}
	v := &s.version
	if s.told.at.IsZero() {
		s.control.View(func(c *control.State) {
			if n := len(c.KeyRoots); n > 0 && c.KeyRoots[n-1].Hash == v.hash {
				s.told.at, s.told.record = s.now(), v.N
			}
		})
	}
	if s.told.record == v.N && !s.told.at.IsZero() || v.Erased == nil && v.Recovery == nil && s.now().Sub(s.told.at) < tellEvery {
		return nil
	}
	if err := s.sayRoot(ctx); err != nil {
		return err
	}
	s.told.at, s.told.record = s.now(), v.N
	return nil
}

// say leaves an entry in the inbox of the control log, in place of what was last said of the same and is not in the log.
// Requires mu.
func (s *Service) say(ctx context.Context, about commit.Hex32, kind string, t time.Time, body any) error {
	file, err := control.Sign(s.trust.Archive, kind, t, body, s.signer)
	if err != nil {
		return err
	}
	if err := s.control.Drop(ctx, file); err != nil {
		return err
	}
	s.told.waits[about] = entry{file, s.now()}
	return nil
}

// repeat says again what the log does not have after some time: nothing keeps objects of the inbox from being deleted. The
// bytes are the same, so that what still lies there is not doubled. Requires mu.
func (s *Service) repeat(ctx context.Context) error {
	for about, e := range s.told.waits {
		var has bool
		var refused error
		s.control.View(func(c *control.State) {
			if has = c.Has(e.file); !has {
				_, refused = c.Check(e.file, s.now())
			}
		})
		switch {
		case has:
			delete(s.told.waits, about)
		case refused != nil || s.now().Sub(e.at) < repeatEvery:
		default:
			if err := s.sayAgain(ctx, about, e.file); err != nil {
				return err
			}
		}
	}
	return nil
}

// sayAgain leaves an entry in the inbox once more, under another date if somebody's bytes have its name. Requires mu.
func (s *Service) sayAgain(ctx context.Context, about commit.Hex32, file string) error {
	err := s.control.Drop(ctx, file)
	if errors.Is(err, fs.ErrExist) {
		e, err := control.ParseEntry(file)
		if err != nil {
			return err
		}
		return s.say(ctx, about, e.Type, s.now(), e.Body)
	}
	if err == nil {
		s.told.waits[about] = entry{file, s.now()}
	}
	return err
}

// aboutRoot and aboutIntake stand for the newest root record and for the intake keys of weeks that come by a clock.
func aboutRoot() commit.Hex32            { return commit.Hash([]byte("root")) }
func aboutIntake(clock int) commit.Hex32 { return commit.Hash(fmt.Append(nil, "intake", clock)) }

// announce publishes the intake keys of coming weeks that the control log does not have: an entry for those that come by the
// clock of others, and one for those that come by this one, as the log refuses both where one is too far ahead.
func (s *Service) announce(ctx context.Context) error {
	weeks, err := s.weeks(ctx)
	if err != nil {
		return err
	}
	known, this := s.control.Policy().Intake, weeks[len(weeks)-1]
	left := map[uint16][]byte{}
	for week, key := range s.pending.intake.keys {
		public := key.PublicKey().Bytes()
		if !slices.ContainsFunc(known, func(k control.Intake) bool { return k.Week == week && (week <= this || bytes.Equal(k.Key, public)) }) {
			left[week] = public
		}
	}
	for i, first := range weeks {
		var body control.IntakeKeys
		for week, public := range left {
			if week >= first && week <= first+intakeMost {
				body.Weeks = append(body.Weeks, control.Intake{Week: week, Key: public})
				delete(left, week)
			}
		}
		slices.SortFunc(body.Weeks, func(a, b control.Intake) int { return int(a.Week) - int(b.Week) })
		if len(body.Weeks) == 0 || s.told.weeks[i] == body.Weeks[0].Week {
			continue // nothing new, or it waits in the inbox
		}
		if err := s.say(ctx, aboutIntake(i), control.TypeIntake, s.now(), body); err != nil {
			return fmt.Errorf("intake keys: %w", err)
		}
		s.told.weeks[i] = body.Weeks[0].Week
	}
	return nil
}

// rootEntry is what the control log is told of the newest record.
func (s *Service) rootEntry() control.KeyRoot {
	v := &s.version
	return control.KeyRoot{N: v.N, Hash: v.hash, Generation: v.Generation, Live: v.Live, Commitment: v.Commitment, Folded: v.Folded, Arrived: s.clocks.arrived.UTC(), Dead: s.deadBefore()}
}

func (s *Service) sayRoot(ctx context.Context) error {
	return s.say(ctx, aboutRoot(), control.TypeKeyRoot, s.now(), s.rootEntry())
}
