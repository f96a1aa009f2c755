package control_test

import (
	"errors"
	"slices"
	"testing"

	. "github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/merkle"
)

// head is a head of a log of n leaves.
func (w *world) head(log string, n uint64) Head {
	w.t.Helper()
	cp, err := merkle.Checkpoint{Origin: log, Size: n, Root: merkle.Hash{byte(n)}}.Sign(w.keys["test/compactor/default"])
	if err != nil {
		w.t.Fatal(err)
	}
	return Head{Log: log, Commit: n, Checkpoint: string(cp)}
}

// A list of logs has an effect if it is that of the heads before it, at a size that the log had, and by a compactor.
func TestListOfLogs(t *testing.T) {
	w := newWorld(t)
	list := func(size uint64) Logs { return NewLogs(size, w.state.LogLines(size)) }
	put := func(heads ...Head) { w.must(w.sign("compactor/default", TypeHeads, Heads{Heads: heads})) }
	put(w.head("test/1/2026Q4", 5), w.head("test/0/2026Q4", 0))
	first := w.state.Size()
	put(w.head("test/1/2026Q4", 9))
	put(w.head("test/1/2026Q4", 7)) // an older one, late
	put(w.head("test/0/2027Q1", 1), Head{Log: "test/0/2027Q2", Checkpoint: "none"})
	want := []string{LogLine(merkle.Checkpoint{Origin: "test/0/2026Q4", Root: merkle.Hash{}}), LogLine(merkle.Checkpoint{Origin: "test/0/2027Q1", Size: 1, Root: merkle.Hash{1}}),
		LogLine(merkle.Checkpoint{Origin: "test/1/2026Q4", Size: 9, Root: merkle.Hash{9}})}
	if got := w.state.LogLines(w.state.Size()); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := w.state.LogLines(first); len(got) != 2 || got[1] != LogLine(merkle.Checkpoint{Origin: "test/1/2026Q4", Size: 5, Root: merkle.Hash{5}}) {
		t.Errorf("at %d: %q", first, got)
	}
	w.must(w.sign("compactor/default", TypeLogs, list(w.state.Size())))
	// True, and of an earlier size: it lacks what came since, and breaks nothing.
	if err := w.add(w.sign("compactor/default", TypeLogs, list(first))); why(err) != "invalid" || errors.As(err, new(*FalseLogs)) {
		t.Errorf("an old list: %v", err)
	}
	w.wrong("role", w.sign("keyservice/default", TypeLogs, list(first)))
	if n := len(w.state.Lists); n != 1 || w.state.Lists[0].Index != w.state.Lists[0].Control || w.state.Lists[0].By != "test/compactor/default" {
		t.Errorf("%+v", w.state.Lists)
	}
	now := list(w.state.Size())
	for name, lie := range map[string]Logs{
		"a log less": NewLogs(now.Control, want[:2]), "another root": {Control: now.Control, Logs: 3}, "of a later size": list(w.state.Size() + 100),
		"a count": {Control: now.Control, Logs: 2, Root: now.Root}, "of an earlier size": {Control: first, Logs: now.Logs, Root: now.Root},
	} {
		err := w.add(w.sign("compactor/default", TypeLogs, lie))
		if false_ := new(FalseLogs); !errors.As(err, &false_) || false_.By != "test/compactor/default" || why(err) != "invalid" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Heads that a compactor logged before its key was revoked do not make a log longer for ever than it is.
func TestListWithoutARevokedCompactor(t *testing.T) {
	const log = "test/0/2026Q4"
	w := newWorld(t)
	p := w.policy(2)
	p.Compactors = w.named("compactor", "default", "second")
	w.must(w.sign("root", TypePolicy, p))
	ahead := w.head(log, 200)
	ahead.Commit = 1 << 50
	w.must(w.sign("compactor/second", TypeHeads, Heads{Heads: []Head{w.head(log, 5), ahead}}))
	before := w.state.Size()
	w.must(w.sign("compactor/default", TypeHeads, Heads{Heads: []Head{w.head(log, 4), w.head("test/1/2026Q4", 3)}}))
	of := func(size uint64, want ...string) {
		t.Helper()
		if got := w.state.LogLines(size); !slices.Equal(got, want) {
			t.Errorf("at %d: %q, want %q", size, got, want)
		}
	}
	line := func(log string, n uint64) string {
		return LogLine(merkle.Checkpoint{Origin: log, Size: n, Root: merkle.Hash{byte(n)}})
	}
	if got := w.state.Binding(log); got.Commit != 1<<50 {
		t.Errorf("before the revocation the newest head is that of commit %d", got.Commit)
	}
	if err := p.Revoke(RoleCompactor, "second", map[string]uint64{log: 5}); err != nil {
		t.Fatal(err)
	}
	p.Version = 3
	w.must(w.sign("root", TypePolicy, p))
	after := w.state.Size()
	of(before, line(log, 200))
	of(after, line(log, 5), line("test/1/2026Q4", 3))
	if got := w.state.Binding(log); got.Commit != 5 {
		t.Errorf("the newest head is that of commit %d", got.Commit)
	}
	w.must(w.sign("compactor/default", TypeLogs, NewLogs(after, w.state.LogLines(after))))
	w.must(w.sign("compactor/default", TypeHeads, Heads{Heads: []Head{w.head(log, 9)}}))
	of(w.state.Size(), line(log, 9), line("test/1/2026Q4", 3))
	w.wrong("role", w.sign("compactor/second", TypeHeads, Heads{Heads: []Head{w.head(log, 99)}}))
}
