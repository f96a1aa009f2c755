package keys_test

import (
	"strings"
	"testing"

	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/internal/control"
)

// TestLateHold places a hold while the erasure that it forbids is being made: up to the moment in which the new generation is
// written, it counts.
func TestLateHold(t *testing.T) {
	for _, at := range []string{"denied", "packs", "list", "custodians", "gate"} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t)
			placed := false
			s := w.open(keys.Stepped(w.config(), func(name string) error {
				if name == at && !placed {
					placed = true
					_, err := w.desk().Hold(t.Context(), erase.Target{Subject: "ada"})
					w.must(err)
				}
				return nil
			}))
			w.granter().grant(5, "ada")
			id := w.ordered(w.desk(), "ada")
			_, err := s.CarryOut(t.Context())
			w.must(err)
			w.sequence()
			if r := w.standing(id); !placed || r.Standing != control.Approved || r.Outcomes[0].Held != 5 || r.Outcomes[0].Erased != 0 {
				t.Errorf("the request is %s: %+v", r.Standing, r.Outcomes)
			}
		})
	}
}

// TestHoldThatCannotBeOpened holds everything, whoever took its selection away, until it is released.
func TestHoldThatCannotBeOpened(t *testing.T) {
	w := newWorld(t)
	s := w.open(w.config())
	g := w.granter()
	g.grant(5, "ada")
	hold, err := w.desk().Hold(t.Context(), erase.Target{Subject: "bob"})
	w.must(err)
	for _, key := range w.keysOf(erase.SealedPrefix) {
		for v, err := range w.store.Versions(t.Context(), key, "") {
			w.must(err)
			w.store.Remove(v.Key, v.ID)
		}
	}
	id := w.ordered(w.desk(), "ada")
	if done, err := s.CarryOut(t.Context()); err == nil || !strings.Contains(err.Error(), "holds everything") {
		t.Fatalf("beside a hold that nobody can read: %+v %v", done, err)
	}
	release, err := w.desk().Release(t.Context(), hold.ID)
	w.must(err)
	_, err = w.desk().Approve(t.Context(), release.ID)
	w.must(err)
	_, err = s.CarryOut(t.Context())
	w.must(err)
	w.sequence()
	if r := w.standing(id); r.Standing != control.Done || r.Outcomes[0].Erased != 5 {
		t.Errorf("after the release the request is %s: %+v", r.Standing, r.Outcomes)
	}
}
