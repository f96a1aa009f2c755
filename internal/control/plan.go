package control

import (
	"bytes"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/keyscope"
)

// plan decides whether an authentic entry can have an effect if it comes next, in an object of the given time, and
// returns it. Nothing is changed until the effect is called.
func (s *State) plan(l *Listed, at time.Time) (effect func(), err error) {
	if !at.IsZero() && dated(l.Type) && l.Time.After(at.Add(maxAhead)) {
		return nil, refuse(whyAhead, "%s entry is dated %s, %v ahead", l.Type, l.Time.Format(time.RFC3339), l.Time.Sub(at).Round(time.Second))
	}
	switch l.Type {
	case TypePolicy:
		return s.planPolicy(l)
	case TypeReadKey:
		return into(l, func(k *ReadKey) error { return s.checkReadKey(k) }, func(k *ReadKey) { s.ReadKeys = append(s.ReadKeys, *k) })
	case TypeHeads:
		return into(l, s.checkNamed(l.By), func(h *Heads) {
			for i := range h.Heads {
				s.noteHead(l, &h.Heads[i])
			}
		})
	case TypeLogs:
		return into(l, s.checkLogs(l.By), func(x *Logs) { s.Lists = append(s.Lists, LoggedLogs{l.Index, l.By, l.Time, *x}) })
	case TypeDivergence:
		return into(l, nil, func(d *Divergence) { s.Divergences = append(s.Divergences, *d) })
	case TypeAck:
		return into(l, (*Ack).check, func(a *Ack) { s.Acks = append(s.Acks, *a) })
	case TypeRequest:
		return s.planRequest(l)
	case TypeApprove, TypeReject:
		return s.planDecision(l, at)
	case TypeHold:
		return into(l, func(h *HoldBody) error { return h.checkHold(l.Time) }, func(h *HoldBody) {
			s.Holds = append(s.Holds, &Hold{HoldBody: *h, Entry: l.Hash, Index: l.Index, By: l.By, Time: l.Time})
		})
	case TypeRefusal:
		return into(l, s.checkRefusal(l), func(r *Refusal) { s.noteRefusal(r, l.Time) })
	}
	return s.planFact(l, at)
}

// dated reports whether what an entry says depends on its own time.
func dated(kind string) bool {
	return slices.Contains([]string{TypeRequest, TypeApprove, TypeReject, TypeHold}, kind)
}

// planFact is plan for what key services and expirers say that they did.
func (s *State) planFact(l *Listed, at time.Time) (func(), error) {
	switch l.Type {
	case TypeRoster:
		return into(l, s.checkRoster, func(*Roster) { s.rosters = append(s.rosters, l.Hash) })
	case TypeIntake:
		made := l.Time
		if at.Before(made) { // nobody announces from the future
			made = at
		}
		return into(l, func(k *IntakeKeys) error { return s.checkIntake(k, made) }, func(k *IntakeKeys) { s.addIntake(k, l.By) })
	case TypeKeyRoot:
		return into(l, nil, func(k *KeyRoot) {
			s.KeyRoots = append(s.KeyRoots, LoggedKeyRoot{*k, l.By})
			if !k.Arrived.After(at) { // it may contradict who sequences, and not run ahead of him
				s.reckoning.see(k.Arrived)
			}
			s.dead[l.By] = max(s.dead[l.By], k.Dead)
		})
	case TypeOutcome:
		return into(l, func(o *Outcome) error { return s.checkOutcome(o) }, func(o *Outcome) { s.noteOutcome(o) })
	case TypeErased:
		return into(l, s.checkErased, func(e *Erased) {
			for i := range e.Requests {
				s.noteOutcome(&e.Requests[i])
			}
			s.Erasures = append(s.Erasures, LoggedErasure{l.Hash, l.Index, l.By, l.Time, *e})
		})
	case TypeDestroyed:
		return into(l, func(d *Destroyed) error { return s.checkErasure(d.Erased) }, nil)
	case TypeSupplement:
		return into(l, s.checkSupplement, func(u *Supplement) {
			s.Supplements = append(s.Supplements, LoggedSupplement{Entry: l.Hash, Index: l.Index, By: l.By, Time: l.Time, Supplement: *u})
		})
	case TypeDrill:
		return into(l, func(d *Drill) error { return s.checkErasure(d.Erased) }, nil)
	case TypeProbe:
		return into[Probe](l, nil, nil)
	case TypeQuarantine:
		return into[Quarantine](l, nil, nil)
	case TypeDisclosure:
		return into[Disclosure](l, nil, nil)
	case TypeExpired:
		return into(l, checkExpired, func(e *Expired) { s.Expiries = append(s.Expiries, LoggedExpired{l.Hash, l.By, *e}) })
	}
	return nil, nil
}

// checkExpired refuses to let go what is locked by the clock that is believed.
func checkExpired(e *Expired) error {
	if e.From > e.To || e.Clock.Source != ClockWitnesses && e.Clock.Source != ClockTrusted {
		return refuse(whyInvalid, "expiry of commits %d to %d by the clock of %q", e.From, e.To, e.Clock.Source)
	}
	for _, o := range e.Objects {
		if o.Until.After(e.Clock.Time) {
			return refuse(whyInvalid, "object %s is locked until %s, and it was %s", o.SHA256, o.Until.Format(time.RFC3339), e.Clock.Time.Format(time.RFC3339))
		}
	}
	return nil
}

