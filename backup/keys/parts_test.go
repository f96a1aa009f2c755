package keys_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyring"
)

// No generation leaves out more scopes than it is to, whatever is asked for at once. What is left of a request is denied, and
// follows by itself when the control log has the part before; the request is done with the last.
func TestPartsOfRequests(t *testing.T) {
	const most = 10
	w := newWorld(t)
	s := w.open(keys.AtMost(w.config(), most))
	defer s.Close()
	g := w.granter()
	a, b, c, d := g.grant(25, "ada"), g.grant(4, "bob"), g.grant(7, "eve"), g.grant(3, "dan")
	w.must(s.Fold(t.Context()))
	hold, err := w.desk().Hold(t.Context(), erase.Target{Subject: "dan"})
	w.must(err)
	w.sequence()
	ada, dan := w.asks(subject("ada"), true), w.asks(subject("dan"), true)
	urgent := subject("bob")
	urgent.Urgent = true
	bob, eve := w.asks(urgent, true), w.asks(subject("eve"), true)
	standing := map[string][]uint64{} // what went and what was left, by request
	for range 8 {
		done, err := s.CarryOut(t.Context())
		w.must(err)
		for _, e := range done {
			if e.Scopes > most {
				t.Errorf("a generation leaves out %d scopes", e.Scopes)
			}
		}
		w.all(s, "erased", a, b, c, d)
		if again, err := s.CarryOut(t.Context()); err != nil || slices.ContainsFunc(again, func(e *keys.Erased) bool { return e.Scopes > 0 }) {
			t.Fatalf("went on before the control log had the part before: %+v, %v", again, err)
		}
		w.sequence()
	}
	for name, id := range map[string]string{"ada": ada, "bob": bob, "eve": eve} {
		r := w.standing(id)
		for _, o := range r.Outcomes {
			standing[name] = append(standing[name], o.Erased, o.Left)
		}
		if r.Standing != control.Done {
			t.Errorf("%s is %s: %+v", name, r.Standing, r.Outcomes)
		}
	}
	if r := w.standing(dan); r.Standing != control.Approved || r.Outcomes[0].Held != 3 || hold == nil {
		t.Errorf("on hold: %s %+v", r.Standing, r.Outcomes)
	}
	if !slices.Equal(standing["bob"], []uint64{4, 0}) || !slices.Equal(standing["ada"], []uint64{6, 19, 10, 9, 9, 0}) {
		t.Errorf("parts: %v", standing)
	}
	w.state(func(c *control.State) {
		total := uint64(0)
		for _, e := range c.Erasures {
			total += e.Scopes
		}
		if total != 36 {
			t.Errorf("%d scopes in %d erasures", total, len(c.Erasures))
		}
	})
	if left, err := s.Ring().Deferred(t.Context()); err != nil || len(left) != 1 {
		t.Errorf("kept of requests that wait: %+v, %v", left, err)
	}
}

