package backup_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/custodian/byurl"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/ledger"
)

// approvedRequest makes a request for an erasure and approves it, as the policy root may while it is alone.
func (a *testArchive) approvedRequest() [32]byte {
	a.t.Helper()
	var root identity.Root
	if err := identity.Parse(a.file("admin", "root.stele"), identity.RootFormat, &root); err != nil {
		a.t.Fatal(err)
	}
	by := signer(a.t, identity.RootName("test"), root.Key)
	body := control.RequestBody{What: control.WhatErase, Until: time.Now().Add(time.Hour), Select: &control.Selection{Kind: control.KindSubject,
		Salted: commit.Hex32{1}, Week: keyscope.Week(time.Now()), Sealed: commit.Hex32{2}}}
	id := commit.Hash([]byte(a.drop(control.TypeRequest, body, by)))
	a.once(nil)
	a.drop(control.TypeApprove, control.Decision{Request: id}, by)
	a.once(nil)
	return id
}

// approved is approvedRequest of an archive in a bubble.
func (a *aged) approved() [32]byte {
	a.t.Helper()
	var root identity.Root
	if err := identity.Parse(a.file("admin/root.stele"), identity.RootFormat, &root); err != nil {
		a.t.Fatal(err)
	}
	by := signer(a.t, identity.RootName("acme"), root.Key)
	body := control.RequestBody{What: control.WhatErase, Until: time.Now().Add(time.Hour), Select: &control.Selection{Kind: control.KindClass,
		Salted: commit.Hex32{1}, Week: keyscope.Week(time.Now()), Sealed: commit.Hex32{2}}}
	id := commit.Hash([]byte(a.drop(control.TypeRequest, body, by)))
	a.compact()
	a.drop(control.TypeApprove, control.Decision{Request: id}, by)
	a.compact()
	return id
}

// drop leaves an entry in the inbox.
func (a *aged) drop(kind string, body any, by note.Signer) string {
	a.t.Helper()
	trust := identity.Trust{}
	if err := trust.UnmarshalText(a.file("trust.stele")); err != nil {
		a.t.Fatal(err)
	}
	entry, err := control.Sign(trust.Archive, kind, time.Now(), body, by)
	if err == nil {
		sum := commit.Hash([]byte(entry))
		_, err = a.store.Create(a.t.Context(), "control/inbox/"+sum.String(), []byte(entry), worm.Lock{Mode: worm.LockNone})
	}
	if err != nil {
		a.t.Fatal(err)
	}
	return entry
}

// verified verifies with a trust file.
func (a *aged) verified(trust []byte) *Report {
	a.t.Helper()
	archive, err := OpenArchive(a.t.Context(), a.store, trust)
	if err != nil {
		a.t.Fatal(err)
	}
	r, err := archive.Verify(a.t.Context(), VerifyOptions{Now: time.Now()})
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}

// erase erases a subject as an approved request does.
func (a *testArchive) erase(keys_ *keys.Service, pepper []byte, subject string, requests ...[32]byte) {
	a.t.Helper()
	tags := keyscope.MakeTags((*[32]byte)(pepper), nil, []byte(subject), nil)
	if _, err := keys_.Erase(a.t.Context(), keys.Erasure{Requests: requests, Tags: [][16]byte{tags.Subject}}); err != nil {
		a.t.Fatal(err)
	}
}

// TestKeysOfEveryScope: what writers signed of their keys is in the key store, pending, or erased with an approval.
func TestKeysOfEveryScope(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	service := a.keys()
	s := a.stream(keyscope.Link{})
	s.send(some(30)...)
	a.once(nil)
	check := func(want ScopeCounts) {
		t.Helper()
		r := a.verify(VerifyOptions{})
		wantExit(t, r, 0, "integrity", "erasure")
		got := *r.Scopes
		got.Record, got.Generation, got.Audited = 0, 0, 0
		if got != want {
			t.Errorf("%+v, want %+v: %v", got, want, r.Verdicts["erasure"])
		}
	}
	check(ScopeCounts{Pending: 15})
	r := a.verify(VerifyOptions{Now: time.Now().Add(25 * time.Hour)})
	wantExit(t, r, 14, "integrity", "erasure")
	wantFault(t, r.Faults, "erasure", "commits/", fmt.Sprintf("%x", s.id), "scope", "seq 0 to 30")
	a.once(service)
	check(ScopeCounts{Live: 15})
	a.erase(service, s.cred.Pepper, "subject-2", a.approvedRequest())
	check(ScopeCounts{Live: 10, Erased: 5})
	s.send(testRecord{subject: "subject-1", session: "new"})
	s.close()
	a.once(service)
	check(ScopeCounts{Live: 11, Erased: 5})
	r = a.verify(VerifyOptions{Reader: a.reader(service)})
	wantExit(t, r, 0, "integrity", "completeness", "erasure", "readability")
	if r.Erased != 10 {
		t.Errorf("%d records erased", r.Erased)
	}
}

