package keyroot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/keyring"
)

// TestChain folds and erases through records; whoever reads the chain anew has the same keys, opened with the top key of
// the newest generation and no other.
func TestChain(t *testing.T) {
	s := newService(t)
	s.fold(t, 40)
	want := scopes(t, s.ring)
	for step := range byte(4) {
		s.fold(t, 10)
		before, _ := s.state.Last()
		ring := s.ring
		list := s.erase(t, step)
		after, _ := s.state.Last()
		if err := keyring.AuditErasure(context.Background(), before.Public(s.packs), after.Public(s.packs), list); err != nil {
			t.Fatal(err)
		}
		if list.Scopes() < 10 || len(scopes(t, ring)) != len(scopes(t, s.ring))+int(list.Scopes()) {
			t.Fatalf("%d scopes were erased of %d", list.Scopes(), len(want))
		}
	}
	reader := s.twin(t)
	last, hash := s.state.Last()
	again, hashAgain := reader.state.Last()
	if hash != hashAgain || len(reader.found) > 0 || again.Live != uint64(len(scopes(t, reader.ring))) || again.Live == 0 {
		t.Fatalf("read anew: %s, %s, %v, %d live", hash, hashAgain, reader.found, again.Live)
	}
	if gens := reader.state.Generations(); len(gens) != 5 || gens[4].Number != 5 || gens[4].First != last.N {
		t.Errorf("generations %v", gens)
	}
	for g, top := range s.tops {
		_, err := last.Open(&top, s.packs)
		if (err == nil) != (g == last.Generation) || err != nil && !errors.Is(err, ErrTop) {
			t.Errorf("top key of generation %d on generation %d: %v", g, last.Generation, err)
		}
	}
	if fmt.Sprintf("%v %#v", s.tops[1], s.tops[1]) != "top key keyroot.Top{…}" {
		t.Error("a top key shows itself")
	}
	top := s.tops[1]
	top.Wipe()
	if top != (Top{}) {
		t.Error("not wiped")
	}
}

// TestOldGenerationsAreDead: with every record, every pack, and the newest top key, what was erased is nowhere. If the
// new generation had the top key of the one before, it would be.
func TestOldGenerationsAreDead(t *testing.T) {
	for _, broken := range []bool{false, true} {
		s := newService(t)
		s.fold(t, 50)
		all := scopes(t, s.ring)
		for step := range byte(3) {
			x, _ := s.eraseNext(t, step)
			if broken {
				top := s.tops[1]
				x.Top = &top
				s.tops[uint64(step)+2] = top
			}
			if !s.put(t, x) {
				t.Fatal("lost")
			}
		}
		last, _ := s.state.Last()
		live := scopes(t, s.ring)
		top := s.tops[last.Generation]
		found := map[[16]byte]bool{}
		for _, versions := range s.space {
			r, err := Peek(versions[0])
			if err != nil {
				t.Fatal(err)
			}
			if ring, err := r.Open(&top, s.packs); err == nil {
				for id := range scopes(t, ring) {
					found[id] = true
				}
			}
		}
		if len(live) >= len(all) || len(live) == 0 {
			t.Fatalf("%d of %d live", len(live), len(all))
		}
		if want := len(live); !broken && len(found) != want || broken && len(found) != len(all) {
			t.Errorf("broken=%v: %d of %d scopes found, %d live", broken, len(found), len(all), want)
		}
	}
}

