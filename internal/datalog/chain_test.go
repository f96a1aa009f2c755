package datalog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	. "github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/merkle"
)

const (
	squat  = ": squat: "
	fork   = ": fork: "
	absent = ": missing: "
)

// TestCommitRules: what is said of a file at the number behind three commits of a log.
func TestCommitRules(t *testing.T) {
	number := squat + "commit is number "
	for _, x := range []struct {
		name   string
		change func(w *world, c *commit.Commit)
		by     string
		found  string
	}{
		{"as it is", func(*world, *commit.Commit) {}, one, ""},
		{"by another compactor", func(*world, *commit.Commit) {}, two, ""},
		{"by a stranger", func(*world, *commit.Commit) {}, "acme/compactor/three", squat + "commit: signature: "},
		{"in the name of another", func(_ *world, c *commit.Commit) { c.By = one }, two, squat + "commit: signed by " + two},
		{"of another archive", func(_ *world, c *commit.Commit) { c.Archive[0]++ }, one, number + "3 of " + "acme/0/2026Q3"},
		{"of another log", func(_ *world, c *commit.Commit) { c.Log = "acme/0/2026Q4" }, one, number + "3 of acme/0/2026Q4"},
		{"of another partition", func(_ *world, c *commit.Commit) { c.Log = "acme/1/2026Q3" }, one, number + "3 of acme/1/2026Q3"},
		{"of another number", func(_ *world, c *commit.Commit) { c.N = 4 }, one, number + "4 of acme/0/2026Q3"},
		{"from before there was a policy", func(_ *world, c *commit.Commit) { c.Control = 0 }, one, squat + "control: no policy at size 0"},
		{"of a control log that is not here", func(_ *world, c *commit.Commit) { c.Control = 2 }, one, absent + chain.ErrOrphan.Error() + ": control/ is older here than logs/: it was made when the control log had 2 entries, now it has 1"},
		{"that breaks a rule", func(_ *world, c *commit.Commit) { c.SourceTime = noon.Add(-1) }, one, squat + "commit: goes back in"},
		{"that continues its log", func(w *world, c *commit.Commit) { c.Continues = &commit.End{Log: c.Log, N: 2} }, one, squat + "commit: it says that it continues another log"},
		{"of the parent before", func(w *world, c *commit.Commit) { c.Prev = commit.Hash(w.store.objects[key(q3, 1)][0].data) }, one, fork + chain.ErrFork.Error() + ": commit: names parent"},
		{"of no parent", func(w *world, c *commit.Commit) { c.Prev = commit.Hex32{} }, one, fork + chain.ErrFork.Error()},
		{"of an unknown parent", func(w *world, c *commit.Commit) { c.Prev[0]++ }, one, absent + chain.ErrOrphan.Error() + ": commit: names parent"},
		{"with another burnt number", func(_ *world, c *commit.Commit) { c.Burnt = []uint64{2} }, one, squat + "declares burnt numbers [2], found []"},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t)
			c := w.child(q3, w.extend(q3, nil, one, 3))
			x.change(w, &c)
			w.putAt(q3, 3, w.sign(c, x.by))
			next := uint64(3)
			if x.found == "" {
				next = 4
			}
			w.reads(w.chain(q3), next, x.found, "")
		})
	}
}

// TestBehindFinal: nothing may follow a final commit in its log, whatever it names.
func TestBehindFinal(t *testing.T) {
	w := newWorld(t)
	final := w.put(q3, w.sign(w.closing(q3, q4, w.extend(q3, nil, one, 1)), one))
	next, strange := w.child(q3, final), w.child(q3, final)
	strange.N, strange.Prev = 3, commit.Hex32{9}
	w.put(q3, w.sign(next, one))
	w.put(q3, w.sign(strange, one))
	l := w.reads(w.chain(q3), 2, key(q3, 2)+fork, "")
	if !slices.Equal(l.Tail.Burnt, []uint64{2, 3}) {
		t.Errorf("%+v", l.Tail)
	}
}

// TestControlLogGrows: a commit of a newer control log than was read makes it be read on; where that fails, nothing is
// decided.
func TestControlLogGrows(t *testing.T) {
	w := newWorld(t)
	old := w.open()
	first := w.extend(q3, nil, one, 1)
	w.heads(one, first.head())
	w.extend(q3, first, one, 1)
	l := New(old, w.store, &w.trust, 0, q3)
	w.store.down = "control/"
	w.reads(l, 1, "", chain.ErrUndecided.Error()+": list control/log/: "+errDown.Error())
	w.store.down = ""
	w.reads(l, 2, "", "")
}

