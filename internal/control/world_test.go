package control_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	. "github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/merkle"
)

var epoch = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// world is an archive's control log and everybody who has to do with it.
type world struct {
	t     failer
	state *State
	n     uint64
	now   time.Time
	keys  map[string]note.Signer // by key name
	vkeys map[string]string
	id    [16]byte
}

// failer is a *testing.T, or rapid's.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func newWorld(t failer) *world {
	w := &world{t: t, now: epoch, keys: map[string]note.Signer{}, vkeys: map[string]string{}, id: [16]byte{1}}
	trust := identity.Trust{Archive: w.id, Name: "test", Root: w.vkey("test/root"), Log: w.vkey("test/control")}
	var err error
	if w.state, err = NewState(trust); err != nil {
		t.Fatal(err)
	}
	w.must(w.sign("root", TypePolicy, w.policy(1)))
	return w
}

// vkey makes the key under a name; the same name always has the same key.
func (w *world) vkey(name string) string { return w.keyFrom(name, name) }

func (w *world) keyFrom(name, seed string) string {
	sum := sha256.Sum256([]byte(seed))
	key := ed25519.NewKeyFromSeed(sum[:])
	signer, err := merkle.NewSigner(name, key)
	if err != nil {
		w.t.Fatal(err)
	}
	vkey, err := note.NewEd25519VerifierKey(name, key.Public().(ed25519.PublicKey))
	if err != nil {
		w.t.Fatal(err)
	}
	w.keys[name], w.vkeys[name] = signer, vkey
	return vkey
}

func (w *world) named(role string, names ...string) (out []Named) {
	for _, n := range names {
		out = append(out, Named{Name: n, Key: w.vkey("test/" + role + "/" + n)})
	}
	return out
}

// policy is one with all roles but approvers.
func (w *world) policy(version uint64) Policy {
	return Policy{Version: version, Root: w.vkey("test/root"), Classes: []Class{{Name: "default", Keep: 30}, {Name: "state", Keep: 30, TTL: 30}, {Name: "audit", Keep: 184, Min: 184}},
		Holders: w.named("holder", "legal"), Compactors: w.named("compactor", "default"), KeyServices: w.named("keyservice", "default"),
		Readers: []Reader{{Name: "reader", Key: []byte{1}, Sign: w.vkey("test/reader/reader")}},
		Writers: []Writer{{Name: "default", Key: []byte{7}}},
		Intake:  []Intake{{Week: keyscope.Week(epoch), Key: []byte{1}}}, Lock: Lock{Mode: "governance", Keep: 30}, Partitions: 1, Period: "quarter"}
}

// dual enrols the approvers anna, bert and carl, with the policy root alone.
func (w *world) dual() *world {
	p := w.policy(2)
	p.Approvers = w.named("approver", "anna", "bert", "carl")
	p.Erasure = &Erasure{Session: []string{"state"}, TTL: true}
	w.must(w.sign("root", TypePolicy, p))
	return w
}

func (w *world) sign(by, kind string, body any) string {
	w.t.Helper()
	return w.signAt(by, kind, w.now, body)
}

func (w *world) signAt(by, kind string, at time.Time, body any) string {
	w.t.Helper()
	name := "test/" + by
	if w.keys[name] == nil {
		w.vkey(name)
	}
	e, err := Sign(w.id, kind, at, body, w.keys[name])
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// add puts an entry into the log and returns why it has no effect.
func (w *world) add(entry string) error {
	w.t.Helper()
	_, check := w.state.Check(entry, w.now)
	data, err := w.state.Build(chain.Tail{Next: w.n}, []string{entry}, w.now, w.keys["test/control"])
	if err != nil {
		w.t.Fatal(err)
	}
	_, accept, err := w.state.Judge(chain.Object{N: w.n, Data: data})
	if err != nil {
		w.t.Fatal(err)
	}
	accept()
	w.n++
	l := w.state.Listed[len(w.state.Listed)-1]
	if !w.state.Has(entry) || l.Index != uint64(len(w.state.Listed)-1) {
		w.t.Fatal("the entry is not in the log")
	}
	if (check == nil) != (l.Unauthorised == nil) && why(l.Unauthorised) != "replayed" {
		w.t.Fatalf("what is checked before, %v, is not what follows: %v", check, l.Unauthorised)
	}
	return l.Unauthorised
}

func (w *world) must(entry string) commit.Hex32 {
	w.t.Helper()
	if err := w.add(entry); err != nil {
		w.t.Fatal(err)
	}
	return sha256.Sum256([]byte(entry))
}

// wrong adds an entry that must have no effect for the given reason.
func (w *world) wrong(want, entry string) {
	w.t.Helper()
	before := fmt.Sprintf("%+v", w.standing())
	if err := w.add(entry); why(err) != want {
		w.t.Fatalf("refused for %q (%v), not %q", why(err), err, want)
	}
	if after := fmt.Sprintf("%+v", w.standing()); after != before {
		w.t.Fatalf("an entry without effect had one:\n%s\n%s", before, after)
	}
}

// standing is all that requests, holds and policies amount to.
func (w *world) standing() (out []any) {
	for _, r := range w.state.Requests {
		out = append(out, *r)
	}
	for _, h := range w.state.Holds {
		out = append(out, *h)
	}
	return append(out, w.state.Policies, w.state.Erasures, len(w.state.ReadKeys))
}

func why(err error) string {
	var r *Refused
	if errors.As(err, &r) {
		return r.Why
	}
	return ""
}

func (w *world) selection() *Selection {
	return &Selection{Kind: KindSubject, Salted: commit.Hex32{1}, Week: keyscope.Week(w.now), Sealed: commit.Hex32{2}}
}

func (w *world) erase() RequestBody {
	return RequestBody{What: WhatErase, Until: w.now.Add(7 * 24 * time.Hour), Select: w.selection()}
}

// propose is a request for a policy that differs from the one in force.
func (w *world) propose(edit func(*Policy)) RequestBody {
	now := w.state.Policy()
	base := now.Governed()
	p := *now
	p.Version, p.Writers, p.Intake = 0, nil, nil
	p.Approvers, p.Readers, p.Classes = slices.Clone(p.Approvers), slices.Clone(p.Readers), slices.Clone(p.Classes)
	edit(&p)
	return RequestBody{What: WhatPolicy, Until: w.now.Add(24 * time.Hour), Base: &base, Policy: &p}
}

func (w *world) stands(id commit.Hex32, want Standing) {
	w.t.Helper()
	if got := w.state.Request(id).Standing; got != want {
		w.t.Fatalf("the request is %s, not %s", got, want)
	}
}

func (w *world) approve(by string, id commit.Hex32) string {
	w.t.Helper()
	return w.sign(by, TypeApprove, Decision{Request: id})
}
