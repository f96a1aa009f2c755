package datalog_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	. "github.com/stelelog/stele/internal/datalog"
)

const wasRevoked = squat + "the key of acme/compactor/one was revoked before this commit"

// TestRevoked: of the commits of a revoked compactor those stand that heads name by number and hash, and those before them.
func TestRevoked(t *testing.T) {
	at := func(l *link, n uint64) control.Head { h := l.head(); h.Commit = n; return h }
	strange := func(n uint64) control.Head {
		return control.Head{Log: commit.Origin("acme", 0, q3), Commit: n, Hash: commit.Hex32{9}}
	}
	for _, x := range []struct {
		name  string
		heads func(all []*link) []control.Head
		next  uint64
	}{
		{"no heads", nil, 0},
		{"the first", func(all []*link) []control.Head { return []control.Head{all[0].head()} }, 1},
		{"the second", func(all []*link) []control.Head { return []control.Head{all[1].head()} }, 2},
		{"the newest", func(all []*link) []control.Head { return []control.Head{all[3].head()} }, 4},
		{"out of order", func(all []*link) []control.Head { return []control.Head{all[2].head(), all[0].head()} }, 3},
		{"by another number", func(all []*link) []control.Head { return []control.Head{at(all[1], 2), at(all[2], 1), at(all[0], 9)} }, 0},
		{"of no commit", func([]*link) []control.Head { return []control.Head{strange(3)} }, 0},
		{"of no commit, and others", func(all []*link) []control.Head {
			return []control.Head{strange(0), strange(1), all[1].head(), strange(2), strange(99)}
		}, 2},
		{"in another log", func(all []*link) []control.Head {
			h := all[3].head()
			h.Log = commit.Origin("acme", 0, q4)
			return []control.Head{h}
		}, 0},
	} {
		for _, by := range []string{one, two} { // by whichever compactor, and before it was revoked
			w := newWorld(t)
			var all []*link
			for i := range 4 {
				var parent *link
				if i > 0 {
					parent = all[i-1]
				}
				all = append(all, w.extend(q3, parent, one, 1))
			}
			if x.heads != nil {
				w.heads(by, x.heads(all)...)
			}
			w.reads(w.chain(q3), 4, "", "")
			w.revoke("one")
			found := wasRevoked
			if x.next == 4 {
				found = ""
			}
			t.Run(x.name, func(t *testing.T) { w.T = t; w.reads(w.chain(q3), x.next, found, "") })
		}
	}
}

// TestRevokedAndOthers: who was not revoked goes on where what stands ends, over what does not.
func TestRevokedAndOthers(t *testing.T) {
	w := newWorld(t)
	first := w.extend(q3, nil, one, 1)
	w.heads(one, first.head())
	w.extend(q3, first, one, 1)
	w.revoke("one")
	c := w.child(q3, first)
	c.N, c.Burnt = 2, []uint64{1}
	last := w.extend(q3, w.put(q3, w.sign(c, two)), two, 1)
	w.reads(w.chain(q3), 4, key(q3, 1)+wasRevoked, "")
	back := w.child(q3, last)
	back.Control = 1 // when it could still commit
	w.put(q3, w.sign(back, one))
	w.reads(w.chain(q3), 4, key(q3, 4)+squat, "")
}

// TestVouchedOverBurnt: from each commit to its parent, over burnt numbers, which nothing vouches for.
func TestVouchedOverBurnt(t *testing.T) {
	w := newWorld(t)
	first := w.extend(q3, nil, one, 2)
	for n := uint64(2); n < 5; n++ { // one that is signed, and was in nobody's chain
		c := w.child(q3, first)
		c.N, c.Burnt = n, []uint64{7}
		w.put(q3, w.sign(c, one))
	}
	c := w.child(q3, first)
	c.N, c.Burnt = 5, []uint64{2, 3, 4}
	last := w.extend(q3, w.put(q3, w.sign(c, one)), one, 1)
	w.heads(two, last.head())
	w.reads(w.chain(q3), 7, squat+"declares burnt numbers [7], found []", "")
	w.revoke("one")
	l := w.reads(w.chain(q3), 7, key(q3, 2)+wasRevoked, "")
	if l.LastHash != last.hash() {
		t.Errorf("%x", l.LastHash)
	}
	w.store.objects[key(q3, 5)][0].data = []byte("rubbish") // what is between is gone
	w.reads(w.chain(q3), 0, key(q3, 0)+wasRevoked, "")
}

