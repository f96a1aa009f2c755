package control

import (
	"cmp"
	"fmt"
	"time"

	"github.com/stelelog/stele/internal/commit"
)

// Patience is how long an approved request to erase may wait without a reason that the log knows.
const Patience = 24 * time.Hour

// Overdue is an approved request to erase that should have been carried out.
type Overdue struct {
	Request commit.Hex32
	Effect  uint64    // size of the log from which on it is approved
	Since   time.Time // when it could have been carried out
	Why     string    // what the log knows of it
	Problem string    // the reason that a key service has given; "" if it gave none
}

// Overdue lists the requests that have waited for longer than Patience at a time.
func (s *State) Overdue(now time.Time) (out []Overdue) {
	for _, r := range s.Requests {
		if o, late := s.OverdueAt(r, now); late {
			out = append(out, o)
		}
	}
	return out
}

// OverdueAt reports whether a request has waited for longer than Patience at a time.
func (s *State) OverdueAt(r *Request, now time.Time) (Overdue, bool) {
	if r.What != WhatErase || r.Standing != Approved {
		return Overdue{}, false
	}
	o, waits := s.overdue(r)
	return o, waits && now.Sub(o.Since) > Patience
}

// overdue says since when an approved request could have been carried out, and whether it could.
func (s *State) overdue(r *Request) (Overdue, bool) {
	o := Overdue{Request: r.ID, Effect: r.Effect, Since: cmp.Or(r.At, r.Time), Why: "no key service has said anything of it"}
	if len(r.Outcomes) == 0 {
		return o, true
	}
	switch last := &r.Outcomes[len(r.Outcomes)-1]; {
	case last.Problem != "":
		o.Why, o.Problem = "it waits, as a key service says, for: "+last.Problem, last.Problem
	case last.Left > 0:
		o.Why = fmt.Sprintf("%d of its scopes are left", last.Left)
	case last.Held > 0:
		o.Why = fmt.Sprintf("%d of its scopes are called held, and no hold stands", last.Held)
		for _, h := range s.Holds {
			if h.Released == 0 {
				return o, false
			}
			o.Since = latest(o.Since, h.releasedAt)
		}
	case last.Retained > 0 && last.Until != nil:
		o.Why = fmt.Sprintf("the minimum retention of %d of its scopes is over", last.Retained)
		o.Since = latest(o.Since, earliest(*last.Until, r.Time.Add(s.Policy().longestMin())))
	}
	return o, true
}

// longestMin is the longest minimum retention of any class.
func (p *Policy) longestMin() time.Duration {
	longest := Days(0)
	for _, c := range p.Classes {
		longest = max(longest, c.Min)
	}
	return longest.Duration()
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
