package keys_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/control"
)

// While a custodian is away an approved request waits, with nothing half done, and says so; then it goes on by itself.
func TestErasureWaitsForCustodian(t *testing.T) {
	w := newWorld(t)
	s := w.open(w.config())
	g := w.granter()
	a, b := g.grant(5, "ada"), g.grant(7, "bob")
	w.must(s.Fold(t.Context()))
	ask := subject("bob")
	ask.Urgent = true
	id := w.asks(ask, true)
	w.devices["c"].Down(true)
	before := w.keysOf("keys/")
	for range 3 {
		if err := s.CarryOutDue(t.Context()); !errors.Is(err, custodian.ErrUnavailable) || !strings.Contains(err.Error(), "custodian c") {
			t.Fatal(err)
		}
	}
	w.sequence()
	if r := w.standing(id); r.Standing != control.Approved || len(r.Outcomes) != 1 || r.Outcomes[0].Problem != "custodian" {
		t.Errorf("the request is %s: %+v", r.Standing, r.Outcomes)
	}
	if after := w.keysOf("keys/"); !slices.Equal(after, before) || s.Generation() != 1 || w.generation(1) != custodian.Live {
		t.Errorf("%d objects became %d, generation %d", len(before), len(after), s.Generation())
	}
	w.all(s, "live", a)
	w.all(s, "erased", b)
	w.devices["c"].Down(false)
	w.must(s.CarryOutDue(t.Context()))
	w.sequence()
	if r := w.standing(id); r.Standing != control.Done {
		t.Errorf("the request is %s: %+v", r.Standing, r.Outcomes)
	}
	w.all(s, "live", a)
	w.all(s, "erased", b)
}

// fullStore has no room for packs while it is full.
type fullStore struct {
	worm.Store
	full atomic.Bool
}

func (f *fullStore) Create(ctx context.Context, key string, data []byte, lock worm.Lock) (worm.Version, error) {
	if f.full.Load() && strings.HasPrefix(key, "keys/packs/") {
		return worm.Version{}, fmt.Errorf("create %s: %w: %w", key, syscall.ENOSPC, worm.ErrPermanent)
	}
	return f.Store.Create(ctx, key, data, lock)
}

// A disk that is full in the middle of a pack stops an erasure with a clear error, and destroys nothing; with room it goes on.
func TestErasureOnAFullDisk(t *testing.T) {
	w := newWorld(t)
	store := &fullStore{Store: w.store}
	cfg := w.config()
	cfg.Store = store
	s := w.open(cfg)
	g := w.granter()
	a, b := g.grant(5, "ada"), g.grant(7, "bob")
	w.must(s.Fold(t.Context()))
	id := w.asks(subject("bob"), true)
	store.full.Store(true)
	if done, err := s.CarryOut(t.Context()); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "pack") || len(done) > 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	if s.Generation() != 1 || w.generation(1) != custodian.Live {
		t.Errorf("generation %d", s.Generation())
	}
	w.all(s, "live", a)
	w.all(s, "erased", b) // denied
	store.full.Store(false)
	_, err := s.CarryOut(t.Context())
	w.must(err)
	w.sequence()
	w.done(id, 7)
	w.all(s, "live", a)
	w.all(s, "erased", b)
}

// A second key service beside one spool stops with an error that says why; one that reads does not.
func TestSecondService(t *testing.T) {
	w := newWorld(t)
	w.open(w.config())
	if s, err := keys.Open(t.Context(), w.config()); !errors.Is(err, keys.ErrBusy) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second service: %v, %v", s, err)
	}
	reads := w.config()
	reads.Identity = nil
	w.open(reads)
}

// Minimum retention defers a request until it is over, says until when, and then it goes on by itself.
func TestRetained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.open(w.config())
		defer s.Close()
		g := w.granter()
		msg, kept := g.message(3, "ada", "", "audit", 0)
		g.send(msg)
		a := g.grant(5, "ada")
		start := time.Now()
		id := w.asks(erase.Ask{Target: erase.Target{Subject: "ada"}}, true)
		_, err := s.CarryOut(t.Context())
		w.must(err)
		w.sequence()
		r := w.standing(id)
		if r.Standing != control.Approved || len(r.Outcomes) != 1 || r.Outcomes[0].Erased != 5 || r.Outcomes[0].Retained != 3 ||
			r.Outcomes[0].Until.Before(start.Add(183*24*time.Hour)) {
			t.Fatalf("the request is %s: %+v", r.Standing, r.Outcomes)
		}
		w.all(s, "erased", a)
		log := w.log()
		for range 30 { // nobody vouches for the time in between, so it is late
			time.Sleep(7 * 24 * time.Hour)
			w.must(s.CarryOutDue(t.Context()))
			w.must(s.EraseDue(t.Context()))
			w.sequenceIn(log)
		}
		if r := w.standing(id); r.Standing != control.Done || r.Outcomes[len(r.Outcomes)-1].Erased != 3 {
			t.Errorf("when retention is over the request is %s: %+v", r.Standing, r.Outcomes)
		}
		w.all(s, "erased", a, kept)
	})
}
