package keys

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyring"
)

// maxChosen is how many scopes one generation leaves out at most: what an erasure holds in memory follows from it, about a
// kilobyte for each. What is left goes in the generations that follow.
const maxChosen = 1 << 15

// forgetMost is how many spent paths go for each scope that may be chosen: of these a path is held, of a scope all that leads to
// it.
const forgetMost = 8

// choice is what is known of the scopes that a batch has met so far.
type choice struct {
	*judgement
	cause control.Cause
	what  *keyring.Erasure
	out   *Erased
	room  int // scopes that may be chosen yet
	seen  map[scopeKey]control.Verdict
}

type scopeKey struct{ id, check [16]byte }

// add takes a scope if it may go, and counts it: in a part, and if the batch did not meet it before in out. What there is no
// room for is left. What is kept from a batch is remembered as far as that is no more than may be chosen.
func (c *choice) add(l *keyring.Located, p *Part) {
	key := scopeKey{l.ID, l.Check()}
	v, known := c.seen[key]
	if !known {
		if v = c.erasable(&l.Scope, c.cause); v.Erase && c.room == 0 {
			p.Left++
			return
		}
		if v.Erase || len(c.seen) < maxChosen {
			c.seen[key] = v
		}
	}
	switch {
	case v.Erase:
		p.Scopes++
		if !known {
			c.what.Scopes = append(c.what.Scopes, *l)
			c.room--
		}
	case v.Why == "held":
		p.Held++
		if !known {
			c.out.Held++
		}
	case !v.Until.IsZero():
		p.Retained, p.Until = p.Retained+1, later(p.Until, v.Until)
		if !known {
			c.out.Retained, c.out.Until = c.out.Retained+1, later(c.out.Until, v.Until)
		}
	}
}

// erasable says whether a scope may be erased.
func (j *judgement) erasable(s *keyring.Scope, cause control.Cause) control.Verdict {
	held := slices.ContainsFunc(s.Tags[:], func(t keyring.Tag) bool { return j.held[t] })
	return j.policy.Erasable(s.Class, time.Unix(0, s.Start), j.now, held, cause)
}

// choose finds what a batch takes, and counts in out what is kept from it.
func (s *Service) choose(ctx context.Context, ring *keyring.Ring, b *batch, j *judgement, out *Erased) (*keyring.Erasure, error) {
	what := &keyring.Erasure{Weeks: b.weeks, Release: j.release, Resume: j.resume}
	if b.spent {
		what.Forget = forgetMost * s.most()
	}
	c := &choice{j, b.cause, what, out, s.most(), map[scopeKey]control.Verdict{}}
	b.asks, b.rest, b.more = append(b.asks, b.rest...), nil, false
	err := c.days(ctx, ring, b)
	if err == nil {
		err = s.chooseEnded(ctx, ring, b, c)
	}
	if err != nil {
		return nil, err
	}
	stones, _, err := ring.Marks(ctx)
	if err != nil {
		return nil, err
	}
	for i, a := range b.asks {
		if c.room == 0 {
			b.asks, b.rest = b.asks[:i:i], b.asks[i:]
			break
		}
		p, err := c.ask(ctx, ring, a)
		if err != nil {
			return nil, err
		}
		out.Parts, out.Left = append(out.Parts, p), out.Left+p.Left
		for _, t := range a.tags {
			stone := keyring.Tombstone{Tag: t, Cutoff: a.cutoff, Request: a.request}
			if !slices.Contains(stones, stone) {
				stones, what.Tombstones = append(stones, stone), append(what.Tombstones, stone)
			}
		}
		switch waits := p.Held+p.Retained+p.Left > 0; {
		case waits && a.logged && len(a.deferred) == 0:
			what.Defer = append(what.Defer, a.marks()...)
		case !waits:
			what.Resume = append(what.Resume, a.deferred...)
		}
	}
	what.Keep, err = s.stonesOverKeys(ctx, ring, what)
	return what, err
}

