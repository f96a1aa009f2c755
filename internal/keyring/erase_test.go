package keyring

import (
	"slices"
	"testing"

	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/keytrie"
)

// TestEraseBesideADay: a scope that was asked for goes also where it has the day of a class that is over, and stays
// otherwise; what is counted are keys.
func TestEraseBesideADay(t *testing.T) {
	w, _ := filled(t, 600)
	var one []Located
	days := map[uint16]int{}
	stays := 0
	for l, err := range w.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case l.Expires:
			days[l.Day]++
		case one == nil:
			one = []Located{l}
		default:
			stays++
		}
	}
	day := one[0].Day
	moved := w.offer(30, 3)
	moved.ID = keyscope.ScopeID(day-3, [14]byte{9}) // its writer does not know the class
	moved.Class, moved.Day = "state", day
	if !moved.Expires || moved.moved() == nil {
		t.Fatal("not a scope that expires on another day than its id says")
	}
	w.fold(t, Batch{Scopes: []Scope{moved}})
	list := w.erase(t, Erasure{Scopes: one, Days: []uint16{day}})
	if want := uint64(2 + days[day]); list.Scopes() != want || list.Paths() != want+1 {
		t.Errorf("%d scopes and %d paths are gone, not %d and its way", list.Scopes(), list.Paths(), want)
	}
	for l, err := range w.All(t.Context()) {
		if err != nil || l.ID == one[0].ID || l.Expires && l.Day == day {
			t.Errorf("%x is there: %v", l.ID, err)
		}
		if !l.Expires {
			stays--
		}
	}
	if stays != 0 {
		t.Errorf("%d scopes less than were to stay", stays)
	}
}

// TestErasureOfAnotherRing: scopes that were found in a version with more runs are refused, and nothing is written.
func TestErasureOfAnotherRing(t *testing.T) {
	w, _ := filled(t, 60)
	at := w.tagged(t, tag("subject", 3))[:1]
	for _, run := range []int{-1, len(w.Runs)} {
		at[0].Run = run
		out := keytrie.NewWriter(w.Archive, w.next, w.limit, w.keys, nil)
		if _, _, err := w.Erase(t.Context(), out, Erasure{Scopes: at}); err == nil || out.Tally().Nodes > 0 {
			t.Errorf("run %d of %d: %v", run, len(w.Runs), err)
		}
	}
}

// TestEnding: tombstones end with the last intake key by which a grant could come for them, and not before.
func TestEnding(t *testing.T) {
	w, _ := filled(t, 60)
	week := keyscope.Week(keyscope.DayStart(firstDay))
	start := keyscope.DayStart(firstDay)
	early := Tombstone{Tag: tag("subject", 3), Cutoff: start.AddDate(0, 0, -14).UnixNano()}
	stone := Tombstone{Tag: tag("subject", 4), Cutoff: start.UnixNano()}
	if stone.lastWeek() < week || early.lastWeek() >= week {
		t.Fatal("not the weeks that this tests")
	}
	w.fold(t, Batch{Tombstones: []Tombstone{early, stone}, Intake: []IntakeKey{intake(week - 3)}})
	for _, x := range []struct {
		going []uint16
		want  []Tombstone
	}{
		{nil, nil},
		{[]uint16{9999}, nil}, // it began later
		{[]uint16{week - 3}, []Tombstone{early}},
		{[]uint16{week}, nil}, // by the older key something might come
		{[]uint16{week - 3, week}, []Tombstone{early, stone}},
	} {
		got, err := w.Ending(t.Context(), x.going)
		if err != nil || len(got) != len(x.want) || slices.ContainsFunc(x.want, func(s Tombstone) bool { return !slices.Contains(got, s) }) {
			t.Errorf("when %v go: %v, %v", x.going, got, err)
		}
	}
}

// TestErasureLeavesRuns: a run without anything of what goes is the one that it was, under the same keys.
func TestErasureLeavesRuns(t *testing.T) {
	w, _ := filled(t, 600)
	found := slices.DeleteFunc(w.tagged(t, tag("subject", 3)), func(l Located) bool { return l.Run != 1 })
	if len(found) == 0 {
		t.Fatal("nothing in run 1")
	}
	next, _ := w.erased(t, Erasure{Scopes: found})
	for i, run := range w.Runs {
		same := next.Runs[i].Keys == run.Keys && next.Runs[i].Index == run.Index && slices.Equal(next.Runs[i].Packs, run.Packs)
		if same == (i == 1) {
			t.Errorf("run %d is the same: %v", i, same)
		}
	}
}
