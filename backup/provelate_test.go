package backup_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/ledger"
)

// What a record counted that a recovery went back behind is counted again, if it comes again: a certificate does not say it twice.
func TestCertificateAfterRecovery(t *testing.T) {
	a, _, svc, records := built(t)
	subject := records[0].subject
	filed := a.asked(subject)
	a.once(svc)
	a.erased(svc, filed.ID, subject)
	var request commit.Hex32
	var root identity.Root
	if err := request.UnmarshalText([]byte(filed.ID)); err != nil {
		t.Fatal(err)
	}
	if err := identity.Parse(a.file("admin", "root.stele"), identity.RootFormat, &root); err != nil {
		t.Fatal(err)
	}
	late := func() (n int) {
		e, err := a.open().Certificate(t.Context(), filed.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := evidence.Check(a.trust(), e.File)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range r.Holds {
			if s.What == "late" {
				n++
			}
		}
		return n
	}
	say := func(kind string, body any) commit.Hex32 {
		id := commit.Hash([]byte(a.drop(kind, body, a.keyService())))
		a.once(nil)
		return id
	}
	n := uint64(len(keysOf(t, a.store, "keys/roots/"))) - 1
	lost, again := control.RootRef{N: n + 1, Hash: commit.Hex32{1}}, control.RootRef{N: n + 3, Hash: commit.Hex32{3}}
	say(control.TypeSupplement, control.Supplement{Request: &request, Root: lost, Buried: 2})
	if got := late(); got != 1 {
		t.Fatalf("it came late %d times", got)
	}
	say(control.TypeKeyRoot, control.KeyRoot{N: lost.N, Hash: lost.Hash, Generation: 2})
	by := signer(t, identity.RootName("test"), root.Key)
	stand := commit.Hash(read(t, a.store, rootKey(n)))
	id := commit.Hash([]byte(a.drop(control.TypeRequest, control.RequestBody{What: control.WhatRecovery, Until: time.Now().Add(time.Hour),
		Recovery: &control.Recovery{RootRef: control.RootRef{N: n, Hash: stand}, Generation: 2, Lost: []control.RootRef{lost}, Packs: []commit.Hex32{}}}, by)))
	a.once(nil)
	a.drop(control.TypeApprove, control.Decision{Request: id}, by)
	a.once(nil)
	say(control.TypeOutcome, control.Outcome{Request: id})
	say(control.TypeSupplement, control.Supplement{Request: &request, Root: again, Buried: 2})
	var trust identity.Trust
	if err := trust.UnmarshalText(a.trust()); err != nil {
		t.Fatal(err)
	}
	log, err := ledger.Open(t.Context(), a.store, trust)
	if err != nil {
		t.Fatal(err)
	}
	var undone []bool
	log.View(func(s *control.State) {
		for i := range s.Supplements {
			undone = append(undone, s.Supplements[i].Undone)
		}
	})
	if !slices.Equal(undone, []bool{true, false}) {
		t.Fatalf("undone %v", undone)
	}
	if got := late(); got != 1 {
		t.Errorf("it came late once more, and a certificate says so %d times", got)
	}
}
