package keys_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/keyscope"
)

// Grants that were folded, and those that the transport still has, are answered; also by a service that only reads, and
// when the spool is gone.
func TestFoldAndAnswer(t *testing.T) {
	w := newWorld(t)
	s := w.open(w.config())
	g := w.granter()
	a := g.grant(20, "ada")
	w.all(s, "live", a)
	w.must(s.Fold(t.Context()))
	b := g.grant(5, "bob")
	w.all(s, "live", a, b)
	w.all(s, "unknown", [][16]byte{{1, 2, 3}})
	got, err := w.ask(s, nil, w.tag("ada"))
	if err != nil || len(got) != 20 {
		t.Errorf("the tag of ada has %d scopes, %v", len(got), err)
	}
	if _, err := keys.Open(t.Context(), w.config()); !errors.Is(err, keys.ErrBusy) {
		t.Errorf("a second holder of the role: %v", err)
	}
	reads := w.config()
	reads.Identity = nil
	w.all(w.open(reads), "live", a, b)
	reads.From = ""
	w.all(w.open(reads), "live", a)
	if err := w.open(reads).Fold(t.Context()); err == nil || !strings.Contains(err.Error(), "reads only") {
		t.Errorf("a service without identity folds: %v", err)
	}
	reads.From = "file://" + t.TempDir() // another spool
	w.all(w.open(reads), "live", a)
	other := w.config()
	other.From = reads.From
	if err := w.open(other).Fold(t.Context()); err == nil || !strings.Contains(err.Error(), "not the transport") {
		t.Errorf("a service folds from another spool: %v", err)
	}
}

// Grants are removed from a spool when a record has them, and folding them again changes nothing.
func TestFoldedGrantsAreRemoved(t *testing.T) {
	w := newWorld(t)
	s := w.open(w.config())
	g := w.granter()
	msg, a := g.message(3, "ada", "", "default", 0)
	g.send(msg)
	g.send(msg)
	w.must(s.Fold(t.Context()))
	w.must(g.lane.Close())
	w.must(s.Fold(t.Context()))
	w.must(s.Fold(t.Context()))
	w.all(s, "live", a)
	if n := len(w.keysOf("keys/roots/")); n != 2 {
		t.Errorf("%d records where there was something to fold once", n)
	}
}

// Every write of a fold and of an erasure fails both ways, once and for good. The next attempt succeeds, no live key is
// lost and none that was erased comes back.
func TestEveryWriteFails(t *testing.T) {
	writes := failingWrite(t, storetest.None, 0)
	if writes < 8 {
		t.Fatalf("there are %d writes", writes)
	}
	for _, fault := range []storetest.Fault{storetest.Lost, storetest.ReplyLost} {
		for n := range writes {
			t.Run(fmt.Sprintf("fault=%d/%d", fault, n), func(t *testing.T) { failingWrite(t, fault, n) })
		}
	}
}

// failingWrite folds and erases over a store whose writes fail from number n on, for longer than one attempt tries.
func failingWrite(t *testing.T, fault storetest.Fault, n int) (writes int) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		g := w.granter()
		broken := true
		store := &storetest.Faulty{Store: w.store, Script: func(c storetest.Call) storetest.Fault {
			if c.Op != "Create" && c.Op != "Extend" {
				return storetest.None
			}
			if writes++; broken && writes > n && writes < n+100 {
				return fault
			}
			return storetest.None
		}}
		cfg := w.config()
		cfg.Store = store
		s := w.open(cfg)
		a, b := g.grant(10, "ada"), g.grant(10, "bob")
		errFold := s.Fold(t.Context())
		_, errErase := s.Erase(t.Context(), keys.Erasure{Tags: w.tag("bob")})
		if errFold != nil && !errors.Is(errFold, storetest.ErrFault) || errErase != nil && !errors.Is(errErase, storetest.ErrFault) {
			t.Errorf("fold: %v; erase: %v", errFold, errErase)
		}
		broken = false
		w.must(s.Fold(t.Context()))
		_, err := s.Erase(t.Context(), keys.Erasure{Tags: w.tag("bob")})
		w.must(err)
		w.all(s, "live", a)
		w.all(s, "erased", b)
		w.must(s.Close())
		s = w.open(w.config())
		w.all(s, "live", a)
		w.all(s, "erased", b)
		w.must(s.Close())
	})
	return writes
}

// What somebody puts, hides or removes under keys/ is named.
func TestAttacksOnTheStore(t *testing.T) {
	const roots = "keys/roots/"
	root := func(n int) string { return fmt.Sprintf("%s%020d", roots, n) }
	for _, test := range []struct {
		name   string
		attack func(w *world)
		says   string // "" : nothing changes
	}{
		{"squat", func(w *world) { w.store.Overwrite(root(2), []byte("rubbish")) }, ""},
		{"a copy of an older record", func(w *world) { w.store.Overwrite(root(2), mustRead(w, root(1))) }, ""},
		{"rubbish that names entries of the control log to come", func(w *world) {
			w.store.Overwrite(root(2), bytes.Replace(aheadOfLog(w, root(1)), []byte("— acme/"), []byte("— acne/"), 1))
		}, ""},
		{"a record that does", func(w *world) { w.store.Overwrite(root(2), aheadOfLog(w, root(1))) }, "the control log had 1000000 entries"},
		{"newer version", func(w *world) { w.store.Overwrite(root(1), []byte("rubbish")) }, ""},
		{"marker", func(w *world) { w.store.Mark(root(1)) }, ""},
		{"rollback", func(w *world) { w.store.Remove(root(1), "") }, "the control log knows a root record"},
		{"hole", func(w *world) { w.store.Remove(root(0), "") }, "removed or replaced"},
		{"all gone", func(w *world) { w.store.Remove(root(0), ""); w.store.Remove(root(1), "") }, "no root record"},
		{"no pack", func(w *world) {
			for _, key := range w.keysOf("keys/packs/") {
				w.store.Remove(key, "")
			}
		}, "is missing"},
		{"pack replaced", func(w *world) {
			for _, key := range w.keysOf("keys/packs/") {
				w.store.Remove(key, "")
				w.store.Overwrite(key, []byte("rubbish"))
			}
		}, "was replaced"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			s := w.open(w.config())
			g := w.granter()
			a := g.grant(10, "ada")
			w.must(s.Fold(t.Context()))
			w.must(s.Close())
			w.sequence()
			test.attack(w)
			s, err := keys.Open(t.Context(), w.config())
			if err == nil {
				defer s.Close()
				_, err = w.ask(s, a, nil)
			}
			if test.says != "" {
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("the service says %v, want %q", err, test.says)
				}
				return
			}
			w.must(err)
			b := g.grant(10, "bob")
			w.must(s.Fold(t.Context()))
			w.all(s, "live", a, b)
		})
	}
}

