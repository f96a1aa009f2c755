package control_test

import (
	"testing"
	"time"

	"github.com/stelelog/stele/internal/commit"
	. "github.com/stelelog/stele/internal/control"
)

// TestExpiredEntry: nothing is noted as expired that was locked by the clock that is named, and by no other clock.
func TestExpiredEntry(t *testing.T) {
	w := newWorld(t)
	entry := func(change func(*Expired)) string {
		e := Expired{Log: "test/0/2026Q3", From: 3, To: 3, Clock: Clock{Time: w.now, Source: ClockTrusted},
			Objects: []ExpiredObject{{SHA256: commit.Hex32{1}, Until: w.now.Add(-time.Hour)}, {SHA256: commit.Hex32{2}, Until: w.now}}}
		change(&e)
		return w.sign("compactor/default", TypeExpired, e)
	}
	for name, change := range map[string]func(*Expired){
		"a lock that goes on": func(e *Expired) { e.Objects[1].Until = w.now.Add(time.Second) },
		"commits backward":    func(e *Expired) { e.From = 4 },
		"nobody's clock":      func(e *Expired) { e.Clock.Source = "" },
		"the log's clock":     func(e *Expired) { e.Clock.Source = "log" },
	} {
		if err := w.add(entry(change)); why(err) != "invalid" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*Expired){
		"trusted":   func(*Expired) {},
		"witnesses": func(e *Expired) { e.Clock.Source, e.From = ClockWitnesses, 1 },
	} {
		before := len(w.state.Expiries)
		w.must(entry(change))
		if len(w.state.Expiries) != before+1 {
			t.Errorf("%s: not noted", name)
		}
	}
}

// TestPolicyKeepsWhoDecided: what the policy root does day by day does not change by how many the rest was decided.
func TestPolicyKeepsWhoDecided(t *testing.T) {
	w := newWorld(t)
	if !w.state.Single() {
		t.Error("no policy: not single control")
	}
	w.dual()
	if !w.state.Single() {
		t.Error("approvers enrolled by the root alone: not single control")
	}
	id := w.must(w.sign(anna, TypeRequest, w.propose(func(p *Policy) { p.Classes[0].Keep = 60 })))
	w.must(w.approve(anna, id))
	w.must(w.approve(bert, id))
	if w.state.Single() {
		t.Error("decided by two: single control")
	}
	p := *w.state.Policy()
	p.Version++
	p.Writers = append(p.Writers[:1:1], Writer{Name: "other", Key: []byte{8}})
	w.must(w.sign("root", TypePolicy, p))
	if w.state.Single() || len(w.state.Policy().Writers) != 2 {
		t.Error("a writer more: single control")
	}
}
