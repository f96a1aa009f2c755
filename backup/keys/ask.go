package keys

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyring"
)

// ask is what one request selects.
type ask struct {
	request  commit.Hex32
	logged   bool // it is one of the control log, and its approval may be taken back
	tags     []keyring.Tag
	scopes   [][16]byte
	classes  []string
	cutoff   int64
	urgent   bool
	at       time.Time // of its approval
	left     uint64    // of what it selects, where some went already and the rest follows
	deferred []keyring.Deferred
}

// asks are what an [Erasure] asks for: as many times as it has requests.
func (e *Erasure) asks() (out []*ask) {
	a := ask{scopes: e.Scopes, classes: e.Classes, cutoff: max(0, e.Cutoff.UnixNano())}
	for _, t := range e.Tags {
		a.tags = append(a.tags, keyring.ShortTag(t))
	}
	for _, id := range e.Requests {
		one := a
		one.request = id
		out = append(out, &one)
	}
	if len(out) == 0 {
		out = []*ask{&a}
	}
	return out
}

// askOf is what an approved request selects: as the tries have it if it was deferred, else as its sealed selection says.
// Requires mu.
func (s *Service) askOf(ctx context.Context, r *control.Request) (*ask, error) {
	a := &ask{request: r.ID, logged: true, cutoff: max(0, r.Time.UnixNano()), urgent: r.Urgent, at: r.At}
	if n := len(r.Outcomes); n > 0 {
		a.left = r.Outcomes[n-1].Left
	}
	for _, d := range s.pending.deferred {
		if d.Request == [16]byte(r.ID[:16]) {
			a.deferred = append(a.deferred, d)
			a.take(d.Tag, d.Scope, d.Class)
		}
	}
	if len(a.deferred) > 0 {
		return a, nil
	}
	if known := s.requests.asks[r.ID]; known != nil {
		known.at, known.urgent, known.left, known.deferred = a.at, a.urgent, a.left, nil
		return known, nil
	}
	sel, err := s.selection(ctx, r.Select)
	if err != nil {
		return nil, err
	}
	switch {
	case sel.Tag != nil:
		a.take(keyring.ShortTag(*sel.Tag), [16]byte{}, "")
	case sel.Kind == control.KindClass:
		a.take(keyring.Tag{}, [16]byte{}, sel.Value)
	default:
		a.scopes = ids(sel.Scopes)
	}
	return a, nil
}

func (a *ask) take(tag keyring.Tag, scope [16]byte, class string) {
	switch {
	case tag != keyring.Tag{}:
		a.tags = append(a.tags, tag)
	case class != "":
		a.classes = append(a.classes, class)
	default:
		a.scopes = append(a.scopes, scope)
	}
}

// marks are what the tries keep of the request as long as something that it selects stays.
func (a *ask) marks() (out []keyring.Deferred) {
	d := keyring.Deferred{Request: [16]byte(a.request[:16]), Cutoff: a.cutoff}
	for _, t := range a.tags {
		x := d
		x.Tag = t
		out = append(out, x)
	}
	for _, id := range a.scopes {
		x := d
		x.Scope = id
		out = append(out, x)
	}
	for _, c := range a.classes {
		x := d
		x.Class = c
		out = append(out, x)
	}
	return out
}

// approved are the requests to erase that are approved and not done, with those that cannot be opened apart. Readers get no
// answer about what they select. Requires mu.
func (s *Service) approved(ctx context.Context) (asks []*ask, unopened map[commit.Hex32]error, err error) {
	var all []*control.Request
	s.control.View(func(c *control.State) {
		for _, r := range c.Requests {
			if r.What == control.WhatErase && r.Standing == control.Approved {
				copied := *r
				all = append(all, &copied)
			}
		}
	})
	known := map[commit.Hex32]*ask{}
	unopened = map[commit.Hex32]error{}
	for _, r := range all {
		a, err := s.askOf(ctx, r)
		if errors.Is(err, errSelection) {
			unopened[r.ID] = err
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		known[r.ID] = a
		asks = append(asks, a)
	}
	s.requests.asks = known
	return asks, unopened, nil
}

// selectors says which scopes some requests select, without looking them up.
type selectors struct {
	tags    map[keyring.Tag]int64 // the latest cutoff
	classes map[string]int64
	scopes  map[[16]byte]bool
}

func selectorsOf(asks []*ask) *selectors {
	x := &selectors{map[keyring.Tag]int64{}, map[string]int64{}, map[[16]byte]bool{}}
	for _, a := range asks {
		for _, t := range a.tags {
			x.tags[t] = max(x.tags[t], a.cutoff)
		}
		for _, c := range a.classes {
			x.classes[c] = max(x.classes[c], a.cutoff)
		}
		for _, id := range a.scopes {
			x.scopes[id] = true // named, so its time does not matter
		}
	}
	return x
}

func (x *selectors) selects(s *keyring.Scope) bool {
	cutoff, is := x.classes[s.Class]
	return is && s.Start <= cutoff || x.scopes[s.ID] || x.tagged(s)
}

func (x *selectors) tagged(s *keyring.Scope) bool {
	return slices.ContainsFunc(s.Tags[:], func(t keyring.Tag) bool {
		cutoff, is := x.tags[t]
		return is && t != keyring.Tag{} && s.Start <= cutoff
	})
}

// denies reports whether readers get no answer about a scope. What must be kept for some time can be read as long, unless the
// request is about whom it belongs to.
func (x *selectors) denies(s *keyring.Scope, p *control.Policy, now time.Time) bool {
	return x.tagged(s) || x.selects(s) && p.Erasable(s.Class, time.Unix(0, s.Start), now, false, control.CauseRequest).Erase
}
