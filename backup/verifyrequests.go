package backup

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyroot"
)

// allowed reports whether the control log holds approved requests for an erasure, or a policy that erases without one. An
// approval counts until a record says that nothing is left of its request.
func (k *keyCheck) allowed(e *keydepot.Erasure) (ok, requested bool) {
	if len(e.Requests) == 0 {
		return k.classesOf(e) != "", false
	}
	k.v.a.control.View(func(s *control.State) {
		ok = !slices.ContainsFunc(e.Requests, func(o keyroot.Outcome) bool {
			r := s.Request(o.Request)
			if r == nil || r.What != control.WhatErase || k.carriedOut[o.Request] {
				return true
			}
			_, approved := r.ApprovedAt(e.Control)
			return !approved
		})
	})
	for i := range e.Requests {
		if o := &e.Requests[i]; o.Held+o.Retained+o.Left == 0 {
			k.carriedOut[o.Request] = true
		}
	}
	return ok, true
}

// classesOf are the classes of which the policy at the size of the control log that an erasure names lets keys go by its cause, without
// a request, with zeros between them; of one by request none.
func (k *keyCheck) classesOf(e *keydepot.Erasure) string {
	var names []string
	k.v.a.control.View(func(s *control.State) {
		p := s.PolicyAt(e.Control)
		if p == nil {
			return
		}
		for _, c := range p.Classes {
			if p.Allows(c, control.Cause(e.Cause)) {
				names = append(names, c.Name)
			}
		}
	})
	return strings.Join(names, "\x00")
}

// otherwise is an entry about an erasure that says something else than its record, nil if there is none.
func (k *keyCheck) otherwise(e *keydepot.Erasure) (other *control.LoggedErasure) {
	k.v.a.control.View(func(s *control.State) {
		for i := range s.Erasures {
			if x := &s.Erasures[i]; x.Root == (control.RootRef{N: e.N, Hash: e.Hash}) && !sameErasure(&x.Erased, e) {
				other = x
			}
		}
	})
	return other
}

func sameErasure(x *control.Erased, e *keydepot.Erasure) bool {
	return string(x.Cause) == e.Cause && x.Control == e.Control && x.To == e.Generation && x.Before == control.RootRef{N: e.Before, Hash: e.Prev} &&
		x.List == e.List && x.Paths == e.Root && x.Scopes == e.Scopes && x.Removed == e.Removed && x.Spent == e.Spent &&
		slices.EqualFunc(x.Requests, e.Requests, func(a control.Outcome, b keyroot.Outcome) bool {
			until := a.Until == nil && b.Until == nil || a.Until != nil && b.Until != nil && a.Until.Equal(*b.Until)
			return until && a == control.Outcome{Request: b.Request, Erased: b.Erased, Whole: b.Whole, Held: b.Held, Retained: b.Retained, Until: a.Until, Left: b.Left}
		})
}

// overdue names approved requests that nobody carries out. It is a break if a key service worked when it could have, and gave no
// reason.
func (k *keyCheck) overdue() {
	var all []control.Overdue
	k.v.a.control.View(func(s *control.State) { all = s.Overdue(k.v.opt.Now) })
	for _, o := range all {
		object, since := fmt.Sprintf("request %v", o.Request), stamp(o.Since)
		switch worked := k.record.Control >= o.Effect; {
		case k.carriedOut[o.Request]: // the control log is yet to be told
		case o.Problem == "" && worked && k.over(k.record.Time).Sub(o.Since) > control.Patience:
			k.v.r.fault(erasure, object, "it could have been carried out since %s, and root record %d was made later by a key service that has not done it: %s", since, k.record.N, o.Why)
		default:
			k.v.r.notice(erasure, object, "it could have been carried out since %s, and is not: %s", since, o.Why)
		}
	}
}