// newerFile is a commit of a version that is not known here.
func (w *world) newerFile(parent *link, by string, edit func(*commit.Commit)) []byte {
	c := w.child(q3, parent)
	if edit != nil {
		edit(&c)
	}
	if c.By == "" {
		c.By = by
	}
	c.Stele = "commit/v9"
	line, err := commit.MarshalLine(&c)
	if err != nil {
		w.Fatal(err)
	}
	return w.noted(string(line), by)
}

// TestNewerVersion: what a compactor made in a form that is not known here is neither burnt nor passed over. What only looks
// so is.
func TestNewerVersion(t *testing.T) {
	newer := chain.ErrUndecided.Error() + ": acme/compactor/one signed logs/0/2026Q3/commits/00000000000000000001 in a form that is not known here"
	unknown := squat + `commit/v1: the file is "commit/v9"; a newer stele may read it`
	for _, x := range []struct {
		name        string
		edit        func(*commit.Commit)
		by          string
		found, says string
	}{
		{"as it is", nil, one, "", newer},
		{"by a stranger", nil, "acme/compactor/three", unknown, ""},
		{"in the name of another", func(c *commit.Commit) { c.By = one }, two, unknown, ""},
		{"of another archive", func(c *commit.Commit) { c.Archive[0]++ }, one, unknown, ""},
		{"of another log", func(c *commit.Commit) { c.Log = "acme/0/2026Q4" }, one, unknown, ""},
		{"of another number", func(c *commit.Commit) { c.N++ }, one, unknown, ""},
		{"of a control log that is not here", func(c *commit.Commit) { c.Control++ }, one, unknown, ""},
		{"of no policy", func(c *commit.Commit) { c.Control = 0 }, one, squat + "control: no policy at size 0", ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t)
			file := w.newerFile(w.extend(q3, nil, one, 1), x.by, x.edit)
			w.putAt(q3, 1, &link{file: file})
			w.reads(w.chain(q3), 1, x.found, x.says)
		})
	}
	w := newWorld(t)
	first := w.extend(q3, nil, one, 2)
	file := &link{file: w.newerFile(first, one, nil)}
	w.putAt(q3, 2, file)
	w.heads(two, control.Head{Log: first.c.Log, Commit: 2, Hash: file.hash()})
	l := w.chain(q3)
	w.revoke("one")
	w.reads(l, 0, squat+"the key of acme/compactor/one was revoked before this commit", "") // its head vouches for nothing: what it builds on is not known
}

