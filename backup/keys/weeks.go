package keys

import (
	"context"
	"crypto/sha256"

	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyscope"
)

const (
	// intakeAhead is for how many weeks there are intake keys, and intakeLow for how many there are at least.
	intakeAhead = 26
	intakeLow   = 20
	// intakeMost is how far ahead intake keys count: those that a clock which was wrong has made for later are not looked at.
	intakeMost = 52
)

// weeks are the present one by each of two clocks, that of this machine and that of others; one if nobody else says how late it
// is. It is not before the second one, and the first may be ahead. Of weeks from either on no intake key was erased.
func (s *Service) weeks(ctx context.Context) ([]uint16, error) {
	if _, err := s.clock(ctx); err != nil {
		return nil, err
	}
	own, others := keyscope.Week(s.now()), keyscope.Week(s.clocks.others)
	switch {
	case s.clocks.others.IsZero() || own == others:
		return []uint16{own}, nil
	case own < others:
		return []uint16{others}, nil
	}
	return []uint16{others, own}, nil
}

// missingWeeks makes intake keys, so that there are some for half a year, and for each week of which one was announced: a
// recovery may have lost the private half. Requires mu.
func (s *Service) missingWeeks(ctx context.Context) (made []keyring.IntakeKey, err error) {
	weeks, err := s.weeks(ctx)
	if err != nil {
		return nil, err
	}
	var missing []uint16
	for _, this := range weeks {
		ahead := 0
		for week := range s.pending.intake.keys {
			if week >= this && week <= this+intakeMost {
				ahead++
			}
		}
		for week := this; week < this+intakeAhead && ahead < intakeLow; week++ {
			missing = append(missing, week)
		}
	}
	for _, in := range s.control.Policy().Intake {
		if in.Week >= weeks[len(weeks)-1] {
			missing = append(missing, in.Week)
		}
	}
	have := map[uint16]bool{}
	for week := range s.pending.intake.keys {
		have[week] = true
	}
	for _, week := range missing {
		if have[week] {
			continue
		}
		have[week] = true
		k, err := newIntakeKey(week)
		if err != nil {
			return nil, err
		}
		made = append(made, k)
	}
	return made, nil
}

func newIntakeKey(week uint16) (k keyring.IntakeKey, err error) {
	key, err := keyscope.KEM().GenerateKey()
	if err != nil {
		return k, err
	}
	seed, err := key.Bytes()
	if err != nil {
		return k, err
	}
	sum := sha256.Sum256(key.PublicKey().Bytes())
	return keyring.IntakeKey{Week: week, Public: [16]byte(sum[:]), Seed: [32]byte(seed)}, nil
}