func (s *Service) most() int {
	if s.cfg.most > 0 {
		return s.cfg.most
	}
	return maxChosen
}

// days chooses the days that are over.
func (c *choice) days(ctx context.Context, ring *keyring.Ring, b *batch) error {
	for _, day := range b.days {
		chosen, all := len(c.what.Scopes), 0
		var p Part
		for l, err := range ring.EachOfDay(ctx, day) {
			if err != nil {
				return err
			}
			if c.add(&l, &p); p.Left > 0 {
				b.more = true
				return nil
			}
			all++
		}
		if free := len(c.what.Scopes) - chosen; free == all && free > 0 {
			c.what.Scopes = c.what.Scopes[:chosen]
			c.what.Days = append(c.what.Days, day) // one path of each trie, whatever is below
		}
	}
	return nil
}

// chooseEnded chooses what dies with sessions.
func (s *Service) chooseEnded(ctx context.Context, ring *keyring.Ring, b *batch, c *choice) error {
	for _, end := range b.ends {
		var p Part
		for l, err := range ring.EachTagged(ctx, end.tag) {
			if err != nil {
				return err
			}
			if !s.endsIn([]ended{end}, &l.Scope, c.now) {
				continue
			}
			if c.add(&l, &p); p.Left > 0 {
				b.more = true
				return nil
			}
		}
	}
	return nil
}

// ask chooses what a request selects.
func (c *choice) ask(ctx context.Context, ring *keyring.Ring, a *ask) (Part, error) {
	p := Part{Request: a.request, whole: len(a.scopes) > 0}
	var mine map[scopeKey]bool // where one scope may be selected twice
	if len(a.tags)+len(a.classes) > 1 || len(a.scopes) > 0 {
		mine = map[scopeKey]bool{}
	}
	for l, err := range a.each(ctx, ring) {
		if err != nil {
			return p, err
		}
		if mine != nil {
			key := scopeKey{l.ID, l.Check()}
			if mine[key] {
				continue
			}
			if len(mine) < maxChosen {
				mine[key] = true
			}
		}
		if c.add(&l, &p); p.Left > 0 && a.left > 0 { // they were counted when the first of them went
			p.Left = a.left - min(a.left-1, p.Scopes)
			break
		}
	}
	return p, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// each iterates over the keys that a request selects. One may come more than once, if there are several selectors.
func (a *ask) each(ctx context.Context, ring *keyring.Ring) iter.Seq2[keyring.Located, error] {
	return func(yield func(keyring.Located, error) bool) {
		for _, tag := range a.tags {
			for l, err := range ring.EachTagged(ctx, tag) {
				if (err != nil || l.Start <= a.cutoff) && (!yield(l, err) || err != nil) {
					return
				}
			}
		}
		for ids := range slices.Chunk(a.scopes, 1024) {
			named, err := ring.Find(ctx, ids)
			if err != nil {
				yield(keyring.Located{}, err)
				return
			}
			for _, l := range named {
				if !yield(l, nil) {
					return
				}
			}
		}
		if len(a.classes) == 0 {
			return
		}
		for l, err := range ring.All(ctx) {
			if (err != nil || slices.Contains(a.classes, l.Class) && l.Start <= a.cutoff) && (!yield(l, err) || err != nil) {
				return
			}
		}
	}
}

// justifies is the first part of the gate: whatever chose the scopes, each is one that the batch may take.
func (b *batch) justifies(what *keyring.Erasure, j *judgement, ended func([]ended, *keyring.Scope, time.Time) bool) error {
	asked := selectorsOf(b.asks)
	for _, day := range what.Days {
		if !slices.Contains(b.days, day) {
			return fmt.Errorf("%w: day %d would go, and is not over", keyring.ErrGate, day)
		}
	}
	for _, week := range what.Weeks {
		if !slices.Contains(b.weeks, week) {
			return fmt.Errorf("%w: the intake key of week %d would go, and is not over", keyring.ErrGate, week)
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