// aheadOfLog is what lies at a key, as a key service would sign it under entries of the control log that there are not.
func aheadOfLog(w *world, key string) []byte {
	text, _, _ := strings.Cut(string(mustRead(w, key)), "\n\n")
	text = regexp.MustCompile(`"control":\d+,`).ReplaceAllString(text, `"control":1000000,`)
	signer, err := w.trust.KeyService(w.file("keys/keyservice.stele"))
	w.must(err)
	file, err := note.Sign(&note.Note{Text: strings.Replace(text, `"n":1,`, `"n":2,`, 1) + "\n"}, signer)
	w.must(err)
	return file
}

func mustRead(w *world, key string) []byte {
	data, err := w.store.Read(w.t.Context(), key, "", worm.Range{})
	w.must(err)
	return data
}

// Without an authorised set nothing opens, and the error names the custodians. Any set is enough.
func TestCustodiansAway(t *testing.T) {
	w := newWorld(t)
	s := w.open(w.config())
	a := w.granter().grant(3, "ada")
	w.must(s.Fold(t.Context()))
	w.must(s.Close())
	w.devices["a"].Down(true)
	s = w.open(w.config())
	w.all(s, "live", a)
	if _, err := s.Erase(t.Context(), keys.Erasure{Tags: w.tag("ada")}); err == nil || !strings.Contains(err.Error(), "custodian a") {
		t.Errorf("an erasure without a custodian that is to get a key: %v", err)
	}
	w.all(s, "erased", a) // denied at once
	w.devices["a"].Down(false)
	_, err := s.Erase(t.Context(), keys.Erasure{Tags: w.tag("ada")})
	w.must(err)
	w.must(s.Close())
	w.devices["a"].Down(true)
	w.devices["b"].Down(true)
	if _, err := keys.Open(t.Context(), w.config()); err == nil || !strings.Contains(err.Error(), "no authorised set") {
		t.Errorf("one of two custodians opens: %v", err)
	}
}

// What has a time to live, and the intake keys of old weeks, die by themselves; what ends with its session, at its end.
func TestErasedByPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.open(w.config())
		defer s.Close()
		g := w.granter()
		kept := g.grant(4, "ada")
		msg, state := g.message(4, "ada", "s1", "state", 30)
		g.send(msg)
		msg, ends := g.message(4, "ada", "s2", "state", 30)
		g.send(msg)
		end, err := (&keyscope.SessionEnd{Cert: g.cert, Time: time.Now().UnixNano(),
			Tags: keyscope.MakeTags((*[32]byte)(w.writer.Pepper), nil, []byte("ada"), []byte("s2"))}).Sign(g.key)
		w.must(err)
		g.send(end)
		w.must(s.Fold(t.Context()))
		w.must(s.EraseDue(t.Context()))
		w.all(s, "live", kept, state)
		w.all(s, "erased", ends)
		w.pass(s, 33)
		w.all(s, "live", kept)
		w.all(s, "erased", state, ends)
		late, _ := g.message(1, "ada", "", "default", 0) // under an intake key that is gone
		g.send(late)
		w.must(s.Fold(t.Context()))
		w.all(s, "live", kept)
	})
}

// A request that nobody can read any more, because the store lost what it is about, keeps nothing from dying by itself.
func TestErasedBesideALostRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.open(w.config())
		defer s.Close()
		g := w.granter()
		kept := g.grant(4, "ada")
		msg, state := g.message(4, "ada", "s1", "state", 30)
		g.send(msg)
		w.must(s.Fold(t.Context()))
		w.asks(subject("ada"), true)
		for _, key := range w.keysOf("control/sealed/") {
			w.gone(key)
		}
		if _, err := s.CarryOut(t.Context()); err == nil {
			t.Fatal("it is carried out")
		}
		log := w.log()
		for range 33 {
			time.Sleep(24 * time.Hour)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			s.Run(ctx)
			cancel()
			w.sequenceIn(log)
		}
		w.all(s, "live", kept)
		w.all(s, "erased", state)
	})
}

// The locks of packs that the newest record names never end while it names them.
func TestLocksAreExtended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLocked(t, worm.LockGovernance)
		s := w.open(w.config())
		defer s.Close()
		w.granter().grant(4, "ada")
		for range 12 {
			w.must(s.Fold(t.Context()))
			for _, key := range w.keysOf("keys/packs/") {
				lock, err := w.store.ReadLock(t.Context(), key, "")
				w.must(err)
				if left := time.Until(lock.Until); left < 15*24*time.Hour || lock.Mode != worm.LockGovernance {
					t.Errorf("%s is locked %v for %v", key, lock.Mode, left)
				}
			}
			time.Sleep(9 * 24 * time.Hour)
		}
	})
}