// A service that dies anywhere in a request of several parts leaves the rest to the next one, which nobody has to ask.
func TestPartsSurviveCrashes(t *testing.T) {
	var steps []string
	run := func(t *testing.T, step func(string) error) {
		w := newWorld(t)
		g := w.granter()
		a, b := g.grant(5, "ada"), g.grant(11, "bob")
		id := w.asks(subject("bob"), true)
		s := w.open(keys.AtMost(keys.Stepped(w.config(), step), 4))
		var err error
		for i := 0; i < 3 && err == nil; i++ {
			_, err = s.CarryOut(t.Context())
			w.sequence()
		}
		if err != nil && !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		w.must(s.Close())
		w.sequence()
		s = w.open(keys.AtMost(w.config(), 4))
		defer s.Close()
		begun := len(w.standing(id).Outcomes) > 0
		for range 4 {
			if begun { // then it does not wait for others any more
				w.must(s.CarryOutDue(t.Context()))
			} else {
				_, err := s.CarryOut(t.Context())
				w.must(err)
			}
			w.sequence()
			begun = begun || len(w.standing(id).Outcomes) > 0
		}
		w.all(s, "live", a)
		w.all(s, "erased", b)
		r := w.standing(id)
		var parts []uint64
		for _, o := range r.Outcomes {
			parts = append(parts, o.Erased, o.Left)
		}
		if r.Standing != control.Done || !slices.Equal(parts, []uint64{4, 7, 4, 3, 3, 0}) {
			t.Errorf("the request is %s: %v", r.Standing, parts)
		}
	}
	run(t, func(name string) error { steps = append(steps, name); return nil })
	for i := len(steps) / 3; i < 2*len(steps)/3; i++ { // the second of three: the others are as where there is one
		t.Run(fmt.Sprintf("%d %s", i, steps[i]), func(t *testing.T) {
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

// What is asked for without the control log says what is left.
func TestPartsOfErase(t *testing.T) {
	w := newWorld(t)
	s := w.open(keys.AtMost(w.config(), 4))
	defer s.Close()
	g := w.granter()
	a, b := g.grant(5, "ada"), g.grant(10, "bob")
	what := keys.Erasure{Requests: [][32]byte{{1}}, Tags: w.tag("bob")}
	for i, left := range []uint64{6, 2, 0, 0} {
		done, err := s.Erase(t.Context(), what)
		w.must(err)
		if done.Left != left || s.Generation() != uint64(min(i+2, 4)) {
			t.Errorf("step %d: %+v, generation %d", i, done, s.Generation())
		}
	}
	w.all(s, "live", a)
	w.all(s, "erased", b)
}

// What policy erases by itself goes in parts as well: days that are over, and what ended with a session.
func TestPartsOfPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		most := 0
		s := w.open(keys.Spoiled(keys.AtMost(w.config(), 4), func(at string, what *keyring.Erasure) { most = max(most, len(what.Scopes)) }))
		defer s.Close()
		g := w.granter()
		kept := g.grant(4, "ada")
		msg, state := g.message(11, "ada", "s1", "state", 30)
		g.send(msg)
		w.must(s.Fold(t.Context()))
		generation := s.Generation()
		w.pass(s, 33)
		w.all(s, "live", kept)
		w.all(s, "erased", state)
		if n := s.Generation() - generation; n < 3 || most != 4 {
			t.Errorf("%d generations, of %d scopes at most", n, most)
		}
	})
}

// An erasure of many parts lets others have the service in between: a reader who comes during the first part is answered before
// the last, and a request goes between two passes.
func TestPartsLetOthersIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.open(keys.AtMost(w.config(), 4))
		defer s.Close()
		g := w.granter()
		bob := g.grant(2, "bob")
		msg, state := g.message(18, "ada", "s1", "state", 30)
		g.send(msg)
		w.must(s.Fold(t.Context()))
		gone := func() (n int) {
			got, err := w.ask(s, state, nil)
			w.must(err)
			for _, id := range state {
				if got[id] == "erased" {
					n++
				}
			}
			return n
		}
		for day := 0; gone() == 0; day++ {
			if day > 35 {
				t.Fatal("nothing goes")
			}
			time.Sleep(24 * time.Hour)
			w.sequence()
			w.must(s.Fold(t.Context()))
			w.must(s.EraseDuePass(t.Context()))
			w.sequence()
		}
		if n := gone(); n != 4 {
			t.Fatalf("%d scopes went in the first pass", n)
		}
		urgent := subject("bob")
		urgent.Urgent = true
		id := w.asks(urgent, true)
		w.must(s.CarryOutDue(t.Context()))
		w.sequence()
		w.done(id, 2)
		w.all(s, "erased", bob)
		if n := gone(); n != 4 {
			t.Fatalf("%d scopes had gone when the request was carried out", n)
		}
		for want := 8; want <= 20; want += 4 {
			time.Sleep(time.Minute)
			w.must(s.EraseDuePass(t.Context()))
			if n := gone(); n != min(want, 18) {
				t.Fatalf("%d scopes went, want %d", n, want)
			}
		}
		generation := s.Generation()
		time.Sleep(time.Minute)
		w.must(s.EraseDuePass(t.Context()))
		if s.Generation() != generation {
			t.Error("it erases on")
		}
		w.sequence()
		w.verified(w.file("trust.stele"))
	})
}

// Requests that do not fit into one generation let readers in between their generations, too.
func TestPartsOfRequestsLetOthersIn(t *testing.T) {
	w := newWorld(t)
	var s *keys.Service
	asked, generation := 0, uint64(1)
	g := w.granter()
	live := g.grant(1, "zoe")
	s = w.open(keys.AtMost(keys.Stepped(w.config(), func(name string) error {
		if name != "part" {
			return nil
		}
		if asked++; !s.Free() || s.Generation() != generation+1 {
			t.Fatalf("after generation %d the service is not free for others", s.Generation())
		}
		generation++
		w.all(s, "live", live)
		return nil
	}), 2))
	defer s.Close()
	for _, name := range []string{"a", "b", "c", "d"} {
		g.grant(2, name)
		w.asks(subject(name), true)
	}
	_, err := s.CarryOut(t.Context())
	w.must(err)
	if asked != 3 || s.Generation() != 5 {
		t.Errorf("asked between %d of the parts, generation %d", asked, s.Generation())
	}
}

// The intake key of a week goes when it is over, and what was remembered because of it after it, some in each generation.
func TestPartsOfWeeks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.open(keys.AtMost(w.config(), 3))
		g := w.granter()
		g.grant(5, "bob")
		g.grant(60, "ada")
		w.must(s.Fold(t.Context()))
		w.asks(subject("ada"), true)
		for range 21 {
			_, err := s.CarryOut(t.Context())
			w.must(err)
			w.sequence()
		}
		spent := func() (n int) {
			w.must(s.Ring().Buried(t.Context(), func(_, _ [16]byte) { n++ }))
			return n
		}
		if n := spent(); n != 60 {
			t.Fatalf("%d spent paths", n)
		}
		before := s.Generation()
		w.pass(s, 25)
		if n := spent(); n != 0 {
			t.Errorf("%d spent paths are left", n)
		}
		if n := s.Generation() - before; n != 3 { // 24 at once
			t.Errorf("%d generations", n)
		}
		w.must(s.Close())
	})
}