// TestErasedYoung: what was erased within a day, and whose lane is gone from the spool, is erased and not pending.
func TestErasedYoung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAged(t)
		service := a.keys()
		defer service.Close()
		a.capture("mine")
		a.fold(service)
		a.compact() // removes the frames, and then the lane
		a.fold(service)
		a.fold(service)
		if _, err := service.Erase(t.Context(), keys.Erasure{Requests: [][32]byte{a.approved()}, Classes: []string{"default"}}); err != nil {
			t.Fatal(err)
		}
		a.capture("another's")
		a.fold(service)
		r := a.verified(a.file("trust.stele"))
		wantExit(t, r, 0, "integrity", "erasure")
		if s := r.Scopes; s.Erased != 1 || s.Pending != 0 || s.Live != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// TestErasedBeforeItsTime: what goes by policy counts as erased as far as others than the key service say that its time is over.
func TestErasedBeforeItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAged(t)
		a.expires("default", 30)
		service := a.keys()
		defer service.Close()
		a.capture("mine")
		a.fold(service)
		for range 33 {
			time.Sleep(24 * time.Hour)
			a.compact()
			if err := service.EraseDue(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		a.compact()
		trust := a.file("trust.stele")
		r := a.verified(trust)
		wantExit(t, r, 0, "integrity", "erasure")
		if s := r.Scopes; s.Erased != 1 {
			t.Errorf("%+v", s)
		}
		_, vkey := clockWitness("w.example")
		r = a.verified(fmt.Appendf(trust, "witness W %s\nquorum W\n", vkey))
		wantFault(t, r.Faults, "erasure", "commits/", "no approved erasure lists it")
	})
}

// TestExpiredThatDoesNotExpire: a key service that says of keys of a class which lives for ever that their day is over erases
// nothing by policy.
func TestExpiredThatDoesNotExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAged(t)
		a.capture("mine")
		a.compact()
		lying := &aged{t, a.dir, a.store.Clone()} // by a policy that nobody else has
		lying.expires("default", 1)
		service := lying.keys()
		defer service.Close()
		lying.fold(service)
		for day := range 4 {
			time.Sleep(24 * time.Hour)
			a.expires("state", control.Days(31+day))
			a.expires("state", control.Days(41+day))
			lying.compact()
			if err := service.EraseDue(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		lying.copyTo(a, "keys/")
		if r := lying.verified(a.file("trust.stele")); r.Scopes.Erased != 1 {
			t.Errorf("%+v", r.Scopes)
		}
		r := a.verified(a.file("trust.stele"))
		wantExit(t, r, 14, "erasure")
		wantFault(t, r.Faults, "erasure", "commits/", "no approved erasure lists it")
	})
}

// TestPolicyThatWas: what went by a policy went by it, also when it is another one since.
func TestPolicyThatWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAged(t)
		a.expires("default", 1)
		service := a.keys()
		defer service.Close()
		a.capture("mine")
		a.fold(service)
		for range 4 {
			time.Sleep(24 * time.Hour)
			a.compact()
			if err := service.EraseDue(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		a.changes(func(p *control.Policy) { p.Erasure = nil })
		r := a.verified(a.file("trust.stele"))
		wantExit(t, r, 0, "integrity", "erasure")
		if r.Scopes.Erased != 1 {
			t.Errorf("%+v", r.Scopes)
		}
	})
}

// copyTo copies what another archive lacks.
func (a *aged) copyTo(b *aged, prefix string) {
	a.t.Helper()
	for _, key := range keysOf(a.t, a.store, prefix) {
		if !slices.Contains(keysOf(a.t, b.store, prefix), key) {
			b.store.Overwrite(key, read(a.t, a.store, key))
		}
	}
}

// expires has the policy root say that keys of a class die after some days.
func (a *aged) expires(class string, days control.Days) {
	a.t.Helper()
	a.changes(func(p *control.Policy) {
		for i := range p.Classes {
			if p.Classes[i].Name == class {
				p.Classes[i].TTL = days
			}
		}
	})
}

