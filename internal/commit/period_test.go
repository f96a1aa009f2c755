package commit_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stelelog/stele/internal/commit"
)

func TestPeriodNames(t *testing.T) {
	at := time.Date(2026, 10, 1, 0, 30, 0, 0, time.FixedZone("", 3600)) // 30 September in UTC
	for length, want := range map[string]string{"year": "2026", "quarter": "2026Q3", "month": "2026-09", "day": "2026-09-30",
		"hour": "2026-09-30T23", "minute": "2026-09-30T2330"} {
		if got, err := commit.PeriodOf(length, at); got != want || err != nil {
			t.Errorf("%s: %s, %v; want %s", length, got, err, want)
		}
	}
	for _, length := range []string{"", "week", "Quarter"} {
		if got, err := commit.PeriodOf(length, at); err == nil {
			t.Errorf("%q: %s", length, got)
		}
	}
	for _, name := range []string{"", "2026Q0", "2026Q5", "2026q1", "2026Q11", "x026Q1", "2026-13", "2026-1", "2026-02-30", "2026-01-01T24", "2026-01-01T2360", "2026-01-01T5", "20266", "zz", "2026Q", "2026/1"} {
		if start, ok := commit.PeriodStart(name); ok {
			t.Errorf("%q starts at %s", name, start)
		}
	}
}

// TestPeriodOrder: a period holds the time that it is named after, and names sort by when periods start, whatever their
// lengths.
func TestPeriodOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var names [2]string
		var starts [2]time.Time
		for i := range names {
			at := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "at"), 0).UTC()
			name, err := commit.PeriodOf(rapid.SampledFrom(commit.Periods()).Draw(t, "length"), at)
			start, ok := commit.PeriodStart(name)
			if err != nil || !ok || start.After(at) || at.Sub(start) > 366*24*time.Hour {
				t.Fatalf("%s: %s starts at %s, %v %v", at, name, start, ok, err)
			}
			names[i], starts[i] = name, start
		}
		if got := commit.ComparePeriods(names[0], names[1]); got*starts[0].Compare(starts[1]) < 0 || (got == 0) != (names[0] == names[1]) {
			t.Fatalf("%v %v: %d", names, starts, got)
		}
	})
}
