package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/keytrie"
)

// marks are sorted, once all are there: 16 bytes for each key that was erased.
type marks [][16]byte

func (m marks) has(mark [16]byte) bool {
	_, ok := slices.BinarySearchFunc(m, mark, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	return ok
}

func (m marks) sort() {
	slices.SortFunc(m, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
}

// lostKeys is what the lists of approved erasures and the tries say of keys that are gone. They are read when the first
// is missed.
type lostKeys struct {
	done    bool
	allowed []listed          // whose lists count
	erased  marks             // by approved requests
	policy  map[string]*marks // of what went without one, by the class that it must have
	buried  marks
	weeks   map[uint16]time.Time // whose intake keys were erased, and when
}

// listed is an erasure that somebody approved, or the policy makes.
type listed struct {
	keyroot.Erased
	requested bool
	classes   string    // of which policy lets keys go without a request, by this cause, then: see classesOf
	over      time.Time // of the record, as far as others vouch for it; zero if nobody does
}

// byPolicy reports whether a key of a class went by a policy that lets go keys of that class.
func (l *lostKeys) byPolicy(class string, mark [16]byte) bool {
	for classes, m := range l.policy {
		if slices.Contains(strings.Split(classes, "\x00"), class) && m.has(mark) {
			return true
		}
	}
	return false
}

// past reports whether a day was over.
func (l *listed) past(day uint16) bool { return !l.over.IsZero() && day < keyscope.Day(l.over) }

// outlived reports whether the intake key of a week was old enough to go.
func (l *listed) outlived(week uint16) bool {
	return l.over.After(keyscope.WeekStart(week + 1).Add(control.Horizon))
}

// dead reports whether the grant of a scope can have come after its intake key was erased: it was in the transport before the
// commit, and who erases an intake key has folded what is there.
func (l *lostKeys) dead(s *seenScope) bool {
	erased, ok := l.weeks[keyscope.Week(time.Unix(0, s.start))]
	return ok && s.c.Time.Add(pendingFor).After(erased)
}

// erasures checks that somebody approved each erasure.
func (k *keyCheck) erasures(ctx context.Context) error {
	for _, e := range k.depot.Erasures() {
		ok, requested := k.allowed(&e)
		if other := k.otherwise(&e); other != nil {
			k.v.r.fault(erasure, fmt.Sprintf("%s%020d", keydepot.Roots, e.N), "control entry %d says what generation %d left out, and for which requests, and the root record says something else",
				other.Index, e.Generation)
		}
		if e.Scopes > 0 && !ok {
			k.v.r.fault(erasure, fmt.Sprintf("%s%020d", keydepot.Roots, e.N), "generation %d left out the keys of %s, and the control log holds no approved request for it",
				e.Generation, number(e.Scopes, "scope"))
			continue
		}
		k.lost.allowed = append(k.lost.allowed, listed{e.Erased, requested, k.classesOf(&e), k.over(e.Time)})
	}
	k.v.a.control.View(func(s *control.State) {
		for _, r := range s.Requests {
			if r.What == control.WhatErase && r.WasApproved() && r.Time.After(k.asked) {
				switch r.Select.Kind {
				case control.KindTenant, control.KindSubject, control.KindSession:
					k.asked = r.Time
				}
			}
		}
	})
	return nil
}

// auditFor is how long after an erasure the packs of the record before it are still there: a pack is locked for thirty days, and
// again before half of that has passed, as long as a record names it.
const auditFor = 15 * 24 * time.Hour

// audit checks that the tries after each erasure are those before it without what its list says, where both are still
// there. The list of an erasure says what was left out; this says that nothing else was. Nobody needs a key for it.
func (k *keyCheck) audit(ctx context.Context) error {
	for _, e := range k.depot.Erasures() {
		object := fmt.Sprintf("%s%020d", keydepot.Roots, e.N)
		err := k.auditOne(ctx, &e)
		var node *keytrie.NodeError
		gone := errors.Is(err, fs.ErrNotExist)
		switch {
		case err == nil:
			k.counts.Audited++
		case ctx.Err() != nil:
			return ctx.Err()
		case gone && !errors.Is(err, keyring.ErrPublic) && k.v.opt.Now.Sub(e.Time) > auditFor: // nothing holds these packs any more
		case gone || errors.Is(err, keyring.ErrPublic) || errors.As(err, &node):
			k.v.r.fault(erasure, object, "generation %d does not follow from the one before by the list of what it left out: %v", e.Generation, err)
		default:
			return err
		}
	}
	return nil
}

func (k *keyCheck) auditOne(ctx context.Context, e *keydepot.Erasure) error {
	before, err := k.depot.Record(ctx, e.Before, e.Prev)
	if err != nil {
		return err
	}
	after, err := k.depot.Record(ctx, e.N, e.Hash)
	if err != nil {
		return err
	}
	list, err := k.depot.List(ctx, &e.Erased)
	switch {
	case errors.Is(err, fs.ErrNotExist): // lists are kept like commits
		return fmt.Errorf("%w: %w", keyring.ErrPublic, err)
	case err != nil:
		return err
	}
	if list.Root() != e.Root || list.Paths() != e.Removed || list.Scopes() != e.Scopes || uint64(len(list.Spent)) != e.Spent {
		return fmt.Errorf("%w: the list is not what the root record says of it", keyring.ErrPublic)
	}
	return keyring.AuditErasure(ctx, before.Public(k.depot.Source(before.Packs)), after.Public(k.depot.Source(after.Packs)), list)
}

// read reads the lists, one after the other, and keeps a mark of each key.
func (l *lostKeys) read(ctx context.Context, k *keyCheck) error {
	if l.done {
		return nil
	}
	l.done, l.weeks, l.policy = true, map[uint16]time.Time{}, map[string]*marks{}
	for i := range l.allowed {
		e := &l.allowed[i]
		list, err := k.depot.List(ctx, &e.Erased)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && list.Root() != e.Root {
			err = fmt.Errorf("its paths are not those of the root record")
		}
		if err != nil {
			k.v.r.fault(erasure, keydepot.Lists+e.List.String(), "the list of what an erasure left out: %v", err)
			continue
		}
		for _, paths := range list.Removed {
			for _, path := range paths {
				l.take(path, e)
			}
		}
	}
	err := k.ring.Buried(ctx, func(id, check [16]byte) { l.buried = append(l.buried, keyMark(id, check)) })
	l.erased.sort()
	for _, m := range l.policy {
		m.sort()
	}
	l.buried.sort()
	return k.unread(err)
}

func (l *lostKeys) take(path []byte, e *listed) {
	if keyring.IsScope(path) {
		id := [16]byte(path[3:])
		mark := keyMark(id, [16]byte(path[19:]))
		switch day, expires := keyring.ExpiryDay(path); {
		case e.requested:
			l.erased = append(l.erased, mark)
		case e.Cause != string(control.CauseTTL) || expires && e.past(day) && day >= keyscope.ScopeDay(id):
			if l.policy[e.classes] == nil {
				l.policy[e.classes] = new(marks)
			}
			*l.policy[e.classes] = append(*l.policy[e.classes], mark)
		}
	} else if id, check, ok := keyring.SpentScope(path); ok {
		l.buried = append(l.buried, keyMark(id, check))
	} else if week, ok := keyring.IntakeWeek(path); ok && e.outlived(week) { // before, it would bury what is still to come
		if at, known := l.weeks[week]; !known || e.over.Before(at) {
			l.weeks[week] = e.over
		}
	}
}
