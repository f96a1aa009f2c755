package control

import (
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
)

const (
	// refusalsADay bounds the refusals of one author that are logged in a day.
	refusalsADay = 16
	// forgeriesADay bounds those of entries that nobody here signed.
	forgeriesADay = 4
	// patience is how long an entry may wait in the inbox for the one that it names.
	patience = 10 * time.Minute
	// MaxBatch is how many requests one erasure carries out at most.
	MaxBatch = 1000
)

// checkOutcome accepts what is said about a request that is approved and for the key service to carry out.
func (s *State) checkOutcome(o *Outcome) error {
	r := s.Request(o.Request)
	switch {
	case r == nil:
		return refuse(whyUnknown, "no request %v is in the log before this", o.Request)
	case r.What != WhatErase && (r.What != WhatRecovery || *o != Outcome{Request: o.Request}):
		return refuse(whyInvalid, "request %v is for %q", o.Request, r.What)
	case r.Standing != Approved:
		return refuse(whyClosed, "request %v is %s, not approved", o.Request, r.Standing)
	}
	return nil
}

func (s *State) noteOutcome(o *Outcome) {
	r := s.Request(o.Request)
	r.Outcomes = append(r.Outcomes, *o)
	if r.Standing == Done {
		return // another key service found nothing more, and was heard first
	}
	if o.Complete() && (o.Erased > 0 || o.Nothing || r.What == WhatRecovery) {
		r.Standing, r.done = Done, s.Size()
	}
	if r.What == WhatRecovery && r.Standing == Done {
		s.recovered = s.Size()
		for i := range s.Supplements {
			u := &s.Supplements[i]
			u.Undone = u.Undone || u.Index < r.Effect && u.Root.N > r.Recovery.N
		}
	}
}

// checkErased accepts an erasure that was decided: by requests that are approved, or by the policy in force.
func (s *State) checkErased(e *Erased) error {
	if e.To != e.From+1 || e.From == 0 || e.Root.N <= e.Before.N || e.Control > s.Size() {
		return refuse(whyInvalid, "erasure from generation %d to %d, record %d to %d", e.From, e.To, e.Before.N, e.Root.N)
	}
	if slices.ContainsFunc(s.Erasures, func(x LoggedErasure) bool { return x.Root == e.Root }) {
		return refuse(whyTwice, "the log knows of the erasure in record %d already", e.Root.N)
	}
	single := false
	switch {
	case (e.Cause == CauseRequest) != (len(e.Requests) > 0):
		return refuse(whyInvalid, "erasure by %q with %d requests", e.Cause, len(e.Requests))
	case e.Cause == CauseRequest:
		var err error
		if single, err = s.checkBatch(e); err != nil {
			return err
		}
	default:
		p := s.Policy()
		if p == nil || p.Erasure == nil || e.Cause == CauseTTL && !p.Erasure.TTL || e.Cause == CauseSession && len(p.Erasure.Session) == 0 ||
			e.Cause != CauseTTL && e.Cause != CauseSession {
			return refuse(whyRole, "no policy lets anything be erased by %q", e.Cause)
		}
		single = s.Single()
	}
	if e.Single != single {
		return refuse(whyInvalid, "erasure says single control %v, which is %v", e.Single, single)
	}
	return nil
}

// checkSupplement accepts what is said, for the first time, of grants that one record counts: those under the tombstone
// of a request, or those that were dead.
func (s *State) checkSupplement(u *Supplement) error {
	var r *Request
	if u.Request != nil {
		if r = s.Request(*u.Request); r == nil {
			return refuse(whyUnknown, "it supplements request %v, which is not in the log before this", *u.Request)
		}
	}
	late := r != nil && r.What == WhatErase && u.Buried > 0 && u.Dead == 0 && len(u.Weeks) == 0
	if dead := r == nil && u.Buried == 0 && u.Dead > 0; !late && !dead {
		return refuse(whyInvalid, "a supplement counts what came too late for one request, or what was dead: %d buried, %d dead", u.Buried, u.Dead)
	}
	for i := range s.Supplements {
		have := &s.Supplements[i]
		if have.Root == u.Root && (have.Request == nil) == (r == nil) && (r == nil || *have.Request == r.ID) {
			return refuse(whyTwice, "record %d is supplemented already", u.Root.N)
		}
	}
	return nil
}

// checkBatch accepts requests that were approved and not done when the erasure was judged, also if an approval was taken back
// since, or another key service has called one done.
func (s *State) checkBatch(e *Erased) (single bool, err error) {
	if len(e.Requests) > MaxBatch {
		return false, refuse(whyInvalid, "a batch of %d requests", len(e.Requests))
	}
	seen := map[commit.Hex32]bool{}
	for i := range e.Requests {
		o := &e.Requests[i]
		r := s.Request(o.Request)
		switch {
		case r == nil:
			return false, refuse(whyUnknown, "no request %v is in the log before this", o.Request)
		case r.What != WhatErase || seen[o.Request]:
			return false, refuse(whyInvalid, "request %v is for %q, or is there twice", o.Request, r.What)
		}
		alone, approved := r.ApprovedAt(e.Control)
		if !approved {
			return false, refuse(whyClosed, "request %v was not approved, or was done, when the log had %d entries", o.Request, e.Control)
		}
		seen[o.Request] = true
		single = single || alone
	}
	return single, nil
}

func (s *State) checkErasure(entry commit.Hex32) error {
	for i := range s.Erasures {
		if s.Erasures[i].Entry == entry {
			return nil
		}
	}
	return refuse(whyUnknown, "no erasure %v is in the log before this", entry)
}

// Refuse makes the note that an entry of the inbox is not taken. There is none for entries that would be, for types that
// need no decision, for what may only be early, for what was refused already, and beyond a number a day: nobody can fill
// the log with what is refused.
func (s *State) Refuse(file string, now time.Time) (r Refusal, ok bool) {
	e, err := peek(file)
	if err != nil || s.Has(file) || !decisive(e.Type) {
		return r, false
	}
	r = Refusal{Entry: commit.Hash([]byte(file)), Type: e.Type}
	if _, err = s.Check(file, now); err == nil || s.refused[r.Entry] {
		return r, false
	}
	if r.Why = whyOf(err); r.Why == whyUnknown && now.Before(e.Time.Add(patience)) {
		return r, false
	}
	if s.signedBy(file, e) {
		r.By = e.By
	} else if r.Why == whyRole {
		r.Why = whyAltered // a stranger under a name without rights says nothing about the name
	}
	return r, s.room(&r, now)
}

// decisive reports whether an entry that is refused is worth a note.
func decisive(kind string) bool { return dated(kind) || kind == TypePolicy || kind == TypeReadKey }

func (s *State) room(r *Refusal, day time.Time) bool {
	if r.By == "" {
		return s.refusals[refusalKey(r, day)] < forgeriesADay
	}
	return s.refusals[refusalKey(r, day)] < refusalsADay
}

func refusalKey(r *Refusal, day time.Time) string {
	return day.UTC().Format(time.DateOnly) + " " + r.By
}

func (s *State) checkRefusal(l *Listed) func(*Refusal) error {
	return func(r *Refusal) error {
		if s.refused[r.Entry] || !s.room(r, l.Time) {
			return refuse(whyTwice, "it was refused already, or there are too many refusals that day")
		}
		return nil
	}
}

func (s *State) noteRefusal(r *Refusal, day time.Time) {
	s.refused[r.Entry] = true
	s.refusals[refusalKey(r, day)]++
}
