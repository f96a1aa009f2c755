package keyring

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/keytrie"
)

// gated is what the gate says of a version.
func (w *world) gated(after *Ring, e *Erasure, list *Erased) string {
	err := Gate(context.Background(), w.Ring, after, e, list, 0, w.keys)
	if err == nil {
		return ""
	}
	if !errors.Is(err, ErrGate) {
		return "not the gate: " + err.Error()
	}
	return err.Error()
}

// removedOf is a list of paths by run.
func (w *world) removedOf(scopes ...Located) *Erased {
	list := &Erased{Removed: make([][][]byte, len(w.Runs))}
	for i := range scopes {
		s := &scopes[i]
		list.Removed[s.Run] = append(list.Removed[s.Run], s.path())
		if moved := s.moved(); moved != nil {
			list.Removed[s.Run] = append(list.Removed[s.Run], moved)
		}
	}
	for i := range list.Removed {
		list.Removed[i] = sortSet(list.Removed[i])
	}
	return list
}

// TestGateNames: the list and the request are two things that the gate does not believe; it says which of them is wrong.
func TestGateNames(t *testing.T) {
	w, _ := filled(t, 600)
	week := keyscope.Week(keyscope.DayStart(firstDay))
	w.erase(t, Erasure{Weeks: []uint16{week, 9999}}) // from here on nothing must be remembered
	in := func(run int, fits func(*Located) bool) (out []Located) {
		for l, err := range w.All(context.Background()) {
			if err != nil {
				t.Fatal(err)
			}
			if l.Run == run && fits(&l) {
				out = append(out, l)
			}
		}
		if len(out) < 3 {
			t.Fatalf("%d scopes: not much of a test", len(out))
		}
		return out
	}
	stay := in(0, func(l *Located) bool { return !l.Expires })
	expire := in(0, func(l *Located) bool { return l.Expires })
	a, b := stay[0], stay[1]
	without := func(scopes ...Located) *Ring {
		after, _ := w.erased(t, Erasure{Scopes: scopes})
		return after
	}
	valued := func(l *Located, at int) *Ring {
		return w.rebuilt(t, w.Ring, 0, false, func(in []keytrie.Entry) []keytrie.Entry {
			i := slices.IndexFunc(in, func(e keytrie.Entry) bool { return bytes.Equal(e.Path, l.path()) })
			in[i].Value = bytes.Clone(in[i].Value)
			in[i].Value[at] ^= 1
			return in
		})
	}
	sameDay := slices.IndexFunc(stay, func(l Located) bool { return l.Day == a.Day })
	day := stay[sameDay].Day
	runs := func(n int) *Ring {
		after := *without(a)
		after.Runs = append(slices.Clone(after.Runs), make([]Run, n)...)
		return &after
	}
	for _, x := range []struct {
		name  string
		after *Ring
		e     Erasure
		list  *Erased
		says  string
	}{
		{"what was asked for", without(a), Erasure{Scopes: []Located{a}}, w.removedOf(a), ""},
		{"one run more", runs(1), Erasure{Scopes: []Located{a}}, w.removedOf(a), ""},
		{"two runs more", runs(2), Erasure{Scopes: []Located{a}}, w.removedOf(a), "3 runs became 5"},
		{"a run less", &Ring{Archive: w.Archive, Packs: w.packs, Runs: w.Runs[:2]}, Erasure{}, w.removedOf(), "3 runs became 2"},
		{"a list for fewer runs", without(a), Erasure{Scopes: []Located{a}}, &Erased{Removed: w.removedOf(a).Removed[:2]}, "with a list of 2"},
		{"a list for more runs", without(a), Erasure{Scopes: []Located{a}}, &Erased{Removed: append(w.removedOf(a).Removed, nil)}, "with a list of 4"},
		{"a list of nothing", without(a), Erasure{Scopes: []Located{a}}, w.removedOf(), "would go, and is not in the list"},
		{"another one is in the list", without(a), Erasure{Scopes: []Located{a}}, w.removedOf(b), "would go, and is not in the list"},
		{"another one goes and is in the list", without(b), Erasure{Scopes: []Located{a}}, w.removedOf(b), "and nobody asked for that"},
		{"one more goes and is in the list", without(a, b), Erasure{Scopes: []Located{a}}, w.removedOf(a, b), "and nobody asked for that"},
		{"one stays that is in the list", without(a), Erasure{Scopes: []Located{a, b}}, w.removedOf(a, b), "of the list is still there"},
		{"one stays", without(a), Erasure{Scopes: []Located{a, b}}, w.removedOf(a), "was to go, and stays"},
		{"it has another value instead", valued(&a, 20), Erasure{Scopes: []Located{a}}, w.removedOf(a), "the value of path"},
		{"one that does not expire goes with a day", without(stay[sameDay]), Erasure{Days: []uint16{day}}, w.removedOf(stay[sameDay]), "nobody asked for that"},
		{"one that expires another day goes", without(expire[0]), Erasure{Days: []uint16{expire[0].Day + 1}}, w.removedOf(expire[0]), "nobody asked for that"},
		{"one that expires goes on its day", without(expire[0]), Erasure{Days: []uint16{expire[0].Day}}, w.removedOf(expire[0]), ""},
	} {
		says := w.gated(x.after, &x.e, x.list)
		if x.says == "" && says != "" || !strings.Contains(says, x.says) {
			t.Errorf("%s: %q", x.name, says)
		}
	}
}