// TestTwoServices build on one record: one wins each number, the other starts again from what won.
func TestTwoServices(t *testing.T) {
	a := newService(t)
	a.fold(t, 10)
	b := a.twin(t)
	xa, _ := a.eraseNext(t, 1)
	b.serial = 1000
	xb := b.foldNext(t, 5)
	if !a.put(t, xa) {
		t.Fatal("a lost, and nobody else was there")
	}
	if b.put(t, xb) {
		t.Fatal("b won a number that a has")
	}
	lastA, hashA := a.state.Last()
	_, hashB := b.state.Last()
	if hashA != hashB || lastA.Generation != 2 {
		t.Fatalf("%s and %s, generation %d", hashA, hashB, lastA.Generation)
	}
	if _, ok := b.tops[2]; ok {
		t.Fatal("b has a key that it cannot have")
	}
	b.tops[2] = a.tops[2] // from the custodians
	b.read(t)
	b.fold(t, 5)
	a.read(t)
	if _, hashA = a.state.Last(); hashA == hashB || len(a.found)+len(b.found) > 0 {
		t.Errorf("%v %v", a.found, b.found)
	}
	// Building on what is not the end any more is noticed before it is written, too.
	if _, err := b.state.Build(b.tail, xb, b.random, b.signer); !errors.Is(err, ErrRule) {
		t.Errorf("a stale fold: %v", err)
	}
}

// TestSquatting: what is put at the next number beforehand burns it, whoever put it; what is put over a record, or
// ahead, changes nothing.
func TestSquatting(t *testing.T) {
	s := newService(t)
	s.fold(t, 10)
	old := s.space[0][0]
	s.space[1] = [][]byte{[]byte("garbage")}
	s.space[2] = [][]byte{old}
	s.read(t)
	s.fold(t, 10)
	last, _ := s.state.Last()
	if last.N != 3 || len(last.Burnt) != 2 {
		t.Fatalf("record %d, burnt %v", last.N, last.Burnt)
	}
	s.space[3] = append(s.space[3], []byte("later version"))
	s.space[9] = [][]byte{[]byte("ahead")}
	reader := s.twin(t)
	if again, _ := reader.state.Last(); again.N != 3 {
		t.Errorf("record %d is the newest", again.N)
	}
	kinds := ""
	for _, f := range reader.found {
		kinds += string(f.Kind) + " "
	}
	if kinds != "squat squat version squat " {
		t.Errorf("found %q", kinds)
	}
	// Something valid that comes to lie at a burnt number later does not count.
	s.space[1] = s.space[3]
	if again, _ := s.twin(t).state.Last(); again.N != 3 {
		t.Errorf("record %d is the newest", again.N)
	}
}

// TestFork: two children of one record are a fork; the first by number is followed.
func TestFork(t *testing.T) {
	a := newService(t)
	a.fold(t, 10)
	b := a.twin(t)
	a.fold(t, 10)
	b.tail.Next, b.tail.Burnt = 2, []uint64{1}
	file, err := b.state.Build(b.tail, b.foldNext(t, 7), b.random, b.signer)
	if err != nil {
		t.Fatal(err)
	}
	a.space[2] = [][]byte{file}
	reader := a.twin(t)
	_, want := a.state.Last()
	if _, hash := reader.state.Last(); hash != want || len(reader.found) != 1 || reader.found[0].Kind != chain.Fork {
		t.Errorf("%v", reader.found)
	}
}

// TestRollback: whoever remembers a record notices when the chain ends before it, or has another one there.
func TestRollback(t *testing.T) {
	s := newService(t)
	s.fold(t, 10)
	s.fold(t, 10)
	_, hash := s.state.Last()
	s.erase(t, 1)
	_, newest := s.state.Last()
	for n, h := range map[uint64]commit.Hex32{1: hash, 2: newest} {
		if err := s.state.Require(n, h); err != nil {
			t.Error(err)
		}
	}
	delete(s.space, 2)
	back := s.twin(t)
	if err := back.state.Require(1, hash); err != nil {
		t.Error(err)
	}
	if err := back.state.Require(2, newest); !errors.Is(err, ErrLost) {
		t.Errorf("the newest record is gone: %v", err)
	}
	back.fold(t, 3)
	if err := back.state.Require(2, newest); !errors.Is(err, ErrLost) {
		t.Errorf("another one is in its place: %v", err)
	}
	delete(s.space, 1)
	if back := s.twin(t); len(back.found) != 1 || back.found[0].Kind != chain.Missing {
		t.Errorf("a record in the middle is gone: %v", back.found)
	}
}