// TestVouchedFor: a head that names what is no commit of that number vouches for nothing; what cannot be read decides
// nothing.
func TestVouchedFor(t *testing.T) {
	w := newWorld(t)
	first := w.extend(q3, nil, one, 1)
	rubbish := w.putAt(q3, 1, &link{file: []byte("rubbish")})
	moved := w.putAt(q3, 2, first)
	for n, l := range map[uint64]*link{1: rubbish, 2: moved} {
		w.heads(two, control.Head{Log: first.c.Log, Commit: n, Hash: l.hash()})
	}
	w.revoke("one")
	w.reads(w.chain(q3), 0, key(q3, 0)+wasRevoked, "")

	for name, lie := range map[string]func(w *world, second *link) (file []byte, at uint64){ // a child of the second that is not where, or what, its head says
		"of another number": func(w *world, second *link) ([]byte, uint64) {
			c := w.child(q3, second)
			c.N = 7
			return w.sign(c, one).file, 2
		},
		"elsewhere": func(w *world, second *link) ([]byte, uint64) {
			return w.sign(w.child(q3, second), one).file, 3
		},
		"of another form": func(w *world, second *link) ([]byte, uint64) {
			c := w.child(q3, second)
			c.Stele = "commit/v1"
			line, err := commit.MarshalLine(&c)
			if err != nil {
				t.Fatal(err)
			}
			return w.noted(strings.TrimSuffix(string(line), "}\n")+`,"more":1}`+"\n", one), 2
		},
	} {
		w := newWorld(t)
		first := w.extend(q3, nil, one, 1)
		second := w.extend(q3, first, one, 1)
		file, at := lie(w, second)
		l := w.putAt(q3, at, &link{file: file})
		w.heads(two, control.Head{Log: first.c.Log, Commit: 2, Hash: l.hash()})
		w.revoke("one")
		t.Run(name, func(t *testing.T) { w.T = t; w.reads(w.chain(q3), 0, key(q3, 0)+wasRevoked, "") })
	}

	w = newWorld(t)
	second := w.extend(q3, nil, one, 2)
	w.heads(two, second.head())
	w.revoke("one")
	v := &w.store.objects[key(q3, 1)][0]
	v.err = errDown
	w.reads(w.chain(q3), 0, "", chain.ErrUndecided.Error()+": "+errDown.Error())
	v.err = fmt.Errorf("reading: %w", errGone)
	w.reads(w.chain(q3), 0, key(q3, 0)+wasRevoked, "")
	v.err = nil
	w.reads(w.chain(q3), 2, "", "")
}

// TestVouchesWithoutReading: what cannot be read matters where a head names it, and where its author was revoked.
func TestVouchesWithoutReading(t *testing.T) {
	w := newWorld(t)
	last := w.extend(q3, nil, one, 3)
	w.heads(two, last.head())
	w.store.objects[key(q3, 2)][0].err = errDown
	w.reads(w.chain(q3), 2, "", "chain: reading "+key(q3, 2)+": "+errDown.Error())

	w = newWorld(t)
	first := w.extend(q3, nil, one, 1)
	second := w.sign(w.child(q3, first), one)
	w.heads(two, second.head())
	w.store.add(key(q3, 2), version{data: second.file, err: errDown})
	w.revoke("one")
	w.reads(w.chain(q3), 0, key(q3, 0)+wasRevoked, "chain: reading "+key(q3, 2))
}

// TestBound: what a revocation says of a key is the highest commit of each log of which a head by it is so.
func TestBound(t *testing.T) {
	w := newWorld(t)
	a := w.extend(q3, nil, one, 1)
	b := w.extend(q3, a, one, 1)
	c := w.extend(q3, b, one, 1)
	other := w.extend(q4, nil, one, 1)
	lie := c.head()
	lie.Hash[0]++
	at := func(log string) control.Head { h := c.head(); h.Log = log; return h }
	w.putAt("none", 2, c)
	w.heads(one, b.head(), a.head(), lie)
	w.heads(two, c.head(), other.head())
	w.heads(one, at("acme/0/none"), at("acme/00/2026Q3"), at("acme/x/2026Q3"), at("other/0/2026Q3"), at("acme/4294967296/2026Q3"), at("acme/1/2026Q3"), at("2026Q3"))
	for by, want := range map[string]map[string]uint64{one: {a.c.Log: 1}, two: {a.c.Log: 2, other.c.Log: 0}, "acme/compactor/three": {}} {
		if got, err := Bound(t.Context(), w.log, w.store, &w.trust, by); !maps.Equal(got, want) || err != nil {
			t.Errorf("%s: %v, %v", by, got, err)
		}
	}
	w.store.down = "logs/0/2026Q4"
	if _, err := Bound(t.Context(), w.log, w.store, &w.trust, two); !errors.Is(err, errDown) || !errors.Is(err, chain.ErrUndecided) {
		t.Errorf("what cannot be listed: %v", err)
	}
	if got, err := Bound(t.Context(), w.log, w.store, &w.trust, one); len(got) != 1 || err != nil {
		t.Errorf("where it said nothing: %v, %v", got, err)
	}
}