// TestAccept: what a chain says of streams and lanes.
func TestAccept(t *testing.T) {
	w := newWorld(t)
	a, b, idle := commit.Hex16{2}, commit.Hex16{1}, commit.Hex16{3}
	first := w.child(q3, nil)
	first.Streams = []commit.Tip{{ID: a, From: 0, Next: 5}, {ID: b, From: 0, Next: 1}, {ID: idle}}
	first.Source.Lanes = map[string]commit.Lane{"0": {Next: 3}, "1": {Next: 4}}
	second := w.child(q3, w.put(q3, w.sign(first, one)))
	second.Streams = []commit.Tip{{ID: a, From: 8, Next: 10, Gaps: []commit.Gap{{From: 5, To: 8}}, Late: [][2]uint64{{5, 6}}, Encaps: []commit.EncapAt{{Commit: 1}}}}
	second.Source.Lanes = map[string]commit.Lane{"0": {Next: 9}}
	f := new(merkle.Frontier)
	f.Append(merkle.Hash{1})
	second.Tree = commit.Tree{Size: 1, Root: f.Root(), After: f.Hashes()}
	last := w.put(q3, w.sign(second, one))
	l := w.chain(q3)
	var took []uint64
	l.Took = func(o chain.Object, c *commit.Commit) { took = append(took, o.N, c.N) }
	if empty, err := l.Frontier(); empty.Size() != 0 || err != nil || l.Knows(a) {
		t.Errorf("of an empty log: %v, %v", empty.Size(), err)
	}
	w.reads(l, 2, "", "")
	if !slices.Equal(took, []uint64{0, 0, 1, 1}) || l.LastHash != last.hash() || l.Lanes["0"].Next != 9 || l.Lanes["1"].Next != 4 || l.Tips[a].Next != 10 {
		t.Errorf("%v %+v %+v", took, l.Lanes, l.Tips)
	}
	if end, err := l.Frontier(); end.Root() != f.Root() || err != nil {
		t.Errorf("%v, %v", end.Root(), err)
	}
	if !l.Knows(a) || !l.Knows(b) || l.Knows(idle) || l.Knows(commit.Hex16{9}) {
		t.Error("of which streams there are leaves")
	}
	for at, want := range map[[2]uint64][]uint64{{0, 5}: {0}, {4, 5}: {0}, {4, 6}: {0, 1}, {5, 6}: {1}, {6, 8}: nil, {5, 5}: nil, {7, 9}: {1}, {9, 10}: {1}, {10, 11}: nil, {0, 20}: {0, 1, 1}} {
		if got := l.Holding(a, at[0], at[1]); !slices.Equal(got, want) {
			t.Errorf("%v: %v, want %v", at, got, want)
		}
	}
	if tips := l.AllTips(); len(tips) != 3 || tips[0].ID != b || tips[1].ID != a || tips[2].ID != idle {
		t.Errorf("%v", tips)
	}

	next := w.chain(q4)
	next.Follow(l)
	got := next.Tips[a]
	if got.From != 10 || got.Next != 10 || got.Late != nil || got.Encaps != nil || len(got.Gaps) != 1 || next.Lanes["1"].Next != 4 || next.Before.Hash != last.hash() || next.Before.Commit != l.Last || next.Knows(a) {
		t.Errorf("%+v %+v %+v", got, next.Lanes, next.Before)
	}
	if l.Tips[a].From != 8 {
		t.Error("the log before was changed")
	}
}

// TestAgrees: nobody goes on with a log that ends before, or has another commit at, the newest head in the control log.
func TestAgrees(t *testing.T) {
	w := newWorld(t)
	last := w.extend(q3, nil, one, 3)
	other := last.head()
	other.Hash[0]++
	for _, x := range []struct {
		name string
		head control.Head
		says string
	}{
		{"no head", control.Head{}, "<nil>"},
		{"its own", last.head(), "<nil>"},
		{"an older one", control.Head{Log: last.c.Log, Commit: 1, Hash: last.c.Prev}, "<nil>"},
		{"of a later commit", control.Head{Log: last.c.Log, Commit: 3}, "the control log holds the head of commit 3, but the store ends before it: the log was cut"},
		{"of another commit", other, "commit 2 is not the one whose head the control log holds: the log was rewritten"},
	} {
		l := w.chain(q3)
		l.Head = x.head
		if says := fmt.Sprint(w.reads(l, 3, "", "").Agrees()); says != x.says {
			t.Errorf("%s: %s", x.name, says)
		}
	}
	if err := w.chain(q4).Agrees(); err != nil {
		t.Errorf("an empty log without a head: %v", err)
	}
	empty := w.chain(q4)
	empty.Head = control.Head{Log: empty.Origin}
	if err := empty.Agrees(); err == nil {
		t.Error("an empty log agrees with a head of it")
	}
}

