package keys_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyring"
)

// asks asks for an erasure, and approves it if that is wanted.
func (w *world) asks(ask erase.Ask, approve bool) string {
	w.t.Helper()
	d := w.desk()
	filed, err := d.Request(w.t.Context(), ask)
	w.must(err)
	if approve {
		_, err = d.Approve(w.t.Context(), filed.ID)
		w.must(err)
	}
	w.sequence()
	return filed.ID
}

func subject(name string) erase.Ask { return erase.Ask{Target: erase.Target{Subject: name}} }

func (w *world) done(id string, erased uint64) {
	w.t.Helper()
	r := w.standing(id)
	if r.Standing != control.Done || len(r.Outcomes) != 1 || r.Outcomes[0].Erased != erased {
		w.t.Errorf("request %.8s is %s: %+v, want %d scopes", id, r.Standing, r.Outcomes, erased)
	}
}

// Requests wait for others, and are denied while they do; after an hour they go together, in one generation.
func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.open(w.config())
		defer s.Close()
		g := w.granter()
		a, b, c := g.grant(5, "ada"), g.grant(7, "bob"), g.grant(3, "eve")
		w.must(s.Fold(t.Context()))
		ada, bob := w.asks(subject("ada"), true), w.asks(subject("bob"), true)
		named := w.asks(erase.Ask{Target: erase.Target{Scopes: b[:2], Asked: "2 ids"}}, true)
		pending := w.asks(subject("eve"), false)
		for range 59 {
			w.must(s.CarryOutDue(t.Context()))
			time.Sleep(time.Minute)
		}
		if s.Generation() != 1 {
			t.Fatalf("generation %d before the hour is over", s.Generation())
		}
		w.all(s, "erased", a, b) // denied
		w.all(s, "live", c)
		time.Sleep(time.Minute)
		w.must(s.CarryOutDue(t.Context()))
		if s.Generation() != 2 {
			t.Fatalf("generation %d after the hour", s.Generation())
		}
		w.sequence()
		w.done(ada, 5)
		w.done(bob, 7)
		w.done(named, 2)
		if r := w.standing(named); r.Outcomes[0].Whole != 2 {
			t.Errorf("by ids: %+v", r.Outcomes)
		}
		if r := w.standing(pending); r.Standing != control.Pending {
			t.Errorf("the request that nobody approved is %s", r.Standing)
		}
		w.all(s, "erased", a, b)
		w.all(s, "live", c)
		w.state(func(x *control.State) {
			if len(x.Erasures) != 1 || x.Erasures[0].Scopes != 12 || len(x.Erasures[0].Requests) != 3 {
				t.Errorf("the log has %+v", x.Erasures)
			}
		})
	})
}

// An urgent request does not wait, and takes along what does.
func TestUrgent(t *testing.T) {
	w := newWorld(t)
	s := w.open(w.config())
	g := w.granter()
	a, b, c := g.grant(5, "ada"), g.grant(7, "bob"), g.grant(3, "eve")
	w.must(s.Fold(t.Context()))
	slow := w.asks(subject("ada"), true)
	w.must(s.CarryOutDue(t.Context()))
	if s.Generation() != 1 {
		t.Fatal("a request that is not urgent did not wait")
	}
	urgent := subject("bob")
	urgent.Urgent = true
	id := w.asks(urgent, true)
	w.must(s.CarryOutDue(t.Context()))
	w.sequence()
	w.done(slow, 5)
	w.done(id, 7)
	if s.Generation() != 2 {
		t.Errorf("generation %d", s.Generation())
	}
	w.all(s, "erased", a, b)
	w.all(s, "live", c)
}

