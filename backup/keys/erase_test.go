package keys_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
)

var errCrash = errors.New("crash")

// An erasure takes what it names and nothing else, says all that a certificate needs, and is not made twice.
func TestErase(t *testing.T) {
	w := newWorld(t)
	s := w.open(w.config())
	g := w.granter()
	a, b := g.grant(30, "ada"), g.grant(20, "bob")
	late, lateScopes := g.message(3, "bob", "", "default", 0)
	request := [][32]byte{{7}}
	done, err := s.Erase(t.Context(), keys.Erasure{Requests: request, Tags: w.tag("bob")})
	w.must(err)
	if done.Scopes != 20 || done.Spent != 20 || done.Removed != 20 || done.After.Generation != 2 || done.Before.Generation != 1 || done.Watermark != 2 ||
		done.ListSize == 0 || done.Switched.IsZero() {
		t.Errorf("erased: %+v", done)
	}
	if len(done.Generations) != 1 || !done.Generations[0].Destroyed || done.Generations[0].Class != custodian.Immediate ||
		done.Generations[0].Dead.IsZero() || len(done.Generations[0].Statements) != 3 {
		t.Errorf("destroyed: %+v", done.Generations)
	}
	w.all(s, "live", a)
	w.all(s, "erased", b)
	g.send(late) // a spool that was held up
	w.all(s, "erased", lateScopes)
	w.must(s.Fold(t.Context()))
	w.all(s, "erased", lateScopes, b)
	again, err := s.Erase(t.Context(), keys.Erasure{Requests: request, Tags: w.tag("bob")})
	w.must(err)
	if again.After != done.After || again.List != done.List || again.Scopes != done.Scopes || len(again.Generations) != 1 {
		t.Errorf("the same request again: %+v", again)
	}
	none, err := s.Erase(t.Context(), keys.Erasure{Tags: w.tag("nobody")})
	w.must(err)
	if none.Scopes != 0 || none.After.Generation != 2 {
		t.Errorf("an erasure of nobody: %+v", none)
	}
	for i := range 12 { // runs of marks alone are merged, too
		_, err := s.Erase(t.Context(), keys.Erasure{Tags: w.tag(fmt.Sprint("nobody-", i))})
		w.must(err)
	}
	one, err := s.Erase(t.Context(), keys.Erasure{Scopes: a[:1]})
	w.must(err)
	if one.Scopes != 1 {
		t.Errorf("an erasure of one scope: %+v", one)
	}
	w.all(s, "live", a[1:])
	w.all(s, "erased", a[:1])
}

// An erasure that dies at any step goes on when it is repeated: nothing that lives is lost, nothing that was erased can be
// had. The steps are those of the code; each is met.
func TestCrashAtEveryStep(t *testing.T) {
	var steps []string
	note := func(name string) error { steps = append(steps, name); return nil }
	crashing(t, note)
	if n := len(slices.Compact(slices.Sorted(slices.Values(steps)))); n < 10 {
		t.Fatalf("only %q are steps", steps)
	}
	for i := range steps {
		t.Run(fmt.Sprintf("%d %s", i, steps[i]), func(t *testing.T) {
			n := 0
			crashed := false
			crashing(t, func(name string) error {
				if n++; n > i {
					crashed = true
					return errCrash // this and every later step: the process is gone
				}
				return nil
			})
			if !crashed {
				t.Errorf("step %s was not met", steps[i])
			}
		})
	}
}

func crashing(t *testing.T, step func(string) error) {
	w := newWorld(t)
	g := w.granter()
	a, b := g.grant(10, "ada"), g.grant(10, "bob")
	s := w.open(keys.Stepped(w.config(), step))
	what := keys.Erasure{Requests: [][32]byte{{1}}, Tags: w.tag("bob")}
	_, err := s.Erase(t.Context(), what)
	if err != nil && !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	w.must(s.Close())
	s = w.open(w.config())
	defer s.Close()
	w.all(s, "live", a)
	done, err := s.Erase(t.Context(), what)
	w.must(err)
	w.all(s, "live", a)
	w.all(s, "erased", b)
	if done.Scopes != 10 || done.Watermark != done.After.Generation || len(done.Generations) == 0 {
		t.Errorf("%+v", done)
	}
	for name, m := range w.devices {
		c := m.Open(custodian.Identity{Archive: w.writer.Archive, Name: name})
		for g := uint64(1); g < done.After.Generation; g++ {
			if status, err := c.Status(context.Background(), g); err != nil || status.State != custodian.Destroyed {
				t.Errorf("custodian %s has generation %d %v, %v", name, g, status.State, err)
			}
		}
	}
}

