package keys_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyroot"
)

// forge is a recovery by a key service that asks nobody: a record that follows the rules of the chain.
func (w *world) forge(from *keyroot.Record, recovery keyroot.Recovery) {
	w.t.Helper()
	var id identity.KeyService
	w.must(identity.Parse(w.file("keys/keyservice.stele"), identity.KeyServiceFormat, &id))
	signer, err := identity.Signer(identity.KeyName("acme", control.RoleKeyService, id.By), id.Key)
	w.must(err)
	d := w.depot()
	last, hash := d.State().Last()
	r := *from
	r.N, r.Prev, r.Burnt, r.Control, r.NextPack = d.Tail().Next, hash, d.Tail().Burnt, w.log().Size(), last.NextPack
	r.Time = time.Now().UTC().Truncate(time.Second)
	r.Fold, r.Erased, r.Recovery = nil, nil, &recovery
	line, err := commit.MarshalLine(&r)
	w.must(err)
	file, err := note.Sign(&note.Note{Text: string(line)}, signer)
	w.must(err)
	_, err = w.store.Create(w.t.Context(), fmt.Sprintf("%s%020d", keydepot.Roots, r.N), file, worm.Lock{Mode: worm.LockNone})
	w.must(err)
	w.must(d.Refresh(w.t.Context()))
	if _, now := d.State().Last(); now != keyroot.Hash(file) {
		w.t.Fatal("the forged record does not count")
	}
}

// verdicts are those of verification, with all that it found as text.
func (w *world) verdicts() (map[string]backup.Verdict, string) {
	w.t.Helper()
	r, text := w.report()
	return r.Verdicts, text
}

func (w *world) report() (*backup.Report, string) {
	w.t.Helper()
	trust, err := w.trust.MarshalText()
	w.must(err)
	a, err := backup.OpenArchive(w.t.Context(), w.store, trust)
	w.must(err)
	r, err := a.Verify(w.t.Context(), backup.VerifyOptions{})
	w.must(err)
	text, err := json.Marshal(r)
	w.must(err)
	return r, string(text)
}

// TestRecoverForged: whoever has the signing key of a key service removes the generation that left out bob, and lets the one
// before stand in. What the record says is lost changes nothing.
func TestRecoverForged(t *testing.T) {
	w, _, _, _ := recoverable(t)
	if got, text := w.verdicts(); got["integrity"].State != backup.Holds || got["erasure"].State == backup.Fails {
		t.Fatal(text)
	}
	lost := w.depot().State().StandIns()
	var second []string
	for _, r := range lost {
		second = append(second, fmt.Sprintf("%s%020d", keydepot.Roots, r.N))
	}
	w.gone(second...)
	slices.Reverse(lost)
	from, _ := w.depot().State().Last()
	w.forge(from, keyroot.Recovery{From: from.N, Lost: lost, Approval: commit.Hex32{1}})
	got, text := w.verdicts()
	for _, want := range []string{"generation 2 of the key store, which left out what was erased, is gone", "the control log holds no request"} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing says %q: %s", want, text)
		}
	}
	if got["integrity"].State != backup.Fails || got["erasure"].State != backup.Fails {
		t.Errorf("%+v", got)
	}
	if _, err := keys.Open(t.Context(), w.config()); err == nil || !strings.Contains(err.Error(), "that is gone") {
		t.Errorf("a key service goes on: %v", err)
	}
}

// TestRecoveryCounts: what two approvers have decided, and nothing else.
func TestRecoveryCounts(t *testing.T) {
	w, _, _, _ := recoverable(t)
	w.gone(w.newest(keydepot.Roots))
	d, err := keys.Inspect(t.Context(), w.config())
	w.must(err)
	w.recover(d)
	if got, text := w.verdicts(); got["integrity"].State != backup.Holds || got["erasure"].State == backup.Fails {
		t.Fatal(text)
	}
	good := w.depot().State().Recoveries()[0]
	check := func(x keyroot.Recovered) (err error) {
		w.state(func(c *control.State) { err = keydepot.CheckRecovery(c, &x) })
		return err
	}
	w.must(check(good))
	var request *control.Request
	w.state(func(c *control.State) { request = c.Request(good.Approval) })
	for what, change := range map[string]func(*keyroot.Recovered){
		"no request":           func(x *keyroot.Recovered) { x.Approval[0]++ },
		"before the approval":  func(x *keyroot.Recovered) { x.Control = request.Effect - 1 },
		"too late":             func(x *keyroot.Recovered) { x.Time = request.Until.Add(time.Second) },
		"another record":       func(x *keyroot.Recovered) { x.Stood.N-- },
		"another hash":         func(x *keyroot.Recovered) { x.Stood.Hash[0]++ },
		"another generation":   func(x *keyroot.Recovered) { x.Generation-- },
		"nothing lost":         func(x *keyroot.Recovered) { x.Lost = nil },
		"more lost":            func(x *keyroot.Recovered) { x.Lost = append(x.Lost[:1:1], keyroot.Lost{N: 99}) },
		"fewer scopes missing": func(x *keyroot.Recovered) { x.Missing-- },
		"it had less":          func(x *keyroot.Recovered) { x.Live-- },
	} {
		x := good
		change(&x)
		if check(x) == nil {
			t.Errorf("%s: it counts", what)
		}
	}
	last, _ := w.depot().State().Last()
	w.forge(last, keyroot.Recovery{From: last.N, Lost: []keyroot.Lost{}, Approval: commit.Hex32{1}})
	if got, text := w.verdicts(); got["erasure"].State != backup.Fails {
		t.Errorf("nobody approved, and nothing was lost: %s", text)
	}
}