// A batch that would drop one live key is stopped before anything is destroyed, and the key is named: whether it is chosen
// by mistake, or goes although it was not chosen.
func TestGateStopsBatch(t *testing.T) {
	for _, at := range []string{"chosen", "made"} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t)
			g := w.granter()
			a, b, c := g.grant(5, "ada"), g.grant(7, "bob"), g.grant(3, "eve")
			var live []keyring.Located
			s := w.open(keys.Spoiled(w.config(), func(when string, what *keyring.Erasure) {
				if when == at {
					what.Scopes = append(slices.Clone(what.Scopes), live...)
				}
			}))
			w.must(s.Fold(t.Context()))
			ids := []string{w.asks(subject("ada"), true), w.asks(subject("bob"), true)}
			var err error
			live, err = s.Ring().Find(t.Context(), c[:1])
			w.must(err)
			done, err := s.CarryOut(t.Context())
			if !errors.Is(err, keyring.ErrGate) || !strings.Contains(err.Error(), fmt.Sprintf("%x", c[0])) || len(done) > 0 {
				t.Fatalf("one live key more goes: %+v, %v", done, err)
			}
			t.Log(err)
			for name, m := range w.devices {
				status, err := m.Open(custodian.Identity{Archive: w.writer.Archive, Name: name}).Status(t.Context(), 1)
				if err != nil || status.State != custodian.Live {
					t.Errorf("custodian %s has generation 1 %v, %v", name, status.State, err)
				}
			}
			if s.Generation() != 1 {
				t.Errorf("generation %d", s.Generation())
			}
			w.must(s.Close())
			s = w.open(w.config())
			w.all(s, "live", c)
			_, err = s.CarryOut(t.Context())
			w.must(err)
			w.sequence()
			w.done(ids[0], 5)
			w.done(ids[1], 7)
			w.all(s, "erased", a, b)
			w.all(s, "live", c)
		})
	}
}

// An approval that is taken back before the batch is made leaves the scopes as they were, late grants too.
func TestWithdrawn(t *testing.T) {
	for _, at := range []string{"", "packs", "gate"} {
		t.Run("at "+at, func(t *testing.T) {
			w := newWorld(t)
			bob := ""
			withdraw := func() {
				_, err := w.desk().Reject(t.Context(), bob)
				w.must(err)
				w.sequence()
				bob = ""
			}
			s := w.open(keys.Stepped(w.config(), func(name string) error {
				if name == at && bob != "" {
					withdraw()
				}
				return nil
			}))
			g := w.granter()
			a, b := g.grant(5, "ada"), g.grant(7, "bob")
			late, lateIDs := g.message(2, "bob", "", "default", 0)
			ada := w.asks(subject("ada"), true)
			bob = w.asks(subject("bob"), true)
			id := bob
			w.must(s.CarryOutDue(t.Context()))
			w.all(s, "erased", b)
			if at == "" {
				withdraw()
			}
			_, err := s.CarryOut(t.Context())
			w.must(err)
			w.sequence()
			w.done(ada, 5)
			if r := w.standing(id); r.Standing != control.Rejected || len(r.Outcomes) > 0 {
				t.Errorf("what was withdrawn is %s: %+v", r.Standing, r.Outcomes)
			}
			w.all(s, "erased", a)
			g.send(late)
			w.all(s, "live", b, lateIDs)
		})
	}
}

// A request that a hold defers goes on when the hold is released, also when the keys to its selection and the tombstones are
// long gone, and by another process. Until then readers get no answer.
func TestDeferredForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.open(w.config())
		g := w.granter()
		a, b := g.grant(5, "ada"), g.grant(4, "bob")
		hold, err := w.desk().Hold(t.Context(), erase.Target{Subject: "ada"})
		w.must(err)
		w.sequence()
		ada := w.asks(subject("ada"), true)
		ids := w.asks(erase.Ask{Target: erase.Target{Scopes: [][16]byte{a[0], b[0]}, Asked: "2 ids"}}, true)
		_, err = s.CarryOut(t.Context())
		w.must(err)
		w.sequence()
		if r := w.standing(ids); r.Standing != control.Approved || r.Outcomes[0].Erased != 1 || r.Outcomes[0].Held != 1 {
			t.Errorf("by ids, with one on hold: %s %+v", r.Standing, r.Outcomes)
		}
		w.must(s.Close())
		for range 8 {
			time.Sleep(7 * 24 * time.Hour)
			s = w.open(w.config())
			w.must(s.EraseDue(t.Context()))
			w.sequence()
			w.must(s.Close())
		}
		s = w.open(w.config())
		defer s.Close()
		w.all(s, "erased", a, b[:1])
		w.all(s, "live", b[1:])
		release, err := w.desk().Release(t.Context(), hold.ID)
		w.must(err)
		if !release.Done {
			_, err = w.desk().Approve(t.Context(), release.ID)
			w.must(err)
		}
		w.sequence()
		w.must(s.CarryOutDue(t.Context()))
		w.sequence()
		for _, id := range []string{ada, ids} {
			if r := w.standing(id); r.Standing != control.Done {
				t.Errorf("after the release the request is %s: %+v", r.Standing, r.Outcomes)
			}
		}
		if left, err := s.Ring().Deferred(t.Context()); err != nil || len(left) > 0 {
			t.Errorf("left of requests that are done: %+v, %v", left, err)
		}
		w.all(s, "live", b[1:])
	})
}