// TestGateAdds: an erasure adds what is to be remembered, and nothing else.
func TestGateAdds(t *testing.T) {
	w, _ := filled(t, 120)
	week := keyscope.Week(keyscope.DayStart(firstDay))
	stone := Tombstone{Tag: tag("subject", 3), Cutoff: 5}
	e := Erasure{Scopes: w.tagged(t, tag("subject", 3)), Tombstones: []Tombstone{stone}}
	good, list := w.erased(t, e)
	run := len(good.Runs) - 1
	if says := w.gated(good, &e, list); says != "" || run != len(w.Runs) {
		t.Fatal(says, run)
	}
	with := func(run int, index bool, more keytrie.Entry) *Ring {
		return w.rebuilt(t, good, run, index, func(in []keytrie.Entry) []keytrie.Entry {
			in = append(in, more)
			slices.SortFunc(in, func(a, b keytrie.Entry) int { return bytes.Compare(a.Path, b.Path) })
			return in
		})
	}
	spent := Spent{Week: week, Scope: [16]byte{1}}
	hold := Hold{Tag: tag("subject", 3), ID: [16]byte{1}}
	key := intake(week + 1)
	for _, x := range []struct {
		name  string
		after *Ring
		says  string
	}{
		{"a spent grant", with(run, false, keytrie.Entry{Path: spent.path()}), "was added"},
		{"an intake key", with(run, false, keytrie.Entry{Path: key.path(), Value: key.Seed[:]}), "was added"},
		{"an intake key in an old run", with(0, false, keytrie.Entry{Path: key.path(), Value: key.Seed[:]}), "was added"},
		{"a hold", with(run, true, keytrie.Entry{Path: hold.path()}), "was added"},
		{"a hold in an old run", with(0, true, keytrie.Entry{Path: hold.path()}), "was added"},
		{"spent grants with values", w.rebuilt(t, good, run, false, func(in []keytrie.Entry) []keytrie.Entry {
			in[0].Value = []byte{1}
			return in
		}), "was added"},
		{"another spent grant", w.rebuilt(t, good, run, false, func(in []keytrie.Entry) []keytrie.Entry {
			in[len(in)-1].Path = bytes.Clone(in[len(in)-1].Path)
			in[len(in)-1].Path[scopePath-1] ^= 1
			return in
		}), "was added"},
		{"another tombstone", w.rebuilt(t, good, run, true, func(in []keytrie.Entry) []keytrie.Entry {
			other := Tombstone{Tag: stone.Tag, Cutoff: 4}
			return []keytrie.Entry{{Path: other.path()}}
		}), "was added"},
	} {
		if says := w.gated(x.after, &e, list); !strings.Contains(says, x.says) {
			t.Errorf("%s: %q", x.name, says)
		}
	}
}

// TestGateKeepsTombstones: a tombstone goes when nothing can come for it any more, and not even then if it is to be kept.
func TestGateKeepsTombstones(t *testing.T) {
	w, _ := filled(t, 60)
	week := keyscope.Week(keyscope.DayStart(firstDay))
	stone := Tombstone{Tag: tag("subject", 3), Cutoff: keyscope.DayStart(firstDay).UnixNano()}
	w.erase(t, Erasure{Tombstones: []Tombstone{stone}})
	run := len(w.Runs) - 1
	dropped := func(r *Ring) *Ring {
		return w.rebuilt(t, r, run, true, func(in []keytrie.Entry) []keytrie.Entry {
			return slices.DeleteFunc(in, func(e keytrie.Entry) bool { return bytes.Equal(e.Path, stone.path()) })
		})
	}
	needed := "and there are grants that it is for"
	if says := w.gated(dropped(w.Ring), &Erasure{}, w.removedOf()); !strings.Contains(says, needed) {
		t.Errorf("while the intake key lives: %q", says)
	}
	e := Erasure{Weeks: []uint16{week, 9999}}
	over, list := w.erased(t, e)
	if stones, _, err := over.Marks(context.Background()); err != nil || len(stones) != 0 {
		t.Errorf("when it is over, %d stay: %v", len(stones), err)
	}
	if says := w.gated(over, &e, list); says != "" {
		t.Errorf("when it is over: %s", says)
	}
	e.Keep = []Tombstone{stone}
	if says := w.gated(over, &e, list); !strings.Contains(says, needed) {
		t.Errorf("one that is to be kept goes: %q", says)
	}
	kept, list := w.erased(t, e)
	if stones, _, err := kept.Marks(context.Background()); err != nil || !slices.Equal(stones, []Tombstone{stone}) {
		t.Errorf("kept: %v, %v", stones, err)
	}
	if says := w.gated(kept, &e, list); says != "" {
		t.Errorf("kept: %s", says)
	}
}
