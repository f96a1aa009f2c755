package control

import "time"

const (
	// seamless is how far the control log may go forward in time at once: the clock of one machine that is wrong by less goes
	// unnoticed, and a log that nothing came to for longer stands at a gap.
	seamless = 48 * time.Hour
	// withstood is for how long nobody must have contradicted what is behind a gap.
	withstood = 7 * 24 * time.Hour
)

// Reckoning is how late it is by what the control log holds: by the clocks of those who sequence it and of the transport.
// One of them that runs away is believed only once it has stood for a week and nobody has been heard at an earlier time.
type Reckoning struct {
	Time time.Time // it is at least so late
	From time.Time // somebody has said that it is this late at least, and that is not believed yet; zero if nobody has
	to   time.Time // how far time went on from there without another gap
}

// see takes in that somebody says how late it is.
func (r *Reckoning) see(t time.Time) {
	switch {
	case !t.After(r.Time):
	case r.Time.IsZero() || t.Sub(r.Time) <= seamless:
		*r = Reckoning{Time: t}
	case r.From.IsZero() || t.Before(r.From):
		r.From, r.to = t, t
	case t.Sub(r.From) >= withstood:
		if t.Sub(r.to) <= seamless {
			r.to = t
		}
		*r = Reckoning{Time: r.to}
		r.see(t)
	case t.After(r.to) && t.Sub(r.to) <= seamless:
		r.to = t
	}
}

// Reckoned is how late it is at least, as the entries so far show.
func (s *State) Reckoned() Reckoning { return s.reckoning }
