package control_test

import (
	"errors"
	"testing"

	"github.com/stelelog/stele/internal/commit"
	. "github.com/stelelog/stele/internal/control"
)

// Heads have an effect under any roster that had one before them, or under none; else their compactor is convicted.
func TestHeadsNameARoster(t *testing.T) {
	w := newWorld(t)
	put := func(roster string) error {
		h := Heads{Heads: []Head{w.head("test/0/2026Q4", w.state.Size())}}
		if roster != "" {
			h.Roster = commit.Hash([]byte(roster))
		}
		return w.add(w.sign("compactor/default", TypeHeads, h))
	}
	first := w.sign("root", TypeRoster, NewRoster(w.state.Policy()))
	if w.state.Roster() != (commit.Hex32{}) {
		t.Error("a roster before there is one")
	}
	if put("") != nil {
		t.Error("heads without a roster are refused")
	}
	false_ := new(FalseRoster)
	if err := put(first); !errors.As(err, &false_) || false_.By != "test/compactor/default" || why(err) != "invalid" {
		t.Errorf("a roster that is not there yet: %v", err)
	}
	w.must(first)
	if put(first) != nil || w.state.Roster() != commit.Hash([]byte(first)) {
		t.Error("the roster is refused, or not the newest")
	}
	idle := w.sign("root", TypeRoster, Roster{Version: 1, Names: 1})
	w.wrong("invalid", idle)
	if err := put(idle); !errors.As(err, &false_) {
		t.Errorf("a roster without effect: %v", err)
	}
	if err := put(w.sign("root", TypePolicy, w.policy(1))); !errors.As(err, &false_) {
		t.Errorf("no roster: %v", err)
	}
	w.must(w.sign("root", TypePolicy, w.policy(2)))
	second := w.sign("root", TypeRoster, NewRoster(w.state.Policy()))
	w.must(second)
	if put(first) != nil || put(second) != nil || w.state.Roster() != commit.Hash([]byte(second)) {
		t.Error("heads under the roster before, or under the new one, are refused")
	}
	if n := len(w.state.Heads["test/0/2026Q4"]); n != 4 {
		t.Errorf("%d heads have an effect, not 4", n)
	}
}