// TestLossBesideARecovery: what two approvers have given up is given up, and nothing that is lost after it.
func TestLossBesideARecovery(t *testing.T) {
	w, _, _, _ := recoverable(t)
	w.gone(w.newest(keydepot.Roots))
	d, err := keys.Inspect(t.Context(), w.config())
	w.must(err)
	w.recover(d)
	w.granter().grant(2, "dora")
	w.told()
	if d, err := keys.Inspect(t.Context(), w.config()); err != nil || !d.Whole() {
		t.Fatalf("%+v, %v", d, err)
	}
	last, hash := w.depot().State().Last()
	w.gone(w.newest(keydepot.Roots))
	d, err = keys.Inspect(t.Context(), w.config())
	if err != nil || len(d.Lost) != 1 || d.Lost[0].N != last.N || d.Lost[0].Hash != hash {
		t.Errorf("record %d is lost: %+v, %v", last.N, d, err)
	}
	if _, err := keys.Open(t.Context(), w.config()); err == nil || !strings.Contains(err.Error(), "that is gone") {
		t.Errorf("a key service goes on: %v", err)
	}
}

// TestRecoverUnapproved: the newest record is lost, and whoever has the signing key of a key service lets an older one stand in
// before two approvers have said so, or another one than they said.
func TestRecoverUnapproved(t *testing.T) {
	w, _, _, _ := recoverable(t)
	approvers := w.approvers("anna", "bert")
	s := w.open(w.config())
	w.granter().grant(2, "dora")
	w.must(s.Fold(t.Context()))
	w.must(s.Close())
	w.told()
	all := w.depot().State().StandIns() // the newest first
	if len(all) < 3 {
		t.Fatalf("generation 2 has %d records", len(all))
	}
	depot := w.depot()
	had, _ := depot.State().Last()
	w.gone(w.newest(keydepot.Roots))
	d, err := keys.Inspect(t.Context(), w.config())
	w.must(err)
	var id commit.Hex32
	try := func(what string, from keyroot.Lost, want string) {
		t.Helper()
		f := *w
		f.store = w.store.Clone()
		r, err := depot.Record(t.Context(), from.N, from.Hash)
		f.must(err)
		f.forge(r, keyroot.Recovery{From: from.N, Lost: all[:1], Missing: had.Live - r.Live, Approval: id})
		got, text := f.report()
		switch {
		case want == "" && (got.ExitCode("integrity", "erasure") != 0 || !strings.Contains(text, "stands in for newer ones that were lost, as an approved request says")):
			t.Errorf("%s: %s", what, text)
		case want != "" && (got.ExitCode("erasure") != 14 || got.ExitCode() != 10 || !strings.Contains(text, want) || !strings.Contains(text, "no two approvers have decided that")):
			t.Errorf("%s: exit codes %d and %d, without %q: %s", what, got.ExitCode(), got.ExitCode("erasure"), want, text)
		}
	}
	newest, older := all[1], all[2]
	filed, err := approvers[0].Recover(t.Context(), asks(d))
	w.must(err)
	w.must(id.UnmarshalText([]byte(filed.ID)))
	w.sequence()
	for i, desk := range approvers {
		_, err := desk.Approve(t.Context(), filed.ID)
		w.must(err)
		w.sequence()
		if i == 0 {
			try("one approved", newest, "was not approved")
		}
	}
	try("two approved another", older, "is to let record")
	try("two approved", newest, "")
}

// approvers enrols persons, and returns where they ask and approve.
func (w *world) approvers(names ...string) (desks []*erase.Desk) {
	w.t.Helper()
	root := w.desk()
	for _, name := range names {
		private, public, err := erase.NewKey(w.file("trust.stele"), "approver", name, w.file("reader/reader.stele"))
		w.must(err)
		_, err = root.AddKey(w.t.Context(), "approver", public)
		w.must(err)
		desk, err := erase.Open(w.t.Context(), w.store, w.file("trust.stele"), private)
		w.must(err)
		desks = append(desks, desk)
	}
	w.sequence()
	return desks
}
