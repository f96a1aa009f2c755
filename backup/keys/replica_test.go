package keys_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/dirstore"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keydepot"
)

var errAway = errors.New("the replica is away")

// mirror is a replica that can be away, or takes no writes.
type mirror struct {
	*dirstore.Store
	away, readOnly atomic.Bool
}

func (w *world) mirror() *mirror {
	w.t.Helper()
	store, err := dirstore.Open(w.t.TempDir(), dirstore.Options{Create: true})
	w.must(err)
	return &mirror{Store: store}
}

func (m *mirror) Create(ctx context.Context, key string, data []byte, lock worm.Lock) (worm.Version, error) {
	if m.away.Load() || m.readOnly.Load() {
		return worm.Version{}, errAway
	}
	return m.Store.Create(ctx, key, data, lock)
}

func (m *mirror) Read(ctx context.Context, key, id string, r worm.Range) ([]byte, error) {
	if m.away.Load() {
		return nil, errAway
	}
	return m.Store.Read(ctx, key, id, r)
}

func (m *mirror) ReadLock(ctx context.Context, key, id string) (worm.Lock, error) {
	if m.away.Load() {
		return worm.Lock{}, errAway
	}
	return m.Store.ReadLock(ctx, key, id)
}

// generation asks a custodian about one.
func (w *world) generation(n uint64) custodian.State {
	w.t.Helper()
	status, err := w.devices["a"].Open(custodian.Identity{Archive: w.writer.Archive, Name: "a"}).Status(w.t.Context(), n)
	w.must(err)
	return status.State
}

// same wants everything under keys/ that lives in the store to be in the replica.
func (w *world) same(m *mirror) {
	w.t.Helper()
	for _, key := range w.keysOf("keys/") {
		want, err := w.store.Read(w.t.Context(), key, "", worm.Range{})
		w.must(err)
		if got, err := m.Store.Read(w.t.Context(), key, "", worm.Range{}); err != nil || !bytes.Equal(got, want) {
			w.t.Errorf("the replica has %d bytes of %s, %v", len(got), key, err)
		}
		if lock, err := m.Store.ReadLock(w.t.Context(), key, ""); err != nil || lock.Until.IsZero() {
			w.t.Errorf("%s is locked until %v in the replica, %v", key, lock.Until, err)
		}
	}
}

// A replica gets what the key store writes. While it is away an erasure waits, with nothing half done, and says why; a key
// store opens from it alone, and what was erased stays dead there.
func TestReplica(t *testing.T) {
	w := newLocked(t, worm.LockGovernance)
	m := w.mirror()
	cfg := w.config()
	cfg.Replica = m
	s := w.open(cfg)
	g := w.granter()
	a, b := g.grant(5, "ada"), g.grant(7, "bob")
	w.must(s.Fold(t.Context()))
	w.same(m)

	id := w.asks(subject("bob"), true)
	m.away.Store(true)
	before := w.keysOf("keys/")
	for range 2 {
		if done, err := s.CarryOut(t.Context()); !errors.Is(err, keydepot.ErrReplica) || len(done) > 0 {
			t.Fatalf("without the replica: %+v, %v", done, err)
		}
	}
	w.sequence()
	if r := w.standing(id); r.Standing != control.Approved || len(r.Outcomes) != 1 || r.Outcomes[0].Problem != "replica" {
		t.Errorf("without the replica the request is %s: %+v", r.Standing, r.Outcomes)
	}
	if after := w.keysOf("keys/"); !slices.Equal(after, before) || s.Generation() != 1 || w.generation(1) != custodian.Live {
		t.Errorf("without the replica %d objects became %d, generation %d", len(before), len(after), s.Generation())
	}
	w.all(s, "erased", b) // denied
	w.all(s, "live", a)

	m.away.Store(false)
	_, err := s.CarryOut(t.Context())
	w.must(err)
	w.sequence()
	if r := w.standing(id); r.Standing != control.Done {
		t.Errorf("with the replica the request is %s: %+v", r.Standing, r.Outcomes)
	}
	w.same(m)
	w.must(s.Close())

	alone := w.config()
	alone.Identity, alone.From = nil, ""
	copied := storetest.NewMemory() // the control log, and the key store of the replica
	for _, from := range []worm.Store{w.store, m.Store} {
		for v, err := range from.Versions(t.Context(), "", "") {
			w.must(err)
			if strings.HasPrefix(v.Key, "keys/") != (from == m.Store) {
				continue
			}
			data, err := from.Read(t.Context(), v.Key, v.ID, worm.Range{})
			w.must(err)
			_, err = copied.Create(t.Context(), v.Key, data, worm.Lock{Mode: worm.LockNone})
			w.must(err)
		}
	}
	alone.Store = copied
	s = w.open(alone)
	w.all(s, "live", a)
	w.all(s, "erased", b)
}

// A replica that goes away after the switch, or takes no record, keeps the old generation from being destroyed, and what is
// destroyed later is told.
func TestReplicaAfterSwitch(t *testing.T) {
	w := newWorld(t)
	m := w.mirror()
	cfg := keys.Stepped(w.config(), func(name string) error {
		if name == "put" {
			m.readOnly.Store(true)
		}
		return nil
	})
	g := w.granter()
	a, b := g.grant(5, "ada"), g.grant(7, "bob")
	w.must(w.open(w.config()).Fold(t.Context()))
	cfg.Replica = m
	s := w.open(keys.Together(cfg))
	w.asks(subject("bob"), true)
	if _, err := s.CarryOut(t.Context()); !errors.Is(err, keydepot.ErrReplica) {
		t.Fatal(err)
	}
	w.sequence()
	w.state(func(c *control.State) {
		if len(c.Erasures) != 1 || !slices.Contains(c.Erasures[0].Open, "replica") || c.Erasures[0].Archive != nil {
			t.Errorf("the log has %+v", c.Erasures)
		}
	})
	if s.Generation() != 2 || w.generation(1) != custodian.Live {
		t.Errorf("generation %d lives, generation 1 is %v", s.Generation(), w.generation(1))
	}
	m.readOnly.Store(false)
	_, err := s.CarryOut(t.Context())
	w.must(err)
	w.sequence()
	if w.generation(1) != custodian.Destroyed {
		t.Errorf("generation 1 is %v", w.generation(1))
	}
	w.state(func(c *control.State) {
		if !slices.ContainsFunc(c.Listed, func(l control.Listed) bool { return l.Type == control.TypeDestroyed && l.Unauthorised == nil }) {
			t.Error("the log is not told of the destruction")
		}
	})
	w.all(s, "live", a)
	w.all(s, "erased", b)
}
