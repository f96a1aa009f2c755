package evidence

import (
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyroot"
)

// A certificate says what its request selects and did not go, and why: who reads it knows nothing else of the request.
func TestWhatStayedIsSaid(t *testing.T) {
	until := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		of     control.Outcome
		detail string // of the request
		open   string // what is missing of it
		whole  bool
	}{
		"all of it":    {control.Outcome{}, "scopes", "", true},
		"held":         {control.Outcome{Held: 2}, "scopes, 2 held", " open", true},
		"retained":     {control.Outcome{Retained: 1, Until: &until}, "scopes, 1 retained until 2027-01-02T03:04:05Z", " open", true},
		"left":         {control.Outcome{Left: 5}, "scopes, 5 left", " erased", false},
		"more than it": {control.Outcome{Whole: 1}, "scopes, 1 whole", "", true},
		"all at once":  {control.Outcome{Whole: 1, Held: 2, Retained: 3, Until: &until, Left: 4}, "scopes, 1 whole, 2 held, 3 retained until 2027-01-02T03:04:05Z, 4 left", " erased", false},
	} {
		w := newWorld(t)
		w.eraseOf(12, 3)
		w.erased.Open = nil
		w.told(func(x *keyroot.Erased) {
			o := &x.Requests[0]
			o.Whole, o.Held, o.Retained, o.Until, o.Left = c.of.Whole, c.of.Held, c.of.Retained, c.of.Until, c.of.Left
		})
		w.rewrite(func(e *control.Erased) {
			o := &e.Requests[0]
			o.Whole, o.Held, o.Retained, o.Until, o.Left = c.of.Whole, c.of.Held, c.of.Retained, c.of.Until, c.of.Left
		})
		v, r := agreed(t, name, w.trust(), w.file(w.parts()))
		if v.Err != "" {
			t.Fatalf("%s: %+v", name, v)
		}
		missing := false
		for _, m := range v.Missing {
			missing = missing || c.open != "" && strings.HasSuffix(m, c.open)
		}
		if missing != (c.open != "") || len(v.Missing) > 3 || r.Whole() != c.whole {
			t.Errorf("%s: missing %q, whole %v", name, v.Missing, r.Whole())
		}
		for _, s := range r.Holds {
			if s.What == whatRequest && !strings.HasSuffix(s.Detail, c.detail) {
				t.Errorf("%s: %s", name, s.Detail)
			}
		}
	}
}

// What came late is counted once, also where the log has it twice: the second one has no effect there.
func TestLateIsCountedOnce(t *testing.T) {
	w := newWorld(t)
	w.eraseOf(12, 3)
	id := commit.Hash([]byte(w.entries[1]))
	w.say(control.TypeSupplement, "acme/keyservice/keys", control.Supplement{Request: &id, Root: control.RootRef{N: 8}, Buried: 1})
	if v, _ := agreed(t, "of two records", w.trust(), w.file(w.parts())); v.Err != "" {
		t.Errorf("%+v", v)
	}
	w.late(7, "acme/keyservice/keys", func(u *control.Supplement) { u.Root.N = 7 })
	if v, _ := agreed(t, "of one record", w.trust(), w.file(w.parts())); v.Err != "failed" {
		t.Errorf("%+v", v)
	}
}