// TestRecovery: the newest record of a generation is lost, an older one of the same generation stands in.
func TestRecovery(t *testing.T) {
	s := newService(t)
	s.fold(t, 20)
	s.erase(t, 1)
	s.fold(t, 10)
	from, _ := s.state.Last()
	s.fold(t, 5)
	lost, hash := s.state.Last()
	delete(s.space, lost.N)

	r := s.twin(t)
	if err := r.state.Require(lost.N, hash); !errors.Is(err, ErrLost) {
		t.Fatal(err)
	}
	top := r.tops[from.Generation]
	ring, err := from.Open(&top, r.packs)
	if err != nil {
		t.Fatal(err)
	}
	next := func(recovery Recovery) Next {
		return Next{Ring: ring, Top: &top, Packs: from.Packs, NextPack: lost.NextPack, Folded: from.Folded, Live: from.Live, Time: r.at, Recovery: &recovery}
	}
	good := Recovery{From: from.N, Lost: []Lost{{lost.N, hash}}, Missing: lost.Live - from.Live, Approval: commit.Hex32{1}}
	for name, change := range map[string]func(*Recovery){
		"a record of an older generation": func(r *Recovery) { r.From = 0 },
		"another record":                  func(r *Recovery) { r.From-- },
		"nothing approves":                func(r *Recovery) { r.Approval = commit.Hex32{} },
	} {
		bad := good
		change(&bad)
		if _, err := r.state.Build(r.tail, next(bad), r.random, r.signer); !errors.Is(err, ErrRule) {
			t.Errorf("%s: %v", name, err)
		}
	}
	none := good
	none.Lost = nil
	if _, err := r.state.Build(r.tail, next(none), r.random, r.signer); err == nil {
		t.Error("a recovery without a loss")
	}
	if !r.put(t, next(good)) {
		t.Fatal("lost")
	}
	if err := r.state.Require(lost.N, hash); !errors.Is(err, ErrLost) {
		t.Errorf("a key service says what is lost, and it counts: %v", err)
	}
	if x := r.state.Recoveries(); len(x) != 1 || x[0].Live != from.Live || x[0].Generation != 2 || len(scopes(t, r.ring)) != int(from.Live) {
		t.Errorf("%+v, %d scopes", x, len(scopes(t, r.ring)))
	}
	if _, err := r.state.Build(r.tail, next(good), r.random, r.signer); !errors.Is(err, ErrRule) {
		t.Errorf("one approval for two records: %v", err)
	}
	r.serial = s.serial
	r.fold(t, 5)
}

// TestSucceeds: two files alone show that one is not the parent of the other.
func TestSucceeds(t *testing.T) {
	s := newService(t)
	s.fold(t, 10)
	parent, _ := s.state.Last()
	file := s.space[0][0]
	s.fold(t, 10)
	r, _ := s.state.Last()
	if err := r.Succeeds(parent, file); err != nil {
		t.Error(err)
	}
	if err := r.Succeeds(parent, append(bytes.Clone(file), '\n')); err == nil || !strings.Contains(err.Error(), "names the parent") {
		t.Errorf("another file: %v", err)
	}
	later := *r
	later.Live++
	if err := later.Succeeds(parent, file); !errors.Is(err, ErrRule) {
		t.Errorf("another count: %v", err)
	}
}

// TestSlowClock: a key service whose clock is behind says the time of the record before.
func TestSlowClock(t *testing.T) {
	s := newService(t)
	s.fold(t, 10)
	before, _ := s.state.Last()
	x := s.foldNext(t, 10)
	x.Time = before.Time.Add(-time.Hour)
	if !s.put(t, x) {
		t.Fatal("lost")
	}
	if r, _ := s.state.Last(); !r.Time.Equal(before.Time) {
		t.Errorf("at %s, after %s", r.Time, before.Time)
	}
}
