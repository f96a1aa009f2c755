package keys_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/ledger"
)

// state reads the control log.
func (w *world) state(use func(*control.State)) {
	w.t.Helper()
	log, err := ledger.Open(w.t.Context(), w.at(), w.trust)
	w.must(err)
	log.View(use)
}

// desk is where the policy root asks, and approves while there are no two approvers.
func (w *world) desk() *erase.Desk {
	w.t.Helper()
	d, err := erase.Open(w.t.Context(), w.at(), w.file("trust.stele"), w.file("admin/root.stele"))
	w.must(err)
	return d
}

// ordered asks for an erasure and approves it.
func (w *world) ordered(d *erase.Desk, subject string) string {
	w.t.Helper()
	filed, err := d.Request(w.t.Context(), erase.Ask{Target: erase.Target{Subject: subject}})
	w.must(err)
	_, err = d.Approve(w.t.Context(), filed.ID)
	w.must(err)
	w.sequence()
	return filed.ID
}

// standing says where a request stands.
func (w *world) standing(id string) (r control.Request) {
	w.t.Helper()
	w.state(func(s *control.State) {
		for _, have := range s.Requests {
			if have.ID.String() == id {
				r = *have
			}
		}
	})
	return r
}

// An approved request is carried out, reported, and done; one that was not approved is not.
func TestApprovedRequests(t *testing.T) {
	w := newWorld(t)
	s := w.open(w.config())
	g := w.granter()
	a, b := g.grant(5, "ada"), g.grant(7, "bob")
	w.must(s.Fold(t.Context()))
	d := w.desk()
	waits, err := d.Request(t.Context(), erase.Ask{Target: erase.Target{Subject: "ada"}})
	w.must(err)
	id, none := w.ordered(d, "bob"), w.ordered(d, "nobody")
	done, err := s.CarryOut(t.Context())
	w.must(err)
	if len(done) != 1 || done[0].Scopes != 7 || len(done[0].Parts) != 2 {
		t.Errorf("carried out: %+v", done)
	}
	again, err := s.CarryOut(t.Context()) // nothing was sequenced yet
	w.must(err)
	for _, x := range again {
		if x.Scopes != 0 {
			t.Errorf("carried out again: %+v", x)
		}
	}
	w.sequence()
	w.all(s, "live", a)
	w.all(s, "erased", b)
	if r := w.standing(id); r.Standing != control.Done || len(r.Outcomes) != 1 || r.Outcomes[0].Erased != 7 {
		t.Errorf("the request is %s: %+v", r.Standing, r.Outcomes)
	}
	if r := w.standing(none); r.Standing != control.Done || !r.Outcomes[0].Nothing {
		t.Errorf("the request for nobody is %s: %+v", r.Standing, r.Outcomes)
	}
	if r := w.standing(waits.ID); r.Standing != control.Pending {
		t.Errorf("the request that waits is %s", r.Standing)
	}
	w.state(func(c *control.State) {
		if len(c.Erasures) != 1 {
			t.Fatalf("the log has %d erasures", len(c.Erasures))
		}
		e := c.Erasures[0]
		if e.Scopes != 7 || e.Archive == nil || len(e.Open) > 0 || len(e.Custody) != 3 || e.Watermark != e.To || !e.Single || e.Transport.Before(e.Time) {
			t.Errorf("the log has %+v", e.Erased)
		}
	})
}

// What is held stays, is denied to readers, and goes when the hold is released, without another request.
func TestHolds(t *testing.T) {
	w := newWorld(t)
	s := w.open(w.config())
	g := w.granter()
	a := g.grant(5, "ada")
	d := w.desk()
	hold, err := d.Hold(t.Context(), erase.Target{Subject: "ada"})
	w.must(err)
	w.sequence()
	id := w.ordered(d, "ada")
	_, err = s.CarryOut(t.Context())
	w.must(err)
	w.sequence()
	if r := w.standing(id); r.Standing != control.Approved || len(r.Outcomes) != 1 || r.Outcomes[0].Held != 5 {
		t.Errorf("under a hold the request is %s: %+v", r.Standing, r.Outcomes)
	}
	w.all(s, "erased", a) // denied
	release, err := d.Release(t.Context(), hold.ID)
	w.must(err)
	if !release.Done {
		_, err = d.Approve(t.Context(), release.ID)
		w.must(err)
	}
	w.sequence()
	done, err := s.CarryOut(t.Context())
	w.must(err)
	w.sequence()
	if r := w.standing(id); len(done) != 1 || done[0].Scopes != 5 || r.Standing != control.Done {
		t.Errorf("after the release %+v; the request is %s: %+v", done, r.Standing, r.Outcomes)
	}
}

// A service that dies anywhere in carrying out a batch leaves it to the next, which says in the log what was done, once.
func TestRequestsSurviveCrashes(t *testing.T) {
	var steps []string
	run := func(t *testing.T, step func(string) error) {
		w := newWorld(t)
		a, b, c := w.granter().grant(5, "ada"), w.granter().grant(7, "bob"), w.granter().grant(3, "eve")
		w.ordered(w.desk(), "bob")
		w.ordered(w.desk(), "eve")
		s := w.open(keys.Stepped(w.config(), step))
		if _, err := s.CarryOut(t.Context()); err != nil && !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		w.must(s.Close())
		w.sequence()
		s = w.open(w.config())
		defer s.Close()
		for range 2 {
			_, err := s.CarryOut(t.Context())
			w.must(err)
			w.sequence()
		}
		w.all(s, "live", a)
		w.all(s, "erased", b, c)
		w.state(func(c *control.State) {
			for i, n := range []uint64{7, 3} {
				if r := c.Requests[i]; r.Standing != control.Done || len(r.Outcomes) != 1 || r.Outcomes[0].Erased != n {
					t.Errorf("request %d is %s: %+v", i, r.Standing, r.Outcomes)
				}
			}
			if len(c.Erasures) != 1 || c.Erasures[0].Scopes != 10 {
				t.Fatalf("%d erasures: %+v", len(c.Erasures), c.Erasures)
			}
			told := slices.ContainsFunc(c.Listed, func(l control.Listed) bool { return l.Type == control.TypeDestroyed && l.Unauthorised == nil })
			open := slices.ContainsFunc(c.Erasures[0].Open, func(w string) bool { return strings.HasPrefix(w, "custodian ") })
			if told != open {
				t.Errorf("what was open is %q, and that it was closed is told: %v", c.Erasures[0].Open, told)
			}
		})
	}
	run(t, func(name string) error { steps = append(steps, name); return nil })
	for i, name := range steps {
		t.Run(fmt.Sprintf("%d %s", i, name), func(t *testing.T) {
			n := 0
			run(t, func(string) error {
				if n++; n > i {
					return errCrash
				}
				return nil
			})
		})
	}
}
