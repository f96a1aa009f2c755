package keys_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/ledger"
)

// gone removes objects for good, as a store without locks lets its owner, and returns a way to put them back.
func (w *world) gone(names ...string) (back func()) {
	w.t.Helper()
	kept := map[string][]byte{}
	for _, key := range names {
		for v, err := range w.store.Versions(w.t.Context(), key, "") {
			w.must(err)
			if v.Key == key {
				kept[key] = mustRead(w, key)
				w.store.Remove(v.Key, v.ID)
			}
		}
	}
	if len(kept) != len(names) {
		w.t.Fatalf("of %v there were %d", names, len(kept))
	}
	return func() {
		for key, data := range kept {
			_, err := w.store.Create(w.t.Context(), key, data, worm.Lock{Mode: worm.LockNone})
			w.must(err)
		}
	}
}

func (w *world) newest(prefix string) string {
	all := w.keysOf(prefix)
	return all[len(all)-1]
}

// truncated takes what was folded out of the transport, as a key service does.
func (w *world) truncated() {
	w.t.Helper()
	lanes, err := filepath.Glob(w.path("spool/lanes/*"))
	w.must(err)
	for _, lane := range lanes {
		w.must(os.RemoveAll(lane))
	}
}

// told makes the control log know of the newest root record, as it does once an hour.
func (w *world) told() {
	w.t.Helper()
	s := w.open(w.config())
	w.must(s.Fold(w.t.Context()))
	w.must(s.Close())
	w.sequence()
}

// recoverable is a key store whose newest record, known to the control log, is lost: ada and bob are in older ones, cleo is in
// that one. bob was erased by a request that is in all of them.
func recoverable(t *testing.T) (w *world, ada, bob, cleo [][16]byte) {
	w = newWorld(t)
	s := w.open(w.config())
	g := w.granter()
	ada, bob = g.grant(5, "ada"), g.grant(5, "bob")
	w.must(s.Fold(t.Context()))
	w.ordered(w.desk(), "bob")
	_, err := s.CarryOut(t.Context())
	w.must(err)
	w.sequence()
	cleo = g.grant(4, "cleo")
	w.must(s.Fold(t.Context()))
	w.must(s.Close())
	w.told()
	return w, ada, bob, cleo
}

// TestInspectAsksCustodians: who looks for damage hears which custodians are away, and whether the others are enough.
func TestInspectAsksCustodians(t *testing.T) {
	w := newWorld(t)
	w.must(w.open(w.config()).Close())
	for _, test := range []struct {
		down   string
		away   []string
		closed bool
	}{{"", nil, false}, {"a", []string{"a"}, false}, {"ab", []string{"a", "b"}, true}} {
		for name, m := range w.devices {
			m.Down(strings.Contains(test.down, name))
		}
		d, err := keys.Inspect(t.Context(), w.config())
		w.must(err)
		if !d.Whole() || d.Closed != test.closed || (d.Away == nil) != (test.away == nil) {
			t.Errorf("without %q: %+v", test.down, d)
		}
		for _, name := range test.away {
			if !strings.Contains(d.Away.Error(), "custodian "+name) {
				t.Errorf("without %q: %v", test.down, d.Away)
			}
		}
	}
	cfg := w.config()
	cfg.Custodians = keys.Custodians{}
	if d, err := keys.Inspect(t.Context(), cfg); err != nil || d.Away != nil || d.Closed {
		t.Errorf("none is asked: %+v, %v", d, err)
	}
}

