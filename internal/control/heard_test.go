package control_test

import (
	"testing"
	"time"

	. "github.com/stelelog/stele/internal/control"
)

// TestNobodyRunsAhead: a key service alone does not make it later than it is, however small its steps.
func TestNobodyRunsAhead(t *testing.T) {
	w := newWorld(t)
	start := w.now
	for step := range 100 {
		w.now = start.Add(time.Duration(step) * time.Second)
		said := start.Add(time.Duration(step) * 47 * time.Hour)
		if err := w.add(w.sign("keyservice/default", TypeKeyRoot, KeyRoot{N: uint64(step + 1), Generation: 1, Arrived: said})); err != nil {
			t.Fatal(err)
		}
	}
	if r := w.state.Reckoned(); r.Time.After(w.now) || !r.From.IsZero() {
		t.Errorf("at %v it is %v, and from %v on not believed", w.now, r.Time, r.From)
	}
}

// TestTransportIsHeard: while the transport says another time, the clock of who sequences is not believed.
func TestTransportIsHeard(t *testing.T) {
	w := newWorld(t)
	right, years := w.now, w.now.AddDate(10, 0, 0)
	told := 0
	tell := func(by string, at, arrived time.Time) error {
		w.now, told = at, told+1
		return w.add(w.sign(by, TypeKeyRoot, KeyRoot{N: uint64(told), Generation: 1, Arrived: arrived}))
	}
	for hour := range 24 * 9 {
		passed := time.Duration(hour+1) * time.Hour
		if err := tell("keyservice/default", years.Add(passed), right.Add(passed)); err != nil {
			t.Fatal(err)
		}
		if r := w.state.Reckoned(); !r.Time.Equal(right.Add(passed)) || !r.From.IsZero() {
			t.Fatalf("after %v it is %v and from %v on not believed", passed, r.Time, r.From)
		}
	}
	last := w.state.Reckoned().Time
	w.now = years.AddDate(0, 0, 9)
	if err := tell("holder/legal", w.now, last.Add(time.Hour)); err == nil {
		t.Fatal("a holder tells of root records")
	}
	if r := w.state.Reckoned(); !r.Time.Equal(last) || !r.From.Equal(w.now) {
		t.Errorf("somebody else said %v, and it is %v: %+v", last.Add(time.Hour), w.now, r)
	}
}
