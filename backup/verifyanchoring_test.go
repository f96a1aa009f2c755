package backup_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/anchor/witness"
	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/testbed"
)

// trusting adds lines to the trust file.
func (a *testArchive) trusting(lines ...string) {
	a.t.Helper()
	trust := append(a.trust(), strings.Join(lines, "\n")+"\n"...)
	if err := os.WriteFile(filepath.Join(a.dir, "trust.stele"), trust, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// witnessed is an archive whose trust file wants a real witness.
func witnessed(t *testing.T) (*testArchive, *storetest.Memory, *testbed.Witness) {
	t.Helper()
	m := storetest.NewMemory()
	a := newTestArchive(t, m)
	var trust identity.Trust
	if err := trust.UnmarshalText(a.trust()); err != nil {
		t.Fatal(err)
	}
	w := testbed.Litewitness(t, "witness.example", trust.Origin(), trust.Log)
	a.trusting("witness W "+w.VKey+" "+w.URL, "quorum W")
	return a, m, w
}

func (a *testArchive) anchors() AnchorReport {
	a.t.Helper()
	r := a.verify(VerifyOptions{})
	if len(r.Anchors) != 1 {
		a.t.Fatalf("anchors %+v", r.Anchors)
	}
	return r.Anchors[0]
}

func TestWitness(t *testing.T) {
	a, m, w := witnessed(t)
	wantExit(t, a.verify(VerifyOptions{}), 12, "anchoring")
	s := a.stream(keyscope.Link{})
	s.send(some(3)...)
	c, err := a.compact(t.Context(), nil, m, nil)
	if err != nil || c.Stats().Behind["W"] != 0 {
		t.Fatalf("%v, %v", c.Stats().Behind, err)
	}
	wantExit(t, a.verify(VerifyOptions{}), 0, "integrity", "anchoring")
	if r := a.anchors(); r.Behind != 0 || r.Size == 0 || r.Time.IsZero() {
		t.Errorf("%+v", r)
	}
	older, olderStore := a.copyOf(m)
	evidenceSays(t, a, map[string]bool{"cosigned": true, "quorum": true})

	// A witness that is away keeps nobody from working, and catches up when it is back.
	if err := w.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s.send(some(3)...)
		if c, err = a.compact(t.Context(), nil, m, nil); err != nil {
			t.Fatal(err)
		}
	}
	if r := a.anchors(); r.Behind == 0 || r.Behind != c.Stats().Behind["W"] {
		t.Errorf("behind %d, %v", r.Behind, c.Stats().Behind)
	}
	wantExit(t, a.verify(VerifyOptions{}), 0, "integrity", "anchoring") // it is not long behind
	s.send(some(1)...)
	other, otherStore := a.copyOf(m)
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c, err = a.compact(t.Context(), nil, m, nil); err != nil || c.Stats().Behind["W"] != 0 {
		t.Fatalf("%v, %v", c.Stats().Behind, err)
	}
	if r := a.anchors(); r.Behind != 0 {
		t.Errorf("%+v", r)
	}

	// An archive that was rolled back, and one that goes another way, get no head signed: the error says who knows better.
	for name, back := range map[string]*testArchive{"rolled back": older, "forked": other} {
		store := map[*testArchive]*storetest.Memory{older: olderStore, other: otherStore}[back]
		before := len(keysOf(t, store, "control/"))
		_, err := back.compact(t.Context(), nil, store, nil)
		var no *witness.ContradictionError
		if !errors.As(err, &no) || no.Witness != "W" || no.Known <= no.Asked {
			t.Errorf("%s: %v", name, err)
		}
		if after := len(keysOf(t, store, "control/")); after != before {
			t.Errorf("%s: %d objects became %d", name, before, after)
		}
	}

	// Who forks in secret gets no cosignature, and who has both heads convicts him.
	stolen := keysOf(t, m, "control/cosigned/")
	last := read(t, m, stolen[len(stolen)-1])
	forger, forgerStore := other.copyOf(otherStore)
	forger.dir = t.TempDir()
	if err := os.CopyFS(forger.dir, os.DirFS(a.dir)); err != nil {
		t.Fatal(err)
	}
	withoutWitnesses, _, _ := strings.Cut(string(a.trust()), "witness W")
	if err := os.WriteFile(filepath.Join(forger.dir, "trust.stele"), []byte(withoutWitnesses), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := forger.compact(t.Context(), nil, forgerStore, func(c *compact.Config) { c.Since = [][]byte{last} }); err == nil || !strings.Contains(err.Error(), "saved outside") {
		t.Errorf("a compactor that is given a saved head: %v", err)
	}
	for range 3 {
		if _, err := forger.compact(t.Context(), nil, forgerStore, nil); err != nil {
			t.Fatal(err)
		}
	}
	wantExit(t, forger.verify(VerifyOptions{}), 0, "integrity")
	victim := *forger
	victim.dir = a.dir
	r := victim.verify(VerifyOptions{Since: [][]byte{last}})
	wantExit(t, r, 10)
	wantFault(t, r.Faults, "integrity", "test/control", "rewritten, or forked")
}

// What lies among cosigned heads and is none turns nothing; what is taken away does.
func TestCosignedHeads(t *testing.T) {
	a, m, _ := witnessed(t)
	s := a.stream(keyscope.Link{})
	s.send(some(3)...)
	a.once(nil)
	key := keysOf(t, m, "control/cosigned/")[0]
	file := read(t, m, key)
	for name, data := range map[string][]byte{"rubbish": []byte("x"), "nothing": {}, "a head that nobody cosigned": a.head(), "a changed cosignature": flip(file, 8*(len(file)-20))} {
		m.Overwrite("control/cosigned/00000000000000000009.aa", data)
		r := a.verify(VerifyOptions{})
		wantExit(t, r, 0, "integrity", "anchoring")
		if r.Verdicts["anchoring"].Notices != 1 {
			t.Errorf("%s: %+v", name, r.Notices)
		}
		m.Remove("control/cosigned/00000000000000000009.aa", "")
	}
	for name, away := range map[string]func(){
		"removed":  func() { m.Remove(key, "") },
		"stripped": func() { m.Overwrite(key, a.head()) },
		"damaged":  func() { m.Overwrite(key, flip(file, 8*(len(file)-20))) },
	} {
		for _, k := range keysOf(t, m, "control/cosigned/") {
			m.Remove(k, "")
		}
		m.Overwrite(key, file)
		wantExit(t, a.verify(VerifyOptions{}), 0, "anchoring")
		m.Remove(key, "")
		away()
		r := a.verify(VerifyOptions{})
		wantExit(t, r, 12, "anchoring")
		wantFault(t, r.Faults, "anchoring", "test/control", "quorum W")
		_ = name
	}
}