// TestRecover: the newest root record is lost. The key service stops, two approvers let the one before stand in, and what was
// erased stays so.
func TestRecover(t *testing.T) {
	w, ada, bob, cleo := recoverable(t)
	if d, err := keys.Inspect(t.Context(), w.config()); err != nil || !d.Whole() {
		t.Fatalf("nothing is lost: %+v, %v", d, err)
	}
	lost := w.newest(keydepot.Roots)
	back := w.gone(lost)
	if _, err := keys.Open(t.Context(), w.config()); err == nil || !strings.Contains(err.Error(), "that is gone") {
		t.Fatalf("a key service goes on: %v", err)
	}
	d, err := keys.Inspect(t.Context(), w.config())
	w.must(err)
	if d.Whole() || len(d.Lost) != 1 || d.StandIn.N != d.Lost[0].N-1 || d.StandIn.Generation != 2 || d.Missing != 4 || d.Older != nil {
		t.Fatalf("%+v", d)
	}
	if _, err := keys.Recover(t.Context(), w.config()); err == nil || !strings.Contains(err.Error(), "no approved request") {
		t.Fatalf("nobody approved: %v", err)
	}
	desk := w.desk()
	filed, err := desk.Recover(t.Context(), asks(d))
	w.must(err)
	if _, err := keys.Recover(t.Context(), w.config()); err == nil {
		t.Fatal("asked for is not approved")
	}
	_, err = desk.Approve(t.Context(), filed.ID)
	w.must(err)
	back() // a copy turned up: nothing is lost, so nothing stands in for it
	if _, err := keys.Recover(t.Context(), w.config()); err == nil || !strings.Contains(err.Error(), "nothing is missing") {
		t.Fatalf("nothing is lost: %v", err)
	}
	w.gone(lost)
	w.truncated()
	got, err := keys.Recover(t.Context(), w.config())
	w.must(err)
	if got.Missing != 4 {
		t.Errorf("%+v", got)
	}
	w.sequence()
	if r := w.standing(filed.ID); r.Standing != control.Done {
		t.Errorf("the request is %s", r.Standing)
	}
	s := w.open(w.config())
	w.all(s, "live", ada)
	w.all(s, "erased", bob)
	w.all(s, "unknown", cleo) // their grants were removed: verification misses them, scope by scope
	again := w.granter().grant(3, "cleo")
	w.must(s.Fold(t.Context()))
	w.all(s, "live", again)
	if _, err := keys.Recover(t.Context(), keys.Together(w.config())); err == nil {
		t.Error("a second recovery without another loss")
	}
}

// TestRecoverPack: a pack of the newest record is lost, and no copy of it is left.
func TestRecoverPack(t *testing.T) {
	w, ada, _, cleo := recoverable(t)
	w.gone(w.newestPack())
	d, err := keys.Inspect(t.Context(), w.config())
	w.must(err)
	if len(d.Packs) != 1 || len(d.Lost) != 0 || d.StandIn.Generation != 2 || d.Missing != 4 {
		t.Fatalf("%+v", d)
	}
	w.recover(d)
	s := w.open(w.config())
	w.all(s, "live", ada, cleo) // the transport still had them
}

func (w *world) log() *ledger.Log {
	w.t.Helper()
	log, err := ledger.Open(w.t.Context(), w.at(), w.trust)
	w.must(err)
	return log
}

func (w *world) depot() *keydepot.Depot {
	w.t.Helper()
	log := w.log()
	d := keydepot.Open(keydepot.Config{Store: w.store, Archive: w.trust.Archive, Keys: keydepot.Keepers(log)})
	w.must(d.Refresh(w.t.Context()))
	return d
}

// newestPack is a pack that only the newest record names.
func (w *world) newestPack() string {
	last, _ := w.depot().State().Last()
	return keydepot.Packs + last.Packs[len(last.Packs)-1].SHA256.String()
}

func (w *world) recover(d *keys.Damage) {
	w.t.Helper()
	desk := w.desk()
	filed, err := desk.Recover(w.t.Context(), asks(d))
	w.must(err)
	_, err = desk.Approve(w.t.Context(), filed.ID)
	w.must(err)
	_, err = keys.Recover(w.t.Context(), w.config())
	w.must(err)
	w.sequence()
}

// asks is a request for what was lost.
func asks(d *keys.Damage) erase.Recovery {
	r := erase.Recovery{Record: erase.Record{N: d.StandIn.N, Hash: d.StandIn.Hash}, Generation: d.StandIn.Generation, Missing: d.Missing}
	for _, l := range d.Lost {
		r.Lost = append(r.Lost, erase.Record{N: l.N, Hash: l.Hash})
	}
	for _, p := range d.Packs {
		r.Packs = append(r.Packs, p)
	}
	return r
}

// TestRecoverGeneration: the live generation is lost whole. An older one is refused by the rules, and its keys are gone.
func TestRecoverGeneration(t *testing.T) {
	w, _, _, _ := recoverable(t)
	var second []string
	for _, r := range w.depot().State().StandIns() {
		second = append(second, fmt.Sprintf("%s%020d", keydepot.Roots, r.N))
	}
	w.gone(second...)
	got, err := keys.Inspect(t.Context(), w.config())
	w.must(err)
	if got.Older == nil || got.StandIn.Generation != 0 || got.Newest.Generation != 1 {
		t.Fatalf("%+v", got)
	}
	back := erase.Recovery{Record: erase.Record{N: got.Newest.N, Hash: got.Newest.Hash}, Generation: 1}
	for _, l := range got.Lost {
		back.Lost = append(back.Lost, erase.Record{N: l.N, Hash: l.Hash})
	}
	if _, err := w.desk().Recover(t.Context(), back); err == nil || !strings.Contains(err.Error(), "generation 2") {
		t.Errorf("an older generation is asked for: %v", err)
	}
	if _, err := keys.Recover(t.Context(), w.config()); err == nil || !strings.Contains(err.Error(), "would come back") {
		t.Errorf("an older generation stands in: %v", err)
	}
}

