package control

import (
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
)

// Request returns the request whose entry has this SHA-256, nil if there is none.
func (s *State) Request(id commit.Hex32) *Request {
	for _, r := range s.Requests {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// Hold returns the hold whose entry has this SHA-256, nil if there is none.
func (s *State) Hold(entry commit.Hex32) *Hold {
	for _, h := range s.Holds {
		if h.Entry == entry {
			return h
		}
	}
	return nil
}

// Single reports whether what is done under the newest policy without a request was decided by less than two approvers
// with keys that init did not make.
func (s *State) Single() bool {
	n := len(s.Policies)
	return n == 0 || s.Policies[n-1].Single
}

// planRequest takes a request in.
func (s *State) planRequest(l *Listed) (func(), error) {
	return into(l, func(r *RequestBody) error {
		if s.Policy() == nil {
			return refuse(whyInvalid, "no access policy yet")
		}
		if err := r.check(l.Time); err != nil {
			return refuse(whyInvalid, "request: %w", err)
		}
		switch r.What {
		case WhatRelease:
			if h := s.Hold(*r.Hold); h == nil {
				return refuse(whyUnknown, "no hold %v is in the log before the request", *r.Hold)
			} else if h.Released != 0 {
				return refuse(whyClosed, "hold %v is released already", *r.Hold)
			}
		case WhatPolicy:
			return s.checkProposal(r)
		case WhatRecovery:
			return s.checkRecovery(r.Recovery)
		}
		return nil
	}, func(r *RequestBody) {
		s.Requests = append(s.Requests, &Request{RequestBody: *r, ID: l.Hash, Index: l.Index, By: l.By, Time: l.Time, Standing: Pending})
	})
}

// checkProposal reports why a proposed policy could not take effect now.
func (s *State) checkProposal(r *RequestBody) error {
	now := s.Policy()
	if *r.Base != now.Governed() {
		return refuse(whyClosed, "it was made from another policy than the one in force; make it again")
	}
	if err := r.Policy.Check(&s.Trust); err != nil {
		return refuse(whyInvalid, "proposed policy: %w", err)
	}
	if now.Dual() && !r.Policy.Dual() {
		return refuse(whyInvalid, "proposed policy: fewer than two approvers would give everything back to the policy root")
	}
	years := map[uint16]bool{}
	for i := range r.ReadKeys {
		k := &r.ReadKeys[i]
		if years[k.Year] {
			return refuse(whyInvalid, "proposed policy: two read keys of %d", k.Year)
		}
		years[k.Year] = true
		if err := s.checkReadKey(k); err != nil {
			return err
		}
	}
	return nil
}

// checkRecovery refuses what would bring an older generation back, and a loss of what the log does not know.
func (s *State) checkRecovery(r *Recovery) error {
	known := map[RootRef]bool{}
	for i := range s.KeyRoots {
		k := &s.KeyRoots[i]
		if k.Generation > r.Generation && s.BindsRoot(k.By, k.N) {
			return refuse(whyInvalid, "record %d would stand in for one of generation %d, and it is of generation %d", r.N, k.Generation, r.Generation)
		}
		ref := RootRef{k.N, k.Hash}
		known[ref] = known[ref] || k.Generation == r.Generation // what another key service says of it takes nothing away
	}
	for i := range s.Erasures {
		if e := &s.Erasures[i]; e.To > r.Generation && s.BindsRoot(e.By, e.Root.N) {
			to := e.To
			return refuse(whyInvalid, "record %d is of generation %d, and an erasure has left that for generation %d", r.N, r.Generation, to)
		}
	}
	for _, l := range r.Lost {
		if !known[l] {
			return refuse(whyInvalid, "the log knows no record %d with hash %s of generation %d that could be lost", l.N, l.Hash, r.Generation)
		}
	}
	return nil
}

// planDecision takes an approval or a rejection in.
func (s *State) planDecision(l *Listed, at time.Time) (func(), error) {
	var r *Request
	return into(l, func(d *Decision) error {
		if r = s.Request(d.Request); r == nil {
			return refuse(whyUnknown, "no request %v is in the log before this", d.Request)
		}
		if r.Standing != Pending && r.Standing != Approved {
			return refuse(whyClosed, "request %v is %s", d.Request, r.Standing)
		}
		if l.Type == TypeReject {
			return s.checkReject(r, l)
		}
		if l.Time.After(r.Until) || at.After(r.Until) {
			return refuse(whyLate, "request %v could be approved until %s", d.Request, r.Until.Format(time.RFC3339))
		}
		if heard(r.Yes, l.By, s.keyNow(l.By)) {
			return refuse(whyTwice, "request %[2]v was approved by %[1]s already, or by the same key under another name: another person must approve it", l.By, d.Request)
		}
		if rejected(r.No, l.By, s.keyNow(l.By)).After(l.Time) { // whoever may remove objects can have kept it back
			return refuse(whyTwice, "%[1]s, or the same key under another name, has rejected request %[2]v since: approve it anew", l.By, d.Request)
		}
		return nil
	}, func(*Decision) {
		v := Voice{l.By, l.Hash, l.Time, s.keyNow(l.By)}
		if l.Type == TypeReject {
			s.reject(r, v)
			return
		}
		r.No = without(r.No, v)
		r.Yes = append(r.Yes, v)
		if r.Standing == Pending && s.quorum(r) {
			s.decide(r, at)
		}
	})
}

// keyNow is the key under a key name now: of an approver, else of the policy root or whoever else has it.
func (s *State) keyNow(by string) string {
	if by == s.root.Name() {
		return keyBytes(s.Trust.Root)
	}
	for _, role := range []string{RoleApprover, RoleHolder, RoleReader} {
		if vkey := s.Policy().keyOf(s.Trust.Name, role, by); vkey != "" {
			return keyBytes(vkey)
		}
	}
	return ""
}

func keyBytes(vkey string) string {
	key, _ := publicKey(vkey) // of a policy in force, so it is one
	return key
}

func heard(voices []Voice, by, key string) bool {
	return slices.ContainsFunc(voices, func(v Voice) bool { return v.By == by || v.key == key })
}

// rejected is when a person did, last.
func rejected(voices []Voice, by, key string) (at time.Time) {
	for _, v := range voices {
		if (v.By == by || v.key == key) && v.Time.After(at) {
			at = v.Time
		}
	}
	return at
}

func without(voices []Voice, out Voice) []Voice {
	return slices.DeleteFunc(slices.Clone(voices), func(v Voice) bool { return v.By == out.By || v.key == out.key })
}

// voters are those whose approval counts by the policy in force.
func (s *State) voters(voices []Voice) (out []Voice) {
	p := s.Policy()
	for _, v := range voices {
		root := v.By == s.root.Name()
		if root && !p.Dual() || !root && v.key != "" && keyBytes(p.keyOf(s.Trust.Name, RoleApprover, v.By)) == v.key {
			out = append(out, v)
		}
	}
	return out
}

// quorum reports whether a request has the approvals that it needs by the policy in force: of two approvers or, while
// there are not two, of the policy root.
func (s *State) quorum(r *Request) bool {
	voters := s.voters(r.Yes)
	if s.Policy().Dual() {
		return len(voters) >= 2
	}
	return heard(voters, s.root.Name(), keyBytes(s.Trust.Root))
}

// decide carries out a request that has its approvals, or leaves it to the key service.
func (s *State) decide(r *Request, at time.Time) {
	own := 0
	for _, v := range s.voters(r.Yes) {
		if v.By != s.root.Name() && !s.made[v.key] {
			own++
		}
	}
	r.Standing, r.Effect, r.At, r.Single = Approved, s.Size(), at, own < 2
	switch r.What {
	case WhatRelease:
		r.Standing = Done
		if h := s.Hold(*r.Hold); h.Released == 0 {
			h.Released, h.releasedAt = s.Size(), at
		}
	case WhatPolicy:
		if s.checkProposal(&r.RequestBody) != nil {
			r.Standing, r.Effect = Superseded, 0
			return
		}
		r.Standing = Done
		now := s.Policy()
		next := *r.Policy
		next.Version, next.Writers, next.Intake = now.Version+1, now.Writers, now.Intake
		s.ReadKeys = append(s.ReadKeys, r.ReadKeys...)
		s.enact(&next, r.ID, r.Single)
	}
}

// checkReject accepts the rejection of an approver, of the policy root while there are not two, and the withdrawal of
// who asked.
func (s *State) checkReject(r *Request, l *Listed) error {
	p := s.Policy()
	approver := p.keyOf(s.Trust.Name, RoleApprover, l.By) != "" || l.By == s.root.Name() && !p.Dual()
	switch {
	case !approver && l.By != r.By:
		return refuse(whyRole, "%s is no approver and did not make request %v", l.By, r.ID)
	case heard(r.No, l.By, s.keyNow(l.By)) && !r.withdraws(l.By):
		return refuse(whyTwice, "%s has rejected request %v already", l.By, r.ID)
	}
	return nil
}

// withdraws reports whether a rejection by who has a key name is that of the author, in time.
func (r *Request) withdraws(by string) bool { return by == r.By && r.Standing == Pending }

// reject takes a voice back. A request that two approvers reject, or that its author withdraws before it is approved, is
// rejected for good: one approver alone cannot stop what two others want.
func (s *State) reject(r *Request, v Voice) {
	r.Yes = without(r.Yes, v)
	withdrawn := r.withdraws(v.By)
	r.No = append(without(r.No, v), v)
	switch {
	case withdrawn, s.Policy().Dual() && len(s.voters(r.No)) >= 2, !s.Policy().Dual() && v.By == s.root.Name():
		r.lapse(Rejected, s.Size())
	case r.Standing == Approved && !s.quorum(r):
		r.lapse(Pending, s.Size())
	}
}

// MadeByInit reports whether init made the key of an approver: it is in the first policy.
func (s *State) MadeByInit(a Named) bool { return s.made[keyBytes(a.Key)] }
