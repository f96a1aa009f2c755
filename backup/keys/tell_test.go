package keys_test

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/ledger"
)

// emptied takes away all that waits in the inbox, and returns how much that was.
func (w *world) emptied() (n int) {
	w.t.Helper()
	log := w.log()
	for v, err := range w.store.Versions(w.t.Context(), ledger.InboxPrefix, "") {
		w.must(err)
		sum, err := hex.DecodeString(strings.TrimPrefix(v.Key, ledger.InboxPrefix))
		w.must(err)
		has := false
		log.View(func(s *control.State) { has = s.HasHash(commit.Hex32(sum)) })
		if !has {
			w.store.Remove(v.Key, v.ID)
			n++
		}
	}
	return n
}

// What the key service says of requests, erasures, intake keys and late grants is said again where somebody took it out of
// the inbox, by itself and by whoever follows it, and what lies there is not doubled.
func TestSaidAgain(t *testing.T) {
	for _, follower := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			s := w.open(w.config())
			g := w.granter()
			g.grant(5, "ada")
			g.grant(3, "bob")
			w.must(s.Fold(t.Context()))
			w.sequence()
			d := w.desk()
			gone, none := w.ordered(d, "ada"), w.ordered(d, "nobody")
			_, err := s.CarryOut(t.Context())
			w.must(err)
			g.grant(2, "ada") // too late
			w.must(s.Fold(t.Context()))
			if follower {
				w.must(s.Close())
				s = w.open(w.config())
				w.must(s.Fold(t.Context()))
				_, err = s.CarryOut(t.Context())
				w.must(err)
			}
			if n := w.emptied(); n < 4 {
				t.Fatalf("%d entries waited, want what is said of an erasure, of a request, of a root record and of late grants", n)
			}
			time.Sleep(keys.RepeatEvery)
			w.must(s.Fold(t.Context()))
			said := w.keysOf(ledger.InboxPrefix)
			time.Sleep(keys.RepeatEvery)
			w.must(s.Fold(t.Context()))
			if again := w.keysOf(ledger.InboxPrefix); !slices.Equal(said, again) {
				t.Errorf("what lay there was said again: %d entries, then %d", len(said), len(again))
			}
			w.sequence()
			if r := w.standing(gone); r.Standing != control.Done || r.Outcomes[0].Erased != 5 {
				t.Errorf("the request that was carried out is %s: %+v", r.Standing, r.Outcomes)
			}
			if r := w.standing(none); r.Standing != control.Done {
				t.Errorf("the request about nobody is %s: %+v", r.Standing, r.Outcomes)
			}
			if u := w.supplements(); len(u) != 1 || u[0].Buried != 2 {
				t.Errorf("late grants: %+v", u)
			}
		})
	}
}

// Intake keys that were announced and taken out of the inbox are announced again.
func TestIntakeSaidAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.open(w.config())
		last := func() (week uint16) {
			w.state(func(c *control.State) {
				for _, in := range c.Policy().Intake {
					week = max(week, in.Week)
				}
			})
			return week
		}
		before := last()
		time.Sleep(8 * 7 * 24 * time.Hour)
		w.must(s.Fold(t.Context()))
		if w.emptied() == 0 {
			t.Fatal("nothing was announced")
		}
		time.Sleep(keys.RepeatEvery)
		w.must(s.Fold(t.Context()))
		w.sequence()
		if now := last(); now <= before {
			t.Errorf("the last week with an intake key is %d, as before", now)
		}
	})
}

// Who may write to the inbox, and delete from it, cannot keep an entry out with other bytes of its name: above it, below it, or
// in its place.
func TestCoveredEntry(t *testing.T) {
	cover := map[string]func(w *world, key string, entry []byte){
		"above":   func(w *world, key string, _ []byte) { w.store.Overwrite(key, []byte("other")) },
		"instead": func(w *world, key string, _ []byte) { w.store.Remove(key, ""); w.store.Overwrite(key, []byte("other")) },
		"below": func(w *world, key string, entry []byte) {
			w.store.Remove(key, "")
			w.store.Overwrite(key, []byte("other"))
			w.store.Mark(key)
			w.store.Overwrite(key, entry)
		},
	}
	for name, do := range cover {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				s := w.open(w.config())
				w.granter().grant(5, "ada")
				w.must(s.Fold(t.Context()))
				id := w.ordered(w.desk(), "ada")
				_, err := s.CarryOut(t.Context())
				w.must(err)
				for _, key := range w.keysOf(ledger.InboxPrefix) {
					entry, err := w.store.Read(t.Context(), key, "", worm.Range{})
					w.must(err)
					do(w, key, entry)
				}
				time.Sleep(keys.RepeatEvery)
				w.must(s.Fold(t.Context()))
				w.sequence()
				if r := w.standing(id); r.Standing != control.Done {
					t.Errorf("the request is %s: %+v", r.Standing, r.Outcomes)
				}
			})
		})
	}
}