// changes has the policy root change the policy.
func (a *aged) changes(change func(*control.Policy)) {
	a.t.Helper()
	var trust identity.Trust
	var root identity.Root
	err := errors.Join(trust.UnmarshalText(a.file("trust.stele")), identity.Parse(a.file("admin/root.stele"), identity.RootFormat, &root))
	if err != nil {
		a.t.Fatal(err)
	}
	log, err := ledger.Open(a.t.Context(), a.store, trust)
	if err != nil {
		a.t.Fatal(err)
	}
	next := *log.Policy()
	next.Version++
	next.Classes = slices.Clone(next.Classes)
	change(&next)
	a.drop(control.TypePolicy, next, signer(a.t, identity.RootName("acme"), root.Key))
	a.compact()
}

// TestOperatorHidesKeys: whoever drops, replaces or delays a grant, loses a key or erases one without approval, does not
// pass for who erases.
func TestOperatorHidesKeys(t *testing.T) {
	type world struct {
		*testArchive
		mem     *storetest.Memory
		service *keys.Service
		stream  *testStream
	}
	send := func(w *world) {
		w.stream.send(some(9)...)
		w.stream.close()
		w.once(w.service)
	}
	remove := func(w *world, prefix string) string {
		all := keysOf(t, w.mem, prefix)
		if len(all) == 0 {
			t.Fatal("nothing under " + prefix)
		}
		w.mem.Remove(all[len(all)-1], "")
		return all[len(all)-1]
	}
	for _, test := range []struct {
		name, verdict, key string
		words              []string
		attack             func(w *world) string // the key that must be named, if not key
	}{
		{"a grant is dropped", "erasure", "commits/", []string{"not in root record", "stream"}, func(w *world) string {
			n := 0
			w.stream.grants = func(msg []byte) []byte {
				if n++; n == 2 {
					return nil
				}
				return msg
			}
			send(w)
			return ""
		}},
		{"a grant is replaced", "erasure", "commits/", []string{"not in root record"}, func(w *world) string {
			n := 0
			w.stream.grants = func(msg []byte) []byte {
				if n++; n == 2 {
					return w.stream.otherGrant(msg)
				}
				return msg
			}
			send(w)
			return ""
		}},
		{"grants are held back", "erasure", "commits/", []string{"not pending"}, func(w *world) string {
			w.stream.send(some(9)...)
			w.stream.close()
			w.once(nil)
			return ""
		}},
		{"a pack is deleted", "readability", "", []string{"pack", "lost"}, func(w *world) string { send(w); return remove(w, "keys/packs/") }},
		{"a pack is altered", "readability", "", []string{"pack"}, func(w *world) string {
			send(w)
			data := read(t, w.mem, keysOf(t, w.mem, "keys/packs/")[0])
			key := remove(w, "keys/packs/")
			w.mem.Overwrite(key, flip(data, 8*len(data)-5))
			return key
		}},
		{"keys are erased as by policy", "erasure", "commits/", []string{"no approved erasure lists it"}, func(w *world) string {
			send(w)
			w.erase(w.service, w.stream.cred.Pepper, "subject-1")
			return ""
		}},
		{"a generation is destroyed without approval", "erasure", "keys/roots/", []string{"no approved request", "generation 2"}, func(w *world) string {
			send(w)
			w.erase(w.service, w.stream.cred.Pepper, "subject-1", [32]byte{9})
			return ""
		}},
		{"the list of an approved erasure is removed", "erasure", "keys/erased/", []string{"list"}, func(w *world) string {
			send(w)
			w.erase(w.service, w.stream.cred.Pepper, "subject-1", w.approvedRequest())
			remove(w, "keys/erased/")
			return ""
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			mem := storetest.NewMemory()
			a := newTestArchive(t, mem)
			w := &world{a, mem, a.keys(), a.stream(keyscope.Link{})}
			if key := test.attack(w); key != "" {
				test.key = key
			}
			r := a.verify(VerifyOptions{Now: time.Now().Add(25 * time.Hour)})
			wantExit(t, r, map[string]int{"erasure": 14, "readability": 15}[test.verdict], "integrity", test.verdict)
			wantFault(t, r.Faults, test.verdict, test.key, test.words...)
		})
	}
}

