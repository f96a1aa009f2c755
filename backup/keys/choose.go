package keys

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyring"
)

// choice is what is known of the scopes that a batch has met so far.
type choice struct {
	*judgement
	cause control.Cause
	seen  map[scopeKey]control.Verdict
}

type scopeKey struct{ id, check [16]byte }

// verdict says what becomes of a scope; first says that the batch did not meet it before.
func (c *choice) verdict(key scopeKey, l *keyring.Located) (v control.Verdict, first bool) {
	v, known := c.seen[key]
	if !known {
		v = c.erasable(&l.Scope, c.cause)
		c.seen[key] = v
	}
	return v, !known
}

// erasable says whether a scope may be erased.
func (j *judgement) erasable(s *keyring.Scope, cause control.Cause) control.Verdict {
	held := slices.ContainsFunc(s.Tags[:], func(t keyring.Tag) bool { return j.held[t] })
	return j.policy.Erasable(s.Class, time.Unix(0, s.Start), j.now, held, cause)
}

// choose finds what a batch takes, and counts in out what is kept from it.
func (s *Service) choose(ctx context.Context, ring *keyring.Ring, b *batch, j *judgement, out *Erased) (*keyring.Erasure, error) {
	c := &choice{j, b.cause, map[scopeKey]control.Verdict{}}
	what := &keyring.Erasure{Weeks: b.weeks, Release: j.release, Resume: j.resume}
	for _, day := range b.days {
		all, err := ring.Day(ctx, day)
		if err != nil {
			return nil, err
		}
		chosen := len(what.Scopes)
		c.add(all, what, out)
		if free := len(what.Scopes) - chosen; free == len(all) && free > 0 {
			what.Scopes = what.Scopes[:chosen]
			what.Days = append(what.Days, day) // one path of each trie, whatever is below
		}
	}
	ended, err := s.endedScopes(ctx, ring, b.ends, j.now)
	if err != nil {
		return nil, err
	}
	c.add(ended, what, out)
	stones, _, err := ring.Marks(ctx)
	if err != nil {
		return nil, err
	}
	for _, a := range b.asks {
		found, err := a.find(ctx, ring)
		if err != nil {
			return nil, err
		}
		p := c.add(found, what, out)
		p.Request, p.whole = a.request, len(a.scopes) > 0
		out.Parts = append(out.Parts, p)
		for _, t := range a.tags {
			stone := keyring.Tombstone{Tag: t, Cutoff: a.cutoff, Request: a.request}
			if !slices.Contains(stones, stone) {
				stones, what.Tombstones = append(stones, stone), append(what.Tombstones, stone)
			}
		}
		switch waits := p.Held+p.Retained > 0; {
		case waits && a.logged && len(a.deferred) == 0:
			what.Defer = append(what.Defer, a.marks()...)
		case !waits:
			what.Resume = append(what.Resume, a.deferred...)
		}
	}
	return what, nil
}

// add takes what may go, and counts what was found: all of it in the part that it returns, what is new in out.
func (c *choice) add(found []keyring.Located, what *keyring.Erasure, out *Erased) (p Part) {
	mine := make(map[scopeKey]bool, len(found))
	for i := range found {
		key := scopeKey{found[i].ID, found[i].Check()}
		if mine[key] {
			continue
		}
		mine[key] = true
		v, first := c.verdict(key, &found[i])
		switch {
		case v.Erase:
			p.Scopes++
			if first {
				what.Scopes = append(what.Scopes, found[i])
			}
		case v.Why == "held":
			p.Held++
			if first {
				out.Held++
			}
		case !v.Until.IsZero():
			p.Retained, p.Until = p.Retained+1, later(p.Until, v.Until)
			if first {
				out.Retained, out.Until = out.Retained+1, later(out.Until, v.Until)
			}
		}
	}
	return p
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// find finds the keys that a request selects.
func (a *ask) find(ctx context.Context, ring *keyring.Ring) (found []keyring.Located, err error) {
	for _, tag := range a.tags {
		tagged, err := ring.Tagged(ctx, tag)
		if err != nil {
			return nil, err
		}
		found = append(found, slices.DeleteFunc(tagged, func(l keyring.Located) bool { return l.Start > a.cutoff })...)
	}
	if len(a.scopes) > 0 {
		named, err := ring.Find(ctx, a.scopes)
		if err != nil {
			return nil, err
		}
		found = append(found, named...)
	}
	if len(a.classes) > 0 {
		for l, err := range ring.All(ctx) {
			if err != nil {
				return nil, err
			}
			if slices.Contains(a.classes, l.Class) && l.Start <= a.cutoff {
				found = append(found, l)
			}
		}
	}
	return found, nil
}

// justifies is the first part of the gate: whatever chose the scopes, each is one that the batch may take.
func (b *batch) justifies(what *keyring.Erasure, j *judgement, ended func([]ended, *keyring.Scope, time.Time) bool) error {
	asked := selectorsOf(b.asks)
	for _, day := range what.Days {
		if !slices.Contains(b.days, day) {
			return fmt.Errorf("%w: day %d would go, and is not over", keyring.ErrGate, day)
		}
	}
	for i := range what.Scopes {
		l := &what.Scopes[i].Scope
		if !asked.selects(l) && !(l.Expires && slices.Contains(b.days, l.Day)) && !ended(b.ends, l, j.now) {
			return fmt.Errorf("%w: scope %x would go, and nothing in the batch asks for it", keyring.ErrGate, l.ID)
		}
		if v := j.erasable(l, b.cause); !v.Erase {
			return fmt.Errorf("%w: scope %x would go, and is %s", keyring.ErrGate, l.ID, v.Why)
		}
	}
	return nil
}