// Several services have one store and one transport; holders die at any step, a dozen times, under load. Whoever is left
// goes on: no live key is lost, and erasures hold.
func TestServicesTakeOver(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	kept, gone := [][16]byte{}, [][16]byte{}
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	g := w.granter()
	load.Go(func() {
		for i := 0; ctx.Err() == nil && i < 2000; i++ {
			ids := g.grant(3, fmt.Sprintf("subject-%d", i%40))
			mu.Lock()
			if i%40 == 7 {
				gone = append(gone, ids...)
			} else {
				kept = append(kept, ids...)
			}
			mu.Unlock()
		}
	})
	killed := 0
	for round := 0; killed < 12 && round < 300; round++ {
		var services sync.WaitGroup
		for worker := range 3 {
			n, dies := 0, 2+(round*5+worker*3)%11
			s := w.open(keys.Together(keys.Stepped(w.config(), func(string) error {
				if n++; worker > 0 && n >= dies {
					return errCrash
				}
				return nil
			})))
			services.Go(func() {
				err := s.Fold(t.Context())
				if err == nil && round%3 == worker {
					_, err = s.Erase(t.Context(), keys.Erasure{Tags: w.tag("subject-7")})
				}
				if errors.Is(err, errCrash) {
					mu.Lock()
					killed++
					mu.Unlock()
				} else if err != nil {
					t.Errorf("round %d, service %d: %v", round, worker, err)
				}
				s.Close()
			})
		}
		services.Wait()
	}
	stop()
	load.Wait()
	if killed < 10 {
		t.Errorf("only %d services were killed", killed)
	}
	s := w.open(w.config())
	_, err := s.Erase(t.Context(), keys.Erasure{Tags: w.tag("subject-7")})
	w.must(err)
	w.all(s, "live", kept)
	w.all(s, "erased", gone)
}

// Whoever kept a copy of everything in the store from before an erasure, and asks today's custodians, opens nothing: not
// what was erased, and not with the record from before. What was never erased is where it was.
func TestCopiesFromBefore(t *testing.T) {
	w := newWorld(t)
	s := w.open(w.config())
	g := w.granter()
	a, b := g.grant(10, "ada"), g.grant(10, "bob")
	w.must(s.Fold(t.Context()))
	older := storetest.NewMemory()
	for v, err := range w.store.Versions(t.Context(), "", "") {
		w.must(err)
		data, err := w.store.Read(t.Context(), v.Key, v.ID, worm.Range{})
		w.must(err)
		_, err = older.Create(t.Context(), v.Key, data, worm.Lock{Mode: worm.LockNone})
		w.must(err)
	}
	reads := w.config()
	reads.Store, reads.Identity, reads.From = older, nil, ""
	w.all(w.open(reads), "live", a, b) // as long as nothing was destroyed
	if open, err := keys.Openable(t.Context(), reads); err != nil || len(open) != 1 || open[0].Generation != 1 {
		t.Errorf("before: %+v, %v", open, err)
	}
	_, err := s.Erase(t.Context(), keys.Erasure{Tags: w.tag("bob")})
	w.must(err)
	if open, err := keys.Openable(t.Context(), reads); err != nil || len(open) != 0 {
		t.Errorf("after: %+v, %v", open, err)
	}
	none := reads
	none.Custodians = keys.Custodians{}
	if open, err := keys.Openable(t.Context(), none); err == nil {
		t.Errorf("nobody was asked, and it is dead: %+v", open)
	}
	if x, err := keys.Open(t.Context(), reads); !errors.Is(err, custodian.ErrDestroyed) {
		t.Errorf("the copy opens: %v, %v", x, err)
	}
	w.all(s, "live", a)
	w.all(s, "erased", b)
}
