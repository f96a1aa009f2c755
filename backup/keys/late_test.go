package keys_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/internal/control"
)

// supplements are what the control log says came too late.
func (w *world) supplements() (out []control.LoggedSupplement) {
	w.t.Helper()
	w.state(func(s *control.State) { out = slices.Clone(s.Supplements) })
	return out
}

// A spool that is held back for three days across an erasure: what it has of before the request is dead on arrival, and
// what is younger lives. The control log counts it for the request, also if the service dies before it could say so, and once.
func TestLateSpool(t *testing.T) {
	for _, crash := range []string{"", "put"} {
		t.Run("crash="+crash, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				step := ""
				s := w.open(keys.Stepped(w.config(), func(name string) error {
					if name == step {
						return errCrash
					}
					return nil
				}))
				g := w.granter()
				known := g.grant(4, "bob")
				held, older := g.message(5, "bob", "", "default", 0)
				other, hers := g.message(2, "ada", "", "default", 0)
				time.Sleep(time.Hour)
				id := w.ordered(w.desk(), "bob")
				_, err := s.CarryOut(t.Context())
				w.must(err)
				w.sequence()
				time.Sleep(time.Hour)
				after, younger := g.message(3, "bob", "", "default", 0)
				time.Sleep(3 * 24 * time.Hour)
				for _, msg := range [][]byte{held, other, after} {
					g.send(msg)
				}
				step = crash
				if err := s.Fold(t.Context()); err != nil && !errors.Is(err, errCrash) {
					t.Fatal(err)
				}
				w.must(s.Close())
				for range 2 { // whoever comes next says it, and nobody says it again
					s = w.open(w.config())
					w.must(s.Fold(t.Context()))
					w.must(s.Close())
				}
				w.sequence()
				s = w.open(w.config())
				w.must(s.Fold(t.Context()))
				w.sequence()
				w.all(s, "live", hers, younger)
				w.all(s, "erased", known, older)
				said := w.supplements()
				if len(said) != 1 || said[0].Request.String() != id || said[0].Buried != 5 || said[0].Dead != 0 {
					t.Errorf("the control log says %+v", said)
				}
				q, err := w.desk().Find(t.Context(), id)
				w.must(err)
				if q.Late != 5 || q.Erased != 4 || q.Standing != string(control.Done) {
					t.Errorf("the request: %+v", q)
				}
				w.must(s.Close())
			})
		})
	}
}

// Scopes of a person whom two requests name, and of a tenant and a subject, count for each of the requests.
func TestLateForEachRequest(t *testing.T) {
	w := newWorld(t)
	s := w.open(w.config())
	g := w.granter()
	held, _ := g.message(5, "bob", "", "default", 0)
	first := w.ordered(w.desk(), "bob")
	between, _ := g.message(2, "bob", "", "default", 0)
	second := w.ordered(w.desk(), "bob")
	_, err := s.CarryOut(t.Context())
	w.must(err)
	g.send(held)
	g.send(between)
	w.must(s.Fold(t.Context()))
	w.sequence()
	got := map[string]uint64{}
	for _, u := range w.supplements() {
		got[u.Request.String()] += u.Buried
	}
	if want := map[string]uint64{first: 5, second: 7}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// What comes after its intake key was erased belongs to nobody any more, and is counted all the same.
func TestDeadOnArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.open(w.config())
		g := w.granter()
		kept := g.grant(3, "ada")
		held, dead := g.message(4, "bob", "", "default", 0)
		w.must(s.Fold(t.Context()))
		w.pass(s, 25)
		g.send(held)
		w.must(s.Fold(t.Context()))
		w.sequence()
		w.all(s, "live", kept)
		w.all(s, "unknown", dead)
		said := w.supplements()
		if len(said) != 1 || said[0].Request != nil || said[0].Dead != 4 || !slices.Equal(said[0].Weeks, []uint16{g.intake.Week}) {
			t.Errorf("the control log says %+v", said)
		}
		w.must(s.Close())
	})
}
