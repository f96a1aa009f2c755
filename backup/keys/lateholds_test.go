package keys_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// live counts the keys that are in the tries.
func (w *world) live(s *keys.Service) (n int) {
	w.t.Helper()
	for _, err := range s.Ring().All(w.t.Context()) {
		w.must(err)
		n++
	}
	return n
}

// released has two approvers, of whom there is one here, release a hold.
func (w *world) released(hold string) {
	w.t.Helper()
	release, err := w.desk().Release(w.t.Context(), hold)
	w.must(err)
	_, err = w.desk().Approve(w.t.Context(), release.ID)
	w.must(err)
	w.sequence()
}

// What comes too late for a request that is done is kept while a hold stands, also one that no erasure has brought into the tries
// yet, or that nobody can open; and if a reader has asked before.
func TestHoldKeepsWhatComesLate(t *testing.T) {
	for name, c := range map[string]struct{ asks, lost bool }{"": {}, "a reader asks first": {asks: true}, "it cannot be opened": {lost: true}, "neither": {true, true}} {
		w := newWorld(t)
		s := w.open(w.config())
		g := w.granter()
		g.grant(2, "bob")
		held, older := g.message(3, "bob", "", "default", 0)
		last, _ := g.message(2, "bob", "", "default", 0)
		after, hers := g.message(1, "ada", "", "default", 0)
		w.ordered(w.desk(), "bob")
		_, err := s.CarryOut(t.Context())
		w.must(err)
		w.sequence()
		sealed := w.keysOf(erase.SealedPrefix)
		hold, err := w.desk().Hold(t.Context(), erase.Target{Subject: "bob"})
		w.must(err)
		for _, key := range w.keysOf(erase.SealedPrefix) {
			if c.lost && !slices.Contains(sealed, key) {
				w.store.Remove(key, "")
			}
		}
		g.send(held)
		if c.asks {
			w.all(s, "erased", older)
		}
		g.send(after)
		w.must(s.Fold(t.Context()))
		w.all(s, "erased", older)
		w.all(s, "live", hers)
		if n := w.live(s); n != 4 {
			t.Errorf("%s: %d keys, and a hold is on 3 of 4", name, n)
		}
		w.released(hold.ID)
		g.send(last)
		w.must(s.Fold(t.Context()))
		if n := w.live(s); n != 4 {
			t.Errorf("%s: %d keys, and nothing is held any more", name, n)
		}
		w.must(s.Close())
	}
}

// What came too late under a hold does not open when the hold is released, and the tombstone has nothing left to wait for. When
// it is asked for again it goes, and the tombstone with it.
func TestLateUnderAHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.open(w.config())
		g := w.granter()
		g.grant(2, "bob")
		held, older := g.message(3, "bob", "", "default", 0)
		time.Sleep(time.Hour)
		w.ordered(w.desk(), "bob")
		_, err := s.CarryOut(t.Context())
		w.must(err)
		w.sequence()
		hold, err := w.desk().Hold(t.Context(), erase.Target{Subject: "bob"})
		w.must(err)
		g.send(held)
		w.must(s.Fold(t.Context()))
		w.released(hold.ID)
		w.pass(s, 24)
		w.all(s, "erased", older)
		if n := w.live(s); n != 3 {
			t.Fatalf("%d keys", n)
		}
		w.done(w.eraseNow(s, "bob"), 3)
		w.pass(s, 24)
		stones, _, err := s.Ring().Marks(t.Context())
		w.must(err)
		if n := w.live(s); n != 0 || len(stones) > 0 {
			t.Errorf("%d keys, %d tombstones", n, len(stones))
		}
		w.must(s.Close())
	})
}
