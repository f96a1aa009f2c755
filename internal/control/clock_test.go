package control

import (
	"testing"
	"time"
)

// TestReckoning: time goes on as it is told, and a clock that runs away is not followed before a week is over, nor as long as
// anybody else is heard.
func TestReckoning(t *testing.T) {
	const day = 24 * time.Hour
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	years := 3650 * day
	every := func(from, to, step time.Duration) (out []time.Duration) {
		for at := from; at <= to; at += step {
			out = append(out, at)
		}
		return out
	}
	and := func(parts ...[]time.Duration) (out []time.Duration) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	at := func(all ...time.Duration) []time.Duration { return all }
	for name, c := range map[string]struct {
		said []time.Duration // since start
		want time.Duration
		gap  time.Duration // where what is not believed begins; 0: there is none
	}{
		"hour by hour":                  {said: every(0, 20*day, time.Hour), want: 20 * day},
		"day by day":                    {said: every(0, 20*day, day), want: 20 * day},
		"a weekend":                     {said: at(0, 47*time.Hour), want: 47 * time.Hour},
		"somebody is behind":            {said: at(0, day, -years, time.Hour), want: day},
		"ten years ahead":               {said: at(0, years), gap: years},
		"ten years ahead for a day":     {said: and(at(0), every(years, years+day, time.Hour)), gap: years},
		"and then right again":          {said: and(at(0), every(years, years+day, time.Hour), at(day)), want: day},
		"ahead, and somebody is right":  {said: and(at(0, years, day, years+day, 2*day, years+2*day, 3*day, years+8*day, 4*day)), want: 4 * day},
		"nothing for a month":           {said: at(0, 30*day, 31*day), gap: 30 * day},
		"a week after that":             {said: and(at(0), every(30*day, 37*day, day)), want: 37 * day},
		"week by week":                  {said: every(0, 35*day, 7*day), want: 28 * day, gap: 35 * day},
		"years ahead, then the gap":     {said: at(0, years, 30*day), gap: 30 * day},
		"the gap, then years ahead":     {said: and(at(0), every(30*day, 33*day, day), at(years), at(34*day)), want: 34 * day},
		"the gap, years ahead, no more": {said: and(at(0), every(30*day, 33*day, day), at(years)), want: 33 * day, gap: years},
	} {
		var r Reckoning
		for _, d := range c.said {
			r.see(start.Add(d))
		}
		gap := time.Time{}
		if c.gap > 0 {
			gap = start.Add(c.gap)
		}
		if !r.Time.Equal(start.Add(c.want)) || !r.From.Equal(gap) {
			t.Errorf("%s: %v, and from %v on it is not believed; want %v and %v", name, r.Time, r.From, start.Add(c.want), gap)
		}
	}
}
