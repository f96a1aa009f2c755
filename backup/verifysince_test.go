package backup_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/tiles"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/merkle"
)

// copyOf is a plain copy of an archive and of its transport, with the same roles: whoever has both can let them part.
func (a *testArchive) copyOf(m *storetest.Memory) (*testArchive, *storetest.Memory) {
	a.t.Helper()
	to := storetest.NewMemory()
	for v, err := range m.Versions(a.t.Context(), "", "") {
		if err != nil {
			a.t.Fatal(err)
		}
		data, err := m.Read(a.t.Context(), v.Key, v.ID, worm.Range{})
		if err == nil {
			_, err = to.Create(a.t.Context(), v.Key, data, worm.Lock{Mode: worm.LockNone})
		}
		if err != nil {
			a.t.Fatal(err)
		}
	}
	other := *a
	other.store, other.spool = to, a.t.TempDir()
	if err := os.CopyFS(other.spool, os.DirFS(a.spool)); err != nil {
		a.t.Fatal(err)
	}
	return &other, to
}

// forked is an archive, an older copy of it, and a copy that went another way from there.
func forked(t *testing.T) (a, older, other *testArchive) {
	t.Helper()
	m := storetest.NewMemory()
	a = newTestArchive(t, m)
	s := a.stream(keyscope.Link{})
	s.send(some(3)...)
	a.once(nil)
	s.send(some(3)...)
	older, _ = a.copyOf(m)
	other, _ = a.copyOf(m)
	a.once(nil) // one entry with a time of its own
	other.once(nil)
	s.send(some(2)...)
	a.once(nil)
	return a, older, other
}

func (a *testArchive) head() []byte {
	a.t.Helper()
	head, _, err := a.open().Head(a.t.Context())
	if err != nil || head == nil {
		a.t.Fatalf("head %q, %v", head, err)
	}
	return head
}

func TestSince(t *testing.T) {
	a, older, other := forked(t)
	size := func(head []byte) uint64 {
		var c merkle.Checkpoint
		text, _, _ := strings.Cut(string(head), "\n\n")
		if err := c.UnmarshalText([]byte(text + "\n")); err != nil {
			t.Fatal(err)
		}
		return c.Size
	}
	if size(a.head()) <= size(other.head()) || size(other.head()) <= size(older.head()) {
		t.Fatalf("sizes %d, %d, %d", size(a.head()), size(other.head()), size(older.head()))
	}
	for _, c := range []struct {
		name      string
		archive   *testArchive
		since     []byte
		backwards bool
		fault     string
	}{
		{"itself", a, a.head(), false, ""},
		{"a later state", a, older.head(), false, ""},
		{"an earlier state", older, a.head(), true, "it was cut, is an older copy, or went another way"},
		{"another history", a, other.head(), false, "rewritten, or forked"},
		{"a shorter other history", other, a.head(), true, "cut"},
	} {
		err := c.archive.open().Continues(c.since)
		if (err != nil) != (c.fault != "") || errors.Is(err, ErrBackwards) != c.backwards {
			t.Errorf("%s: %v", c.name, err)
		}
		r := c.archive.verify(VerifyOptions{Since: [][]byte{c.since}})
		if c.fault == "" {
			wantExit(t, r, 0, "integrity")
			if len(r.Since) != 1 || r.Since[0].Size != size(c.since) || r.Since[0].Size+r.Since[0].Added != r.Control {
				t.Errorf("%s: %+v", c.name, r.Since)
			}
			continue
		}
		wantExit(t, r, 10, "integrity")
		wantFault(t, r.Faults, "integrity", "test/control", c.fault)
	}
	stranger := newTestArchive(t, storetest.NewMemory())
	for name, file := range map[string][]byte{"empty": nil, "rubbish": []byte("x\n\n"), "another archive's": stranger.head(), "changed": flip(a.head(), 8*len("test/control\n"))} {
		if _, err := a.open().Verify(t.Context(), VerifyOptions{Since: [][]byte{file}}); err == nil || errors.Is(err, ErrBackwards) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whoever finds two histories can prove it to who has the trust file and nothing else.
func TestForkEvidence(t *testing.T) {
	a, older, other := forked(t)
	c, err := tiles.Compare(t.Context(), a.tiles(), older.tiles())
	if err != nil || c.Fork != nil || c.Common != c.SizeB || c.SizeA <= c.SizeB {
		t.Fatalf("%+v, %v", c, err)
	}
	c, err = tiles.Compare(t.Context(), a.tiles(), other.tiles())
	if err != nil || c.Fork == nil || c.Common != c.Fork.Index || c.Common >= c.SizeB {
		t.Fatalf("%+v, %v", c, err)
	}
	file, err := json.Marshal(c.Fork)
	if err != nil {
		t.Fatal(err)
	}
	if f, err := tiles.CheckFork(file, a.trust()); err != nil || f.Index != c.Common || f.A.Entry == f.B.Entry {
		t.Fatalf("%+v, %v", f, err)
	}
	// Nobody can make such evidence out of one history, or of another archive.
	bad := func(name string, edit func(*tiles.Fork)) {
		f := *c.Fork
		edit(&f)
		file, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tiles.CheckFork(file, a.trust()); err == nil {
			t.Errorf("%s: taken for a fork", name)
		}
	}
	bad("one history twice", func(f *tiles.Fork) { f.B = f.A })
	bad("another entry", func(f *tiles.Fork) { f.B.Entry += " " })
	bad("entries exchanged", func(f *tiles.Fork) { f.A.Entry, f.B.Entry = f.B.Entry, f.A.Entry })
	bad("another index", func(f *tiles.Fork) { f.Index++ })
	bad("another log", func(f *tiles.Fork) { f.Log = "other/control" })
	bad("another version", func(f *tiles.Fork) { f.Stele = "fork/v2" })
	bad("no head", func(f *tiles.Fork) { f.A.Proof = "" })
	for i := 0; i < len(file); i += 7 {
		if f, err := tiles.CheckFork(flip(file, 8*i), a.trust()); err == nil && (f.A != c.Fork.A || f.B != c.Fork.B || f.Index != c.Common) {
			t.Errorf("byte %d changed: accepted with other content", i)
		}
	}
	if _, err := tiles.Compare(t.Context(), a.tiles(), newTestArchive(t, storetest.NewMemory()).tiles()); err == nil {
		t.Error("two archives are compared")
	}
}