// TestRecoverRemembers: tombstones of lost records are made again, whoever may put objects. Without a sealed selection the recovery
// is not finished.
func TestRecoverRemembers(t *testing.T) {
	w := newWorld(t)
	s := w.open(w.config())
	g := w.granter()
	g.grant(2, "ada")
	w.must(s.Fold(t.Context()))
	late, lateScopes := g.message(3, "bob", "", "default", 0)
	w.ordered(w.desk(), "bob") // nothing is known of bob: a tombstone waits for what comes late
	_, err := s.CarryOut(t.Context())
	w.must(err)
	w.must(s.Close())
	w.sequence()
	w.told()
	w.gone(w.keysOf(keydepot.Roots)[2:]...) // all that know of bob
	d, err := keys.Inspect(t.Context(), w.config())
	w.must(err)
	sealed := w.newest(erase.SealedPrefix)
	back := w.gone(sealed)
	filed, err := w.desk().Recover(t.Context(), asks(d))
	w.must(err)
	_, err = w.desk().Approve(t.Context(), filed.ID)
	w.must(err)
	if _, err := keys.Recover(t.Context(), w.config()); err == nil || !strings.Contains(err.Error(), "put back") || !strings.Contains(err.Error(), sealed) {
		t.Fatalf("a tombstone is forgotten: %v", err)
	}
	back()
	w.store.Overwrite(sealed, []byte("rubbish"))
	_, err = keys.Recover(t.Context(), w.config())
	w.must(err)
	w.sequence()
	if r := w.standing(filed.ID); r.Standing != control.Done {
		t.Errorf("the request is %s", r.Standing)
	}
	g.send(late)
	s = w.open(w.config())
	w.must(s.Fold(t.Context()))
	w.all(s, "erased", lateScopes)
}

// TestRecoverLate: grants that came too late are counted by who folds them again, and once.
func TestRecoverLate(t *testing.T) {
	w := newWorld(t)
	s := w.open(w.config())
	g := w.granter()
	g.grant(2, "bob")
	late, scopes := g.message(3, "bob", "", "default", 0)
	id := w.ordered(w.desk(), "bob")
	_, err := s.CarryOut(t.Context())
	w.must(err)
	g.send(late)
	w.must(s.Fold(t.Context()))
	w.must(s.Close())
	w.told()
	w.gone(w.newestPack())
	d, err := keys.Inspect(t.Context(), w.config())
	w.must(err)
	w.recover(d)
	w.told()
	s = w.open(w.config())
	w.all(s, "erased", scopes)
	q, err := w.desk().Find(t.Context(), id)
	w.must(err)
	if q.Late != 3 || len(w.supplements()) != 2 {
		t.Errorf("%d of 3 came late, of %+v", q.Late, w.supplements())
	}
}

// TestRecoveredIntake: an announced week whose private half was lost gets another key, once a recovery is done.
func TestRecoveredIntake(t *testing.T) {
	w, _, _, _ := recoverable(t)
	var id identity.KeyService
	w.must(identity.Parse(w.file("keys/keyservice.stele"), identity.KeyServiceFormat, &id))
	signer, err := identity.Signer(identity.KeyName("acme", control.RoleKeyService, id.By), id.Key)
	w.must(err)
	week := keyscope.Week(time.Now()) + 40
	key, err := keyscope.KEM().GenerateKey()
	w.must(err)
	entry, err := control.Sign(w.trust.Archive, control.TypeIntake, time.Now(), control.IntakeKeys{Weeks: []control.Intake{{Week: week, Key: key.PublicKey().Bytes()}}}, signer)
	w.must(err)
	w.must(w.log().Drop(t.Context(), entry))
	w.sequence()
	w.gone(w.newest(keydepot.Roots))
	d, err := keys.Inspect(t.Context(), w.config())
	w.must(err)
	if !slices.Equal(d.Weeks, []time.Time{keyscope.WeekStart(week)}) {
		t.Fatalf("%+v", d)
	}
	w.recover(d)
	w.told()
	w.sequence() // what replaces it waits for the recovery to be in the log
	announced := func() (pub []byte) {
		w.state(func(c *control.State) {
			for _, in := range c.Policy().Intake {
				if in.Week == week {
					pub = in.Key
				}
			}
		})
		return pub
	}
	if bytes.Equal(announced(), key.PublicKey().Bytes()) {
		t.Error("writers go on with a key that nobody can open")
	}
}