// into reads the body of an entry, checks it, and returns what to do with it.
func into[T any](l *Listed, check func(*T) error, effect func(*T)) (func(), error) {
	v := new(T)
	if err := l.Into(v); err != nil {
		return nil, refuse(whyInvalid, "%w", err)
	}
	if check != nil {
		if err := check(v); err != nil {
			return nil, err
		}
	}
	if effect == nil {
		return nil, nil
	}
	return func() { effect(v) }, nil
}

// planPolicy is for policies by the policy root alone: all before there are two approvers, then writers only.
func (s *State) planPolicy(l *Listed) (func(), error) {
	return into(l, func(p *Policy) error {
		old := s.Policy()
		if old != nil && p.Version != old.Version+1 || old == nil && p.Version != 1 {
			return refuse(whyInvalid, "policy version %d does not follow", p.Version)
		}
		if err := p.Check(&s.Trust); err != nil {
			return refuse(whyInvalid, "policy: %w", err)
		}
		if old.Dual() {
			if err := p.dayToDay(old); err != nil {
				return refuse(whyRole, "the policy root may not do this alone since there are two approvers: %w", err)
			}
		}
		return nil
	}, func(p *Policy) {
		single := true
		if n := len(s.Policies); n > 0 && s.Policy().Dual() {
			single = s.Policies[n-1].Single // what was decided together is as it was
		}
		if len(s.Policies) == 0 {
			for _, a := range p.Approvers {
				s.made[keyBytes(a.Key)] = true
			}
		}
		s.enact(p, l.Hash, single)
	})
}

// enact puts a policy in force behind the entry that is being applied, and counts again who has approved what.
func (s *State) enact(p *Policy, entry commit.Hex32, single bool) {
	s.Policies = append(s.Policies, InForce{s.Size(), entry, single, p})
	s.noteRevoked(p)
	for _, r := range s.Requests {
		if r.Standing == Approved && !s.quorum(r) {
			r.lapse(Pending, s.Size())
		}
	}
}

func (s *State) checkReadKey(k *ReadKey) error {
	if k.Year == 0 || len(k.Key) == 0 || len(k.Wraps) == 0 {
		return refuse(whyInvalid, "read key without year, key or wraps")
	}
	for _, have := range s.ReadKeys {
		if have.Year == k.Year && !bytes.Equal(have.Key, k.Key) {
			return refuse(whyInvalid, "the archive has another read key of %d", k.Year)
		}
	}
	return nil
}

// checkIntake accepts keys of weeks that have none, not too far ahead; and those of weeks to come in the place of others
// that were announced before a recovery, which may have lost their private halves, or by a key service that is none any more.
func (s *State) checkIntake(k *IntakeKeys, made time.Time) error {
	if len(k.Weeks) == 0 {
		return refuse(whyInvalid, "no intake key is announced")
	}
	last := 0
	for _, w := range k.Weeks {
		known := slices.ContainsFunc(s.Policy().Intake, func(have Intake) bool { return have.Week == w.Week }) &&
			(w.Week <= keyscope.Week(made) || s.announced[w.Week].at >= s.recovered && s.serves(s.announced[w.Week].by))
		if known || int(w.Week) <= last || len(w.Key) != intakeKeySize || w.Week > keyscope.Week(made)+maxWeeks {
			return refuse(whyInvalid, "intake key of week %d: there is one, or it is out of order, of a wrong length, or too far ahead", w.Week)
		}
		last = int(w.Week)
	}
	return nil
}

const (
	// maxWeeks is how far ahead there may be intake keys.
	maxWeeks = 53
	// intakeKeySize is the length of a public key of ML-KEM-768 with X25519.
	intakeKeySize = 1184 + 32
)

// announced is an intake key as the log got to know it.
type announced struct {
	at uint64 // size of the log
	by string // empty: the policy root
}

// serves reports whether a name is that of a key service of the policy, or of the policy root.
func (s *State) serves(by string) bool {
	return by == "" || slices.ContainsFunc(s.Policy().KeyServices, func(k Named) bool { return vkeyName(k.Key) == by })
}

func (s *State) addIntake(k *IntakeKeys, by string) {
	now := s.Policies[len(s.Policies)-1]
	next := *now.Policy
	next.Version++ // a policy made from the one before does not follow
	next.Intake = slices.Clone(next.Intake)
	for _, w := range k.Weeks {
		next.Intake = append(slices.DeleteFunc(next.Intake, func(have Intake) bool { return have.Week == w.Week }), w)
		s.announced[w.Week] = announced{s.Size(), by}
	}
	s.Policies = append(s.Policies, InForce{s.Size(), now.Entry, now.Single, &next})
}

func (h *HoldBody) checkHold(made time.Time) error {
	switch h.Kind {
	case KindTenant, KindSubject, KindSession:
		if err := h.check(made); err != nil {
			return refuse(whyInvalid, "hold: %w", err)
		}
		return nil
	}
	return refuse(whyInvalid, "holds are on a tenant, a subject or a session, not on %q", h.Kind)
}
