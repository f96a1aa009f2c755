package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/keytrie"
)

// filled is a world with some runs.
func filled(t fatal, scopes int) (*world, []Scope) {
	w := newWorld(21)
	var all []Scope
	for i := range 3 {
		b := Batch{}
		if i == 0 {
			b.Intake = []IntakeKey{intake(keyscope.Week(keyscope.DayStart(firstDay))), intake(9999)}
		}
		for range scopes / 3 {
			b.Scopes = append(b.Scopes, w.offer(30, uint16(w.rand.IntN(2)*5)))
		}
		all = append(all, b.Scopes...)
		w.fold(t, b)
	}
	return w, all
}

func (w *world) tagged(t fatal, tag Tag) []Located {
	found, err := w.Tagged(context.Background(), tag)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// erased makes a next version without looking at it.
func (w *world) erased(t fatal, e Erasure) (next *Ring, list *Erased) {
	next = w.write(t, func(out *keytrie.Writer) (next *Ring, err error) {
		next, list, err = w.Erase(context.Background(), out, e)
		return next, err
	})
	return next, list
}

// rebuilt replaces the key or index trie of a run by one of other entries.
func (w *world) rebuilt(t fatal, r *Ring, run int, index bool, change func([]keytrie.Entry) []keytrie.Entry) *Ring {
	ctx := context.Background()
	trie, root := r.keys(), &r.Runs[run].Keys
	if index {
		trie, root = r.index(), &r.Runs[run].Index
	}
	var entries []keytrie.Entry
	for e, err := range trie.All(ctx, *root) {
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	entries = change(entries)
	next := &Ring{Archive: r.Archive, Packs: r.Packs, Runs: slices.Clone(r.Runs)}
	return w.write(t, func(out *keytrie.Writer) (*Ring, error) {
		made, err := trie.Build(out, listed(entries))
		if index {
			next.Runs[run].Index = made
		} else {
			next.Runs[run].Keys = made
		}
		return next, err
	})
}

// TestGate lets versions that are wrong in one thing each come to the gate.
func TestGate(t *testing.T) {
	ctx := context.Background()
	w, _ := filled(t, 600)
	subject := tag("subject", 3)
	e := Erasure{Scopes: w.tagged(t, subject), Tombstones: []Tombstone{{Tag: subject, Cutoff: 5}}, Weeks: []uint16{9999}}
	good, list := w.erased(t, e)
	if err := Gate(ctx, w.Ring, good, &e, list, 100, w.keys); err != nil {
		t.Fatal(err)
	}
	if len(e.Scopes) < 5 || len(list.Spent) != len(e.Scopes) {
		t.Fatalf("%d scopes, %d spent: not much of a test", len(e.Scopes), len(list.Spent))
	}
	run := e.Scopes[0].Run
	with := func(more Erasure) *Ring {
		more.Scopes = append(slices.Clone(e.Scopes), more.Scopes...)
		more.Tombstones, more.Weeks = append(more.Tombstones, e.Tombstones...), append(more.Weeks, e.Weeks...)
		r, _ := w.erased(t, more)
		return r
	}
	is := func(space byte) func(keytrie.Entry) bool {
		return func(x keytrie.Entry) bool { return x.Path[0] == space }
	}
	drop := func(space byte) func([]keytrie.Entry) []keytrie.Entry {
		return func(in []keytrie.Entry) []keytrie.Entry {
			i := slices.IndexFunc(in, is(space))
			return slices.Delete(in, i, i+1)
		}
	}
	alter := func(at int) func([]keytrie.Entry) []keytrie.Entry {
		return func(in []keytrie.Entry) []keytrie.Entry {
			i := slices.IndexFunc(in, is(spaceExpire))
			in[i].Value = bytes.Clone(in[i].Value)
			in[i].Value[at] ^= 1
			return in
		}
	}
	without := func(n uint64) *Ring {
		less := maps.Clone(w.packs)
		delete(less, n)
		return &Ring{Archive: good.Archive, Packs: less, Runs: good.Runs}
	}
	left := func(in []keytrie.Entry) []keytrie.Entry {
		in = append(in, keytrie.Entry{Path: e.Scopes[0].tagPath(subject)})
		slices.SortFunc(in, func(a, b keytrie.Entry) int { return bytes.Compare(a.Path, b.Path) })
		return in
	}
	one := e
	one.Scopes = e.Scopes[1:]
	fewer, _ := w.erased(t, one)
	last := len(good.Runs) - 1
	for name, after := range map[string]*Ring{
		"one live key more goes":      with(Erasure{Scopes: w.tagged(t, tag("subject", 4))[:1]}),
		"one key stays":               fewer,
		"a whole day goes":            with(Erasure{Days: []uint16{firstDay + 5}}),
		"an intake key goes":          with(Erasure{Weeks: []uint16{keyscope.Week(keyscope.DayStart(firstDay))}}),
		"a stream goes":               w.rebuilt(t, good, 0, true, drop(indexStream)),
		"a tag of what stays goes":    w.rebuilt(t, good, run, true, drop(indexStay)),
		"a tag of what goes stays":    w.rebuilt(t, good, run, true, left),
		"a key is changed":            w.rebuilt(t, good, run, false, alter(20)),
		"tags in a value are changed": w.rebuilt(t, good, run, false, alter(fixedValue+3)),
		"an intake key is added": w.rebuilt(t, good, last, false, func(in []keytrie.Entry) []keytrie.Entry {
			return append([]keytrie.Entry{{Path: []byte{spaceIntake, 1}}}, in...)
		}),
		"a spent grant is forgotten":       w.rebuilt(t, good, last, false, drop(spaceSpent)),
		"the tombstone is forgotten":       w.rebuilt(t, good, last, true, drop(indexTombstone)),
		"another tombstone is set":         with(Erasure{Tombstones: []Tombstone{{Tag: subject, Cutoff: 6}}}),
		"nothing was done":                 w.Ring,
		"a run is missing":                 {Archive: good.Archive, Packs: good.Packs, Runs: good.Runs[1:]},
		"the pack of the erasure is gone":  without(good.Runs[last].Packs[0]),
		"a pack of what stays is gone":     without(w.Runs[run].Packs[0]),
		"the replica is of before":         {Archive: good.Archive, Packs: packs{1: w.packs[1]}, Runs: good.Runs},
		"the keys of another version open": {Archive: good.Archive, Packs: good.Packs, Runs: append(slices.Clone(good.Runs[:last]), w.Runs[0])},
	} {
		t.Run(name, func(t *testing.T) {
			if err := Gate(ctx, w.Ring, after, &e, list, 100, w.keys); !errors.Is(err, ErrGate) {
				t.Errorf("passes: %v", err)
			} else {
				t.Log(err)
			}
		})
	}
	more := e
	more.Scopes = append(slices.Clone(e.Scopes), w.tagged(t, tag("subject", 4))[0])
	if after, with := w.erased(t, more); !errors.Is(Gate(ctx, w.Ring, after, &e, with, 100, w.keys), ErrGate) {
		t.Error("a live key that the list names passes")
	}
	forgotten := &Erased{Removed: list.Removed, Spent: list.Spent[1:]}
	if after := w.rebuilt(t, good, last, false, drop(spaceSpent)); !errors.Is(Gate(ctx, w.Ring, after, &e, forgotten, 100, w.keys), ErrGate) {
		t.Error("a spent grant that the list does not name is forgotten, and that passes")
	}
	for name, other := range map[string]*Erased{
		"a list of fewer": {Removed: slices.Clone(list.Removed), Spent: list.Spent},
		"a list of more":  {Removed: slices.Clone(list.Removed), Spent: list.Spent},
		"no spent":        {Removed: list.Removed},
	} {
		switch name {
		case "a list of fewer":
			other.Removed[run] = list.Removed[run][1:]
		case "a list of more":
			s := w.tagged(t, tag("subject", 5))[0]
			other.Removed[s.Run] = sortSet(append(slices.Clone(list.Removed[s.Run]), s.path()))
		}
		if err := Gate(ctx, w.Ring, good, &e, other, 0, w.keys); !errors.Is(err, ErrGate) {
			t.Errorf("%s: %v", name, err)
		}
		if err := AuditErasure(ctx, w.Ring, good, other); !errors.Is(err, ErrPublic) {
			t.Errorf("%s, in public: %v", name, err)
		}
	}
}

// TestSharedTag: an index path that leads to two scopes goes with the second one only.
func TestSharedTag(t *testing.T) {
	ctx := context.Background()
	w := newWorld(1)
	var b Batch
	for i := range 2 {
		s := w.offer(1, 0)
		s.ID = [16]byte{byte(firstDay >> 8), byte(firstDay & 255), 1, 2, 3, 4, byte(i)}
		s.Stream, s.Encap = [16]byte{1}, [16]byte{2}
		s.Place(at(w.day, 0), 0)
		b.Scopes = append(b.Scopes, s)
	}
	w.fold(t, b)
	subject := tag("subject", 0)
	both := w.tagged(t, subject)
	if len(both) != 2 || !bytes.Equal(both[0].tagPath(subject), both[1].tagPath(subject)) {
		t.Fatalf("%d scopes, not with one index path", len(both))
	}
	e := Erasure{Scopes: both[:1]}
	good, list := w.erased(t, e)
	if err := Gate(ctx, w.Ring, good, &e, list, 10, w.keys); err != nil {
		t.Fatal(err)
	}
	bad := w.rebuilt(t, good, 0, true, func(in []keytrie.Entry) []keytrie.Entry {
		return slices.DeleteFunc(in, func(x keytrie.Entry) bool { return bytes.Equal(x.Path, both[0].tagPath(subject)) })
	})
	if err := Gate(ctx, w.Ring, bad, &e, list, 10, w.keys); !errors.Is(err, ErrGate) {
		t.Errorf("the path goes with the first one: %v", err)
	}
	w.Ring = good
	if found := w.tagged(t, subject); len(found) != 1 {
		t.Errorf("%d scopes are left", len(found))
	}
	w.erase(t, Erasure{Scopes: w.tagged(t, subject)})
	if w.Runs[0].Index.Count != 1 { // the stream's
		t.Errorf("%d index paths are left", w.Runs[0].Index.Count)
	}
}

// TestSample: a key of what stays that was damaged in an earlier version is found when enough are looked at.
func TestSample(t *testing.T) {
	ctx := context.Background()
	w, _ := filled(t, 60)
	bad := w.rebuilt(t, w.Ring, 0, false, func(in []keytrie.Entry) []keytrie.Entry {
		for i := range in {
			if IsScope(in[i].Path) {
				in[i].Value = bytes.Clone(in[i].Value)
				in[i].Value[30] ^= 1
			}
		}
		return in
	})
	if err := Gate(ctx, bad, bad, &Erasure{}, &Erased{Removed: make([][][]byte, len(bad.Runs))}, 200, w.keys); !errors.Is(err, ErrGate) {
		t.Errorf("the sample finds nothing: %v", err)
	}
	if err := bad.Verify(ctx); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Verify: %v", err)
	}
}

// TestDeterministic: from the same versions the same grants give the same paths in the same runs, in whatever order
// they come and whatever keys nodes have.
func TestDeterministic(t *testing.T) {
	a, b := newWorld(1), newWorld(2)
	for step := range 12 {
		var batch Batch
		a.rand, b.rand = newWorld(uint64(step)).rand, newWorld(uint64(step)).rand
		for range 1 + step*7%40 {
			batch.Scopes = append(batch.Scopes, a.offer(30, uint16(step%2*4)))
		}
		a.fold(t, batch)
		slices.Reverse(batch.Scopes)
		b.fold(t, batch)
		if step%3 == 2 {
			e := Erasure{Scopes: a.tagged(t, tag("subject", step)), Tombstones: []Tombstone{{Tag: tag("subject", step), Cutoff: 7}}}
			a.erase(t, e)
			e.Scopes = b.tagged(t, tag("subject", step))
			b.erase(t, e)
		}
		if len(a.Runs) != len(b.Runs) {
			t.Fatalf("step %d: %d and %d runs", step, len(a.Runs), len(b.Runs))
		}
		for i := range a.Runs {
			if a.Runs[i].Keys.Commitment != b.Runs[i].Keys.Commitment || a.Runs[i].Index.Count != b.Runs[i].Index.Count {
				t.Fatalf("step %d: run %d is %v and %v", step, i, a.Runs[i], b.Runs[i])
			}
			if a.Runs[i].Keys.Count > 0 && a.Runs[i].Keys.Key == b.Runs[i].Keys.Key {
				t.Fatalf("step %d: run %d has one key in two worlds", step, i)
			}
		}
	}
}

// TestVerify: a tag that is lost, or too many, shows when everything is read.
func TestVerify(t *testing.T) {
	w, _ := filled(t, 300)
	if err := w.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, space := range []byte{indexStay, indexExpire} {
		for _, more := range []bool{false, true} {
			bad := w.rebuilt(t, w.Ring, 1, true, func(in []keytrie.Entry) []keytrie.Entry {
				i := slices.IndexFunc(in, func(e keytrie.Entry) bool { return e.Path[0] == space })
				if !more {
					return slices.Delete(in, i, i+1)
				}
				extra := bytes.Clone(in[i].Path)
				extra[len(extra)-1]++
				if bytes.Equal(extra, in[i+1].Path) {
					t.Fatal("choose another one")
				}
				return slices.Insert(in, i+1, keytrie.Entry{Path: extra})
			})
			if err := bad.Verify(context.Background()); !errors.Is(err, ErrCorrupt) {
				t.Errorf("space %x, more=%v: %v", space, more, err)
			}
		}
	}
}

// TestRefusedInput: what a caller got wrong changes nothing.
func TestRefusedInput(t *testing.T) {
	ctx := context.Background()
	w, all := filled(t, 60)
	fold := func(b Batch) error {
		_, err := w.Fold(ctx, keytrie.NewWriter(w.Archive, 99, 1<<20, w.keys, nil), b)
		return err
	}
	far := w.offer(1, 0)
	far.Day++
	near := w.offer(1, 3)
	near.Day--
	wordy := w.offer(1, 0)
	wordy.Class = string(make([]byte, 33))
	for name, b := range map[string]Batch{
		"there already":     {Scopes: all[:1]},
		"twice in a batch":  {Scopes: []Scope{far, far}},
		"not placed":        {Scopes: []Scope{far}},
		"placed too early":  {Scopes: []Scope{near}},
		"no class":          {Scopes: []Scope{{}}},
		"a long class":      {Scopes: []Scope{wordy}},
		"an intake key":     {Intake: []IntakeKey{intake(9999)}},
		"spent, then spent": {Spent: []Spent{{}, {}}},
	} {
		if fold(b) == nil {
			t.Errorf("%s: folded", name)
		}
	}
	erase := func(e Erasure) error {
		_, _, err := w.Erase(ctx, keytrie.NewWriter(w.Archive, 99, 1<<20, w.keys, nil), e)
		return err
	}
	stranger := Located{Scope: w.offer(1, 0)}
	if erase(Erasure{Scopes: []Located{stranger}}) == nil {
		t.Error("a scope that is not there was erased")
	}
	for len(w.Runs) < MaxRuns {
		w.Runs = append(w.Runs, Run{})
	}
	if erase(Erasure{}) == nil {
		t.Error("a run too many was made")
	}
	if err := fold(Batch{}); err != nil {
		t.Errorf("a full ring cannot be merged: %v", err)
	}
}

func ExampleRing_Fold() {
	w := newWorld(1)
	ctx := context.Background()
	var batch Batch
	for range 3 {
		batch.Scopes = append(batch.Scopes, w.offer(1, 0))
	}
	out := keytrie.NewWriter(w.Archive, 1, 64<<20, w.keys, func(n uint64, pack []byte) error {
		w.packs[n] = pack
		return nil
	})
	next, err := w.Fold(ctx, out, batch)
	if err == nil {
		err = out.Close()
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	found, err := next.Tagged(ctx, tag("subject", 0))
	fmt.Println(len(found), err)
	// Output: 3 <nil>
}