// otherGrant is a message with a grant for the same scope, of another key.
func (s *testStream) otherGrant(msg []byte) []byte {
	s.t.Helper()
	g, err := keyscope.ParseGrants(msg)
	if err != nil {
		s.t.Fatal(err)
	}
	old := g.Grants[0]
	key, tags := [32]byte{1}, keyscope.Tags{}
	other, _, err := keyscope.MakeGrant(&key, &tags, &keyscope.Binding{Archive: s.cred.Archive, Stream: s.id, Scope: old.Scope, Start: old.Start, Class: "default"}, s.read, s.intake)
	if err != nil {
		s.t.Fatal(err)
	}
	again, err := (&keyscope.Grants{Cert: s.cert, Week: s.intake.Week, Intake: s.intake.Encapsulation, Grants: []keyscope.Grant{other}}).Sign(s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	return again
}

// liar says of some scopes that they were erased.
type liar struct {
	keys.Source
	n int
}

func (l liar) Keys(ctx context.Context, request []byte) (*keys.Answer, error) {
	answer, err := l.Source.Keys(ctx, request)
	for i := range answer.Keys[:min(l.n, len(answer.Keys))] {
		answer.Keys[i].State, answer.Keys[i].Wrapped = "erased", nil
	}
	return answer, err
}

// TestKeyServiceSaysErased: a key that is there was not erased, whatever the key service says; and wrong keys open nothing.
func TestKeyServiceSaysErased(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	service := a.keys()
	s := a.stream(keyscope.Link{})
	s.send(some(9)...)
	s.close()
	a.once(service)
	r, err := a.open().Unlock(a.file("reader", "reader.stele"), liar{service, 2})
	if err != nil {
		t.Fatal(err)
	}
	report := a.verify(VerifyOptions{Reader: r})
	wantExit(t, report, 15, "integrity", "erasure", "readability")
	if d := report.Verdicts["readability"].Detail; !strings.Contains(d, "says that it was erased") {
		t.Error(d)
	}
	if r, err = a.open().Unlock(a.file("reader", "reader.stele"), mixer{service}); err != nil {
		t.Fatal(err)
	}
	wantExit(t, a.verify(VerifyOptions{Reader: r}), 15, "integrity", "erasure", "readability")
}

// mixer gives two scopes each the other's key.
type mixer struct{ keys.Source }

func (m mixer) Keys(ctx context.Context, request []byte) (*keys.Answer, error) {
	answer, err := m.Source.Keys(ctx, request)
	if n := len(answer.Keys); n > 1 {
		answer.Keys[0].Wrapped, answer.Keys[n-1].Wrapped = answer.Keys[n-1].Wrapped, answer.Keys[0].Wrapped
	}
	return answer, err
}

// TestOperatorDestroysTheLiveGeneration: a custodian destroys its key without an erasure. What was archived cannot be read any
// more; that is said, and it passes for no erasure.
func TestOperatorDestroysTheLiveGeneration(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	service := a.keys()
	s := a.stream(keyscope.Link{})
	s.send(some(9)...)
	s.close()
	a.once(service)
	if err := service.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := byurl.Open(admin.DefaultCustodian(a.dir), custodian.Identity{Archive: s.cred.Archive, Name: "default"}, byurl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Destroy(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	_, err = keys.Open(t.Context(), keys.Config{Store: a.store, Trust: a.trust(), Custodians: keys.Custodians{URLs: map[string]string{"default": admin.DefaultCustodian(a.dir)}}})
	if !errors.Is(err, custodian.ErrDestroyed) {
		t.Fatalf("the key store opens: %v", err)
	}
	r := a.verify(VerifyOptions{Locked: err})
	wantExit(t, r, 15, "integrity", "completeness", "erasure", "readability")
	wantFault(t, r.Faults, "readability", "keys/roots/", "record 1 of the key store", "generation 1", "destroyed")
	if r.Scopes.Erased != 0 || r.Scopes.Live == 0 {
		t.Errorf("%+v", r.Scopes)
	}
}

// TestErasuresAreAudited: verify compares the tries before and after an erasure, as long as both are there.
func TestErasuresAreAudited(t *testing.T) {
	m := storetest.NewMemory()
	a := newTestArchive(t, m)
	service := a.keys()
	s := a.stream(keyscope.Link{})
	s.send(some(30)...)
	a.once(nil)
	if err := service.Fold(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := keysOf(t, m, keydepot.Packs)
	a.erase(service, s.cred.Pepper, "subject-2", a.approvedRequest())
	r := a.verify(VerifyOptions{})
	wantExit(t, r, 0, "integrity", "erasure")
	if r.Scopes.Audited != 1 {
		t.Errorf("%+v", r.Scopes)
	}
	list := keysOf(t, m, keydepot.Lists)[0]
	kept := read(t, m, list)
	m.Remove(list, "")
	late := VerifyOptions{Now: time.Now().Add(100 * 24 * time.Hour)}
	wantFault(t, a.verify(late).Faults, "erasure", keydepot.Roots, "does not follow")
	m.Overwrite(list, kept)
	for _, pack := range before { // the record before names them; the newest may name some
		m.Remove(pack, "")
	}
	r = a.verify(VerifyOptions{})
	wantExit(t, r, 14, "erasure")
	found := false
	for _, f := range r.Faults {
		found = found || f.Verdict == "erasure" && strings.Contains(f.Detail, "does not follow")
	}
	if !found {
		t.Errorf("%+v", r.Faults)
	}
}
