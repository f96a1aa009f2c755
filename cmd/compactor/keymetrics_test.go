package main

import (
	"math"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/keys"
)

// Where nobody has told the time yet, the second clock is infinitely far behind, and not by some number.
func TestClockBehindIsInfinite(t *testing.T) {
	for _, test := range []struct {
		said time.Time
		want float64
	}{{time.Time{}, math.Inf(1)}, {time.Now().Add(-90 * time.Second).Truncate(time.Second), 90}} {
		now := test.said.Add(90 * time.Second)
		if test.said.IsZero() {
			now = time.Now()
		}
		families, err := newRegistry(func() compact.Stats { return compact.Stats{} }, func() *keys.Stats { return &keys.Stats{Behind: now.Sub(test.said)} }).Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "stele_erasure_clock_behind_seconds" {
				if got := f.GetMetric()[0].GetGauge().GetValue(); got != test.want {
					t.Errorf("%v, want %v", got, test.want)
				}
			}
		}
	}
}
