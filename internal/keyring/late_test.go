package keyring

import (
	"slices"
	"testing"
)

// TestLateGrants: what comes after an erasure is buried under its tombstones, unless it began later or is held; and one
// that was buried does not come back.
func TestLateGrants(t *testing.T) {
	w, _ := filled(t, 60)
	a, b, held := tag("subject", 1000), tag("session", 1001), tag("tenant", 1002)
	const cutoff = 1_000_000
	two, one, hold := [32]byte{2}, [32]byte{1}, Hold{Tag: held, ID: [16]byte{7}}
	w.fold(t, Batch{
		Tombstones: []Tombstone{{a, cutoff, two}, {b, cutoff, two}, {b, cutoff + 5, one}, {a, cutoff + 9, [32]byte{}}},
		Holds:      []Hold{hold},
	})
	offer := func(start int64, tags Tags) Scope {
		s := w.offer(5, 0)
		s.Start, s.Tags = start, tags
		return s
	}
	for _, x := range []struct {
		name     string
		tags     Tags
		start    int64
		holdAll  bool
		released []Hold
		want     Verdict
		by       [][32]byte
	}{
		{name: "before", tags: Tags{1: a}, start: cutoff - 1, want: Buried, by: [][32]byte{two}},
		{name: "at the same time", tags: Tags{1: a}, start: cutoff, want: Buried, by: [][32]byte{two}},
		{name: "under one that names no request", tags: Tags{1: a}, start: cutoff + 9, want: Buried},
		{name: "later", tags: Tags{1: a}, start: cutoff + 10, want: Added},
		{name: "under two requests", tags: Tags{2: b}, start: cutoff, want: Buried, by: [][32]byte{one, two}},
		{name: "under the same request twice", tags: Tags{1: a, 2: b}, start: cutoff, want: Buried, by: [][32]byte{one, two}},
		{name: "under the later request", tags: Tags{2: b}, start: cutoff + 5, want: Buried, by: [][32]byte{one}},
		{name: "of somebody else", tags: Tags{1: tag("subject", 1003)}, start: cutoff, want: Added},
		{name: "without tags", start: cutoff, want: Added},
		{name: "held by another tag", tags: Tags{0: held, 1: a}, start: cutoff, want: Added},
		{name: "held no more", tags: Tags{0: held, 1: a}, start: cutoff, released: []Hold{hold}, want: Buried, by: [][32]byte{two}},
		{name: "another hold is released", tags: Tags{0: held, 1: a}, start: cutoff, released: []Hold{{held, [16]byte{8}}}, want: Added},
		{name: "while nobody knows what is held", tags: Tags{1: a}, start: cutoff, holdAll: true, want: Added},
	} {
		admission := w.Admission()
		admission.HoldAll, admission.Released = x.holdAll, x.released
		s := offer(x.start, x.tags)
		got, err := admission.Admit(t.Context(), []Scope{s})
		if err != nil {
			t.Fatal(err)
		}
		if got[0] != x.want {
			t.Errorf("%s: %v, not %v", x.name, got[0], x.want)
		}
		if by := admission.BuriedBy(&s); x.want == Buried && !slices.Equal(by, x.by) {
			t.Errorf("%s: buried by %x", x.name, by)
		}
		copied := map[Verdict]Verdict{Buried: Replayed, Added: Repeated}[x.want]
		if got, err = admission.Admit(t.Context(), []Scope{s}); err != nil || got[0] != copied {
			t.Errorf("%s: a copy in the same fold: %v, %v", x.name, got, err)
		}
	}
	denied, err := w.Denied(t.Context(), []Scope{offer(cutoff, Tags{1: a}), offer(cutoff, Tags{0: held, 1: a}), offer(cutoff+10, Tags{1: a}), offer(cutoff, Tags{})})
	if err != nil || !slices.Equal(denied, []bool{true, true, false, false}) {
		t.Errorf("denied to readers: %v, %v", denied, err)
	}
	s := offer(cutoff, Tags{1: a})
	w.fold(t, Batch{Spent: []Spent{s.Spent()}})
	if got, err := w.Admission().Admit(t.Context(), []Scope{s}); err != nil || got[0] != Replayed {
		t.Errorf("a copy in a later fold: %v, %v", got, err)
	}
}