// TestContinues: the first commit of a later log is a child of the final one of the log before, which is looked up.
func TestContinues(t *testing.T) {
	end := func(log string, n uint64) func(*world, *commit.Commit) {
		return func(_ *world, c *commit.Commit) { c.Continues = &commit.End{Log: log, N: n} }
	}
	lies := func(edit func(s *store)) func(*world, *commit.Commit) {
		return func(w *world, _ *commit.Commit) { edit(w.store) }
	}
	broken := func(err error) func(s *store) { return func(s *store) { s.objects[key(q3, 1)][0].err = err } }
	orphan := absent + chain.ErrOrphan.Error() + ": "
	foreign, noFinal := orphan+"it says that it continues ", orphan+"commit 1 of acme/0/2026Q3 is no final one, or not there"
	undecided := chain.ErrUndecided.Error() + ": "
	for _, x := range []struct {
		name        string
		change      func(*world, *commit.Commit)
		found, says string
	}{
		{"as it is", func(*world, *commit.Commit) {}, "", ""},
		{"does not say so", func(_ *world, c *commit.Commit) { c.Continues = nil }, orphan + "commit: not the first of its partition", ""},
		{"names another hash", func(_ *world, c *commit.Commit) { c.Prev[0] = ^c.Prev[0] }, orphan + "it names ", ""},
		{"breaks a rule", func(_ *world, c *commit.Commit) { c.SourceTime = noon.Add(-1) }, fork + chain.ErrFork.Error() + ": commit: goes back", ""},
		{"continues another partition", end("acme/1/2026Q3", 1), foreign + `"acme/1/2026Q3"`, ""},
		{"continues another archive", end("other/0/2026Q3", 1), foreign, ""},
		{"continues no period", end("acme/0/none", 1), foreign, ""},
		{"continues what is not final", end("acme/0/2026Q3", 0), orphan + "commit 0 of acme/0/2026Q3 is no final one", ""},
		{"continues what is not there", end("acme/0/2026Q3", 2), orphan + "commit 2 of acme/0/2026Q3 is no final one, or not there", ""},
		{"the final one is gone", lies(func(s *store) { delete(s.objects, key(q3, 1)) }), noFinal, ""},
		{"the final one is gone, not what is behind it", lies(func(s *store) {
			s.objects[key(q3, 2)] = s.objects[key(q3, 1)]
			delete(s.objects, key(q3, 1))
		}), noFinal, ""},
		{"the final one is another, behind it", func(w *world, c *commit.Commit) {
			delete(w.store.objects, key(q3, 1))
			final := w.closing(q3, q4, nil)
			final.N = 2
			c.Prev = commit.Hash(w.put(q3, w.sign(final, one)).file)
		}, noFinal, ""},
		{"the final one was replaced", lies(func(s *store) { s.objects[key(q3, 1)][0].data = []byte("rubbish") }), noFinal, ""},
		{"the final one is gone while it is read", lies(broken(fmt.Errorf("reading: %w", errGone))), noFinal, ""},
		{"the final one is not to be read", lies(broken(errDown)), "", undecided + errDown.Error()},
		{"the log before is not to be listed", lies(func(s *store) { s.down = "logs/0/2026Q3/" }), "", undecided + "list "},
		{"the final one is of a newer version", func(w *world, _ *commit.Commit) {
			v := &w.store.objects[key(q3, 1)][0]
			v.data = w.newerFile(&link{c: commit.Commit{N: 0}}, one, nil)
		}, "", undecided + one + " signed "},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t)
			final := w.put(q3, w.sign(w.closing(q3, q4, w.extend(q3, nil, one, 1)), one))
			c := w.first(q4, final)
			x.change(w, &c)
			w.put(q4, w.sign(c, one))
			next := uint64(0)
			if x.found+x.says == "" {
				next = 1
			}
			l := w.reads(w.chain(q4), next, x.found, x.says)
			if next == 1 && (l.Before == nil || l.Before.Hash != final.hash() || l.Before.Commit.N != 1) {
				t.Errorf("%+v", l.Before)
			}
			if next == 0 && l.Before != nil {
				t.Errorf("what was refused made it continue %+v", l.Before)
			}
		})
	}
}

// TestContinuesWhatWasRead: a log that was followed is not looked up again, and one beside it is.
func TestContinuesWhatWasRead(t *testing.T) {
	w := newWorld(t)
	final := w.put(q3, w.sign(w.closing(q3, q4, w.extend(q3, nil, one, 1)), one))
	before := w.reads(w.chain(q3), 2, "", "")
	good := w.first(q4, final)
	start := w.child(q4, nil)
	otherLog, otherEnd := good, good
	otherLog.Continues, otherEnd.Continues = &commit.End{Log: "acme/0/2026Q2", N: 1}, &commit.End{Log: final.c.Log, N: 0}
	nobody := errors.New("looked up")
	for _, x := range []struct {
		name, found string
		c           commit.Commit
		next        uint64
	}{
		{"as it is", "", good, 1},
		{"a start from nothing", fork + chain.ErrFork.Error() + ": it does not continue acme/0/2026Q3", start, 0},
		{"another log", squat + nobody.Error(), otherLog, 0},
		{"another commit", squat + nobody.Error(), otherEnd, 0},
	} {
		delete(w.store.objects, key(q4, 0))
		w.put(q4, w.sign(x.c, one))
		l := w.chain(q4)
		l.Follow(before)
		l.Closed = func(context.Context, commit.End) (*Ending, error) { return nil, nobody }
		w.reads(l, x.next, x.found, "")
	}
}
