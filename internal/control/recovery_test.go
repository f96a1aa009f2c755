package control_test

import (
	"testing"
	"time"

	"github.com/stelelog/stele/internal/commit"
	. "github.com/stelelog/stele/internal/control"
)

// recovery is the loss of record 3, which the log knows.
func (w *world) recovery() *Recovery {
	w.t.Helper()
	lost := RootRef{N: 3, Hash: commit.Hex32{3}}
	if len(w.state.KeyRoots) == 0 {
		w.must(w.sign("keyservice/default", TypeKeyRoot, KeyRoot{N: lost.N, Hash: lost.Hash, Generation: 1, Live: 7}))
	}
	return &Recovery{RootRef: RootRef{N: 2, Hash: commit.Hex32{2}}, Generation: 1, Lost: []RootRef{lost}, Packs: []commit.Hex32{}, Missing: 4}
}

func (w *world) asked(r *Recovery) string {
	return w.sign(anna, TypeRequest, RequestBody{What: WhatRecovery, Until: w.now.Add(24 * time.Hour), Recovery: r})
}

func (w *world) leaves(request commit.Hex32, size uint64) string {
	return w.sign("keyservice/default", TypeErased, Erased{Cause: CauseRequest, Requests: []Outcome{{Request: request, Erased: 1000}}, From: 1, To: 2, Control: size,
		Before: RootRef{N: 3}, Root: RootRef{N: 4, Hash: commit.Hex32{7}}, Scopes: 1000, Removed: 1000, Single: w.state.Request(request).Single, Transport: w.now})
}

// TestRecoveryErasesNothing: an approved recovery is no approval of an erasure, and its outcome counts no scopes.
func TestRecoveryErasesNothing(t *testing.T) {
	w := newWorld(t).dual()
	id := w.must(w.asked(w.recovery()))
	w.must(w.approve(anna, id))
	w.must(w.approve(bert, id))
	w.wrong("invalid", w.leaves(id, w.state.Size()))
	w.wrong("invalid", w.sign("keyservice/default", TypeOutcome, Outcome{Request: id, Erased: 1000}))
	w.stands(id, Approved)
	w.must(w.sign("keyservice/default", TypeOutcome, Outcome{Request: id}))
	w.stands(id, Done)
}

// TestRecoveryAsked: a request says what is lost, and nobody can ask for an older generation or for the loss of what is not known.
func TestRecoveryAsked(t *testing.T) {
	w := newWorld(t).dual()
	for what, change := range map[string]func(*Recovery){
		"nothing is lost":            func(r *Recovery) { r.Lost = []RootRef{} },
		"no list":                    func(r *Recovery) { r.Lost = nil },
		"no list of packs":           func(r *Recovery) { r.Packs = nil },
		"twice":                      func(r *Recovery) { r.Lost = append(r.Lost, r.Lost[0]) },
		"packs do not ascend":        func(r *Recovery) { r.Packs = []commit.Hex32{{2}, {1}} },
		"a record that is not known": func(r *Recovery) { r.Lost[0].Hash[1]++ },
		"another generation":         func(r *Recovery) { r.Generation = 2 },
		"no generation":              func(r *Recovery) { r.Generation = 0 },
		"no record":                  func(r *Recovery) { r.N = 0 },
	} {
		r := w.recovery()
		change(r)
		if err := w.add(w.asked(r)); why(err) != "invalid" {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.must(w.asked(w.recovery()))
	w.now = w.now.Add(time.Second)
	w.must(w.sign("keyservice/default", TypeKeyRoot, KeyRoot{N: 3, Hash: commit.Hex32{3}, Generation: 0})) // a lie about it
	w.must(w.asked(w.recovery()))
	w.now = w.now.Add(time.Second)
	w.must(w.sign("keyservice/default", TypeKeyRoot, KeyRoot{N: 4, Hash: commit.Hex32{4}, Generation: 2}))
	w.wrong("invalid", w.asked(w.recovery())) // generation 1 is left
}

// TestRecoveryUndoes: what records counted that a recovery went back behind counts no more; what came after its approval does.
func TestRecoveryUndoes(t *testing.T) {
	w := newWorld(t).dual()
	bob := w.must(w.sign("reader/reader", TypeRequest, w.erase()))
	late := func(n uint64) {
		w.must(w.sign("keyservice/default", TypeSupplement, Supplement{Request: &bob, Root: RootRef{N: n, Hash: commit.Hex32{byte(n)}}, Buried: n}))
	}
	asked := w.recovery() // of record 3: 2 stands in
	late(2)
	late(3)
	id := w.must(w.asked(asked))
	w.must(w.approve(anna, id))
	w.must(w.approve(bert, id))
	late(4)
	w.must(w.sign("keyservice/default", TypeOutcome, Outcome{Request: id}))
	for _, u := range w.state.Supplements {
		if u.Undone != (u.Root.N == 3) {
			t.Errorf("record %d: undone %v", u.Root.N, u.Undone)
		}
	}
}

// TestRecoveryBehind: a generation that was left is not asked for again, whether a root record or an erasure says that it was;
// the word of a key service that was revoked counts up to the record that the revocation names.
func TestRecoveryBehind(t *testing.T) {
	const other = "keyservice/second"
	for what, says := range map[string]func(w *world){
		"a record": func(w *world) {
			w.must(w.sign(other, TypeKeyRoot, KeyRoot{N: 4, Hash: commit.Hex32{4}, Generation: 2}))
		},
		"an erasure": func(w *world) {
			w.must(w.sign(other, TypeErased, Erased{Cause: CauseTTL, Requests: []Outcome{}, From: 1, To: 2, Control: w.state.Size(), Before: RootRef{N: 3},
				Root: RootRef{N: 4, Hash: commit.Hex32{7}}, Scopes: 1, Removed: 1, Single: true, Transport: w.now}))
		},
	} {
		for last, stands := range map[uint64]bool{3: true, 4: false} {
			w := newWorld(t)
			p := w.policy(2)
			p.KeyServices, p.Erasure = w.named("keyservice", "default", "second"), &Erasure{TTL: true}
			w.must(w.sign("root", TypePolicy, p))
			asked := func() string {
				return w.sign("root", TypeRequest, RequestBody{What: WhatRecovery, Until: w.now.Add(time.Hour), Recovery: w.recovery()})
			}
			w.must(asked())
			says(w)
			w.now = w.now.Add(time.Second)
			w.wrong("invalid", asked())
			if err := p.Revoke(RoleKeyService, "second", map[string]uint64{RootsLog("test"): last}); err != nil {
				t.Fatal(err)
			}
			p.Version = 3
			w.must(w.sign("root", TypePolicy, p))
			w.now = w.now.Add(time.Second)
			if err := w.add(asked()); (err == nil) != stands {
				t.Errorf("%s by a key service that is revoked from record %d on: %v", what, last, err)
			}
		}
	}
}
