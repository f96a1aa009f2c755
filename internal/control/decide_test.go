package control_test

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/commit"
	. "github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
)

const (
	anna = "approver/anna"
	bert = "approver/bert"
	carl = "approver/carl"
)

func TestTwoApprove(t *testing.T) {
	w := newWorld(t).dual()
	id := w.must(w.sign("reader/reader", TypeRequest, w.erase()))
	w.stands(id, Pending)
	w.must(w.approve(anna, id))
	w.stands(id, Pending)
	w.must(w.approve(bert, id))
	w.stands(id, Approved)
	r := w.state.Request(id)
	if r.Single || r.Effect != w.state.Size() || !r.At.Equal(w.now) {
		t.Errorf("decided with single control %v, at size %d, at %v", r.Single, r.Effect, r.At)
	}
}

// TestSamePersonTwice: by name, by key, and by a new name with the old key.
func TestSamePersonTwice(t *testing.T) {
	w := newWorld(t).dual()
	id := w.must(w.sign(anna, TypeRequest, w.erase()))
	w.must(w.approve(anna, id))
	w.now = w.now.Add(time.Second)
	w.wrong("twice", w.approve(anna, id))

	// One key under two names is no policy.
	twin := w.propose(func(p *Policy) {
		p.Approvers = append(p.Approvers, Named{Name: "dora", Key: w.keyFrom("test/approver/dora", "test/approver/anna")})
	})
	w.wrong("invalid", w.sign(anna, TypeRequest, twin))

	// Anna under another name, with the key that has approved already.
	rename := w.must(w.sign(bert, TypeRequest, w.propose(func(p *Policy) {
		p.Approvers[0] = Named{Name: "dora", Key: w.keyFrom("test/approver/dora", "test/approver/anna")}
	})))
	w.must(w.approve(bert, rename))
	w.must(w.approve(carl, rename))
	w.stands(rename, Done)
	w.wrong("twice", w.approve("approver/dora", id))
	w.stands(id, Pending)

	// Anna's name with another key: the name has approved.
	again := w.must(w.sign(bert, TypeRequest, w.propose(func(p *Policy) {
		p.Approvers[0] = Named{Name: "anna", Key: w.keyFrom("test/approver/anna", "another key")}
	})))
	w.must(w.approve(bert, again))
	w.must(w.approve(carl, again))
	w.now = w.now.Add(time.Second)
	w.wrong("twice", w.approve(anna, id))
	// And what the old key said is not counted for the new one.
	w.must(w.approve(bert, id))
	w.stands(id, Pending)
}

func TestWrongRole(t *testing.T) {
	w := newWorld(t).dual()
	id := w.must(w.sign(anna, TypeRequest, w.erase()))
	for _, by := range []string{"root", "reader/reader", "holder/legal", "compactor/default", "keyservice/default", "approver/nobody"} {
		w.wrong("role", w.approve(by, id))
	}
	for _, by := range []string{"compactor/default", "keyservice/default", "approver/nobody"} {
		w.wrong("role", w.sign(by, TypeRequest, w.erase()))
	}
	for _, by := range []string{"root", "reader/reader", "compactor/default", "keyservice/default"} {
		w.wrong("role", w.sign(by, TypeHold, HoldBody{*w.selection()}))
	}
	for _, by := range []string{"root", anna, "compactor/default", "reader/reader"} {
		w.wrong("role", w.sign(by, TypeErased, Erased{}))
	}
	w.wrong("role", w.sign("root", TypeReadKey, ReadKey{Year: 2026, Key: []byte{9}, Wraps: []Wrap{{}}}))
	w.wrong("role", w.sign("holder/legal", TypeReject, Decision{Request: id}))
	w.stands(id, Pending)
}

func TestExpired(t *testing.T) {
	w := newWorld(t).dual()
	body := w.erase()
	id := w.must(w.sign(anna, TypeRequest, body))
	w.must(w.approve(anna, id))
	signed := w.approve(bert, id) // in time, and held back
	w.now = body.Until.Add(time.Second)
	w.wrong("late", signed)
	w.wrong("late", w.approve(carl, id))
	w.wrong("late", w.signAt(carl, TypeApprove, body.Until, Decision{Request: id})) // dated back
	if r := w.state.Request(id); !r.Expired(w.now) || r.Expired(body.Until) {
		t.Error("the request does not say that its time is over")
	}
	w.now = body.Until.Add(-time.Hour)
	w.wrong("ahead", w.signAt(carl, TypeApprove, body.Until.Add(-time.Minute), Decision{Request: id}))

	body = w.erase()
	body.Until = w.now
	w.wrong("invalid", w.sign(anna, TypeRequest, body))
	body.Until = w.now.Add(91 * 24 * time.Hour)
	w.wrong("invalid", w.sign(anna, TypeRequest, body))
	body = w.erase()
	body.Until = body.Select.Dies().Add(time.Second)
	w.wrong("invalid", w.sign(anna, TypeRequest, body))
	body = w.erase()
	body.Select.Week++
	w.wrong("invalid", w.sign(anna, TypeRequest, body))
	w.wrong("ahead", w.signAt(anna, TypeRequest, w.now.Add(time.Hour), w.erase()))
}

// TestReplayed: approvals of another request, of another archive, before the request, once more, and altered.
func TestReplayed(t *testing.T) {
	w, other := newWorld(t).dual(), newWorld(t)
	other.id = [16]byte{2}
	request := w.sign(anna, TypeRequest, w.erase())
	id := commit.Hex32(sha256.Sum256([]byte(request)))
	early := w.approve(bert, id)
	w.wrong("unknown", early)
	w.must(request)
	w.wrong("replayed", early) // what was in the log has had its chance
	w.now = w.now.Add(time.Second)

	// The same question once more is another request: the approval of one does not count for the other.
	w.must(w.approve(anna, id))
	second := w.must(w.sign(anna, TypeRequest, w.erase()))
	w.must(w.approve(bert, second))
	w.stands(id, Pending)
	w.stands(second, Pending)

	w.wrong("archive", other.approve(bert, id))
	good := w.approve(bert, id)
	for i, c := range good {
		bad := good[:i] + string(c^1) + good[i+1:]
		if _, err := w.state.Check(bad, w.now); c < 0x80 && err == nil {
			t.Fatalf("an approval with bit %d altered counts", i)
		}
	}
	w.wrong("altered", good+"— test/approver/bert AAAAAAAA\n")
	w.wrong("altered", strings.Replace(good, `"approve"`, `"reject"`, 1))
	w.must(good)
	w.stands(id, Approved)
	w.wrong("replayed", request)
	w.wrong("replayed", good)
}

// TestApproverRemoved: between two approvals, and between the second and what follows from it.
func TestApproverRemoved(t *testing.T) {
	w := newWorld(t).dual()
	first := w.must(w.sign(anna, TypeRequest, w.erase()))
	w.must(w.approve(anna, first))
	second := w.must(w.sign(bert, TypeRequest, w.erase()))
	w.now = w.now.Add(time.Second)
	done := w.must(w.sign(bert, TypeRequest, w.erase()))
	w.must(w.approve(anna, done))
	w.must(w.approve(bert, done))
	w.stands(done, Approved)

	out := w.must(w.sign(bert, TypeRequest, w.propose(func(p *Policy) { p.Approvers = p.Approvers[1:] })))
	w.must(w.approve(bert, out))
	w.must(w.approve(carl, out))
	w.stands(out, Done)
	w.wrong("role", w.approve(anna, second))
	w.must(w.approve(bert, first))
	w.stands(first, Pending)
	w.stands(done, Pending) // it was approved, but not carried out
	w.wrong("closed", w.sign("keyservice/default", TypeOutcome, Outcome{Request: done, Erased: 1}))
	w.must(w.approve(carl, done))
	w.stands(done, Approved)
	w.must(w.approve(carl, first))
	w.stands(first, Approved)
}

// TestPolicyNamesItsSigner: a policy gives nobody a voice in its own favour.
func TestPolicyNamesItsSigner(t *testing.T) {
	w := newWorld(t).dual()
	body := w.propose(func(p *Policy) { p.Approvers = append(p.Approvers, w.named("approver", "dora")...) })
	id := w.must(w.sign(anna, TypeRequest, body))
	w.must(w.approve(anna, id))
	w.wrong("role", w.approve("approver/dora", id))
	w.stands(id, Pending)
	w.wrong("role", w.sign("approver/dora", TypePolicy, w.policy(3)))

	// The root alone: nothing but writers.
	p := *w.state.Policy()
	p.Version++
	p.Approvers = append(p.Approvers, w.named("approver", "dora")...)
	w.wrong("role", w.sign("root", TypePolicy, p))
	for name, edit := range map[string]func(*Policy){
		"reader":         func(p *Policy) { p.Readers = append(p.Readers, Reader{Name: "x", Sign: w.vkey("test/reader/x")}) },
		"ttl":            func(p *Policy) { p.Classes = []Class{{Name: "default", TTL: 1}} },
		"intake":         func(p *Policy) { p.Intake = append(p.Intake, Intake{Week: 5000}) },
		"no approvers":   func(p *Policy) { p.Approvers = nil },
		"name again":     func(p *Policy) { p.Writers = append(p.Writers, Writer{Name: "default", Key: []byte{8}}) },
		"key again":      func(p *Policy) { p.Writers = append(p.Writers, Writer{Name: "new", Key: []byte{7}}) },
		"writer's key":   func(p *Policy) { p.Writers = []Writer{{Name: "default", Key: []byte{8}}} },
		"writer dropped": func(p *Policy) { p.Writers = nil },
		"lock":           func(p *Policy) { p.Lock.Keep = 1 },
	} {
		p := *w.state.Policy()
		p.Version++
		edit(&p)
		if err := w.add(w.sign("root", TypePolicy, p)); why(err) != "role" && why(err) != "invalid" {
			t.Errorf("%s: the root alone may change it: %v", name, err)
		}
	}
	p = *w.state.Policy()
	p.Version++
	p.Writers = append(p.Writers, Writer{Name: "new", Key: []byte{8}})
	w.must(w.sign("root", TypePolicy, p))
	now := w.now
	p.Version++
	p.Writers = []Writer{p.Writers[0], p.Writers[1]}
	p.Writers[0].Revoked = &now
	w.must(w.sign("root", TypePolicy, p))
	if w.state.Policies[len(w.state.Policies)-1].Single != true {
		t.Error("what the root decided alone is not under single control")
	}

	// The request still stands, and takes effect with the writers of now.
	w.must(w.approve(bert, id))
	w.stands(id, Done)
	if p := w.state.Policy(); len(p.Writers) != 2 || p.Writers[0].Revoked == nil || len(p.Approvers) != 4 || len(p.Intake) != 1 || p.Version != 5 {
		t.Errorf("policy in force: %+v", p)
	}
	if w.state.Single() {
		t.Error("what two approvers decided is under single control")
	}
}

// TestPolicyAppliedAsAnother: approvals bind one policy made from one other.
func TestPolicyAppliedAsAnother(t *testing.T) {
	w := newWorld(t).dual()
	a := w.must(w.sign(anna, TypeRequest, w.propose(func(p *Policy) { p.Classes[0].Keep = 40 })))
	b := w.must(w.sign(anna, TypeRequest, w.propose(func(p *Policy) { p.Classes[0].Keep = 50 })))
	for _, by := range []string{anna, bert} {
		w.must(w.approve(by, a))
	}
	w.must(w.approve(anna, b))
	w.must(w.approve(bert, b))
	w.stands(a, Done)
	w.stands(b, Superseded)
	if keep := w.state.Policy().Classes[0].Keep; keep != 40 {
		t.Errorf("class kept for %d days", keep)
	}
	w.wrong("closed", w.approve(carl, b))
	stale := w.propose(func(p *Policy) {})
	stale.Base = &commit.Hex32{1}
	w.wrong("closed", w.sign(anna, TypeRequest, stale))
	back := w.propose(func(p *Policy) { p.Approvers = p.Approvers[:1] })
	w.wrong("invalid", w.sign(anna, TypeRequest, back))
	withWriters := w.propose(func(p *Policy) { p.Writers = []Writer{{Name: "x"}} })
	w.wrong("invalid", w.sign(anna, TypeRequest, withWriters))
	root := w.propose(func(p *Policy) { p.Root = w.vkey("test/other") })
	w.wrong("invalid", w.sign(anna, TypeRequest, root))
	keys := w.propose(func(p *Policy) {})
	keys.ReadKeys = []ReadKey{{Year: 2026, Key: []byte{1}, Wraps: []Wrap{{Reader: "x"}}}, {Year: 2026, Key: []byte{2}, Wraps: []Wrap{{Reader: "x"}}}}
	w.wrong("invalid", w.sign(anna, TypeRequest, keys))
}

// TestReject: who takes back, who ends.
func TestReject(t *testing.T) {
	w := newWorld(t).dual()
	reject := func(by string, id commit.Hex32) string { return w.sign(by, TypeReject, Decision{Request: id}) }
	id := w.must(w.sign("reader/reader", TypeRequest, w.erase()))
	w.must(reject(carl, id))
	w.wrong("twice", w.signAt(carl, TypeReject, w.now.Add(time.Second), Decision{Request: id}))
	w.must(w.approve(anna, id))
	w.must(w.approve(bert, id))
	w.stands(id, Approved) // one alone cannot stop it
	w.must(reject(bert, id))
	w.stands(id, Rejected) // two can
	w.wrong("closed", w.signAt(bert, TypeApprove, w.now.Add(time.Second), Decision{Request: id}))

	id = w.must(w.sign("reader/reader", TypeRequest, RequestBody{What: WhatRecovery, Until: w.now.Add(time.Hour), Recovery: w.recovery()}))
	w.must(reject("reader/reader", id))
	w.stands(id, Rejected)
	w.now = w.now.Add(time.Minute)
	id = w.must(w.sign("reader/reader", TypeRequest, w.erase()))
	w.must(w.approve(anna, id))
	w.must(w.approve(bert, id))
	w.must(reject("reader/reader", id)) // too late for who asked
	w.stands(id, Approved)
	w.must(reject(anna, id))
	w.stands(id, Pending)
}

// TestHeldBack: an approval that was taken back is not had again by one of before, which somebody who can remove objects of the inbox
// has kept.
func TestHeldBack(t *testing.T) {
	w := newWorld(t).dual()
	id := w.must(w.sign("reader/reader", TypeRequest, w.erase()))
	word := func(kind string) string {
		w.now = w.now.Add(time.Second)
		return w.sign(anna, kind, Decision{Request: id})
	}
	kept := word(TypeApprove)
	w.must(word(TypeApprove))
	w.must(word(TypeReject))
	w.wrong("twice", kept)
	w.must(w.approve(bert, id))
	w.stands(id, Pending)
	w.must(word(TypeApprove))
	w.stands(id, Approved)
}

// TestBootstrap: the policy root alone, until there are two approvers, and single control as long as init made their keys.
func TestBootstrap(t *testing.T) {
	w := newWorld(t)
	id := w.must(w.sign("root", TypeRequest, w.erase()))
	w.must(w.approve("root", id))
	w.stands(id, Approved)
	if !w.state.Request(id).Single {
		t.Error("the root's approval alone is not single control")
	}
	w.must(w.sign("root", TypeHold, HoldBody{*w.selection()}))
	w.now = w.now.Add(time.Second)
	open := w.must(w.sign("root", TypeRequest, w.erase()))

	p := w.policy(2)
	p.Approvers = w.named("approver", "anna")
	w.must(w.sign("root", TypePolicy, p))
	w.must(w.approve(anna, open))
	w.stands(open, Pending) // one approver is none
	w.dual3()
	w.wrong("role", w.approve("root", open))
	w.stands(id, Pending) // what the root approved alone and nobody has carried out
	w.must(w.approve(bert, open))
	w.stands(open, Approved)
	if w.state.Request(open).Single {
		t.Error("single control of two approvers")
	}
}

func (w *world) dual3() {
	p := w.policy(3)
	p.Approvers = w.named("approver", "anna", "bert")
	w.must(w.sign("root", TypePolicy, p))
}

func TestKeysOfInit(t *testing.T) {
	w := newWorld(t)
	state, err := NewState(w.state.Trust)
	if err != nil {
		t.Fatal(err)
	}
	w.state, w.n = state, 0
	p := w.policy(1)
	p.Approvers = w.named("approver", "anna", "bert")
	w.must(w.sign("root", TypePolicy, p))
	w.wrong("role", w.approve("root", commit.Hex32{}))
	change := w.must(w.sign(anna, TypeRequest, w.propose(func(p *Policy) { p.Approvers = append(p.Approvers, w.named("approver", "carl", "dora")...) })))
	w.must(w.approve(anna, change))
	w.must(w.approve(bert, change))
	for name, c := range map[string]struct {
		by     []string
		single bool
	}{"both of init": {[]string{anna, bert}, true}, "one of init": {[]string{anna, carl}, true}, "none": {[]string{"approver/dora", carl}, false}} {
		w.now = w.now.Add(time.Second)
		id := w.must(w.sign("reader/reader", TypeRequest, w.erase()))
		for _, by := range c.by {
			w.must(w.approve(by, id))
		}
		if got := w.state.Request(id).Single; got != c.single {
			t.Errorf("%s: single control %v", name, got)
		}
	}
}

// TestHolds: one places, two release, and only once.
func TestHolds(t *testing.T) {
	w := newWorld(t).dual()
	placed := w.sign("holder/legal", TypeHold, HoldBody{*w.selection()})
	hold := w.must(placed)
	w.wrong("replayed", placed)
	w.wrong("invalid", w.sign(anna, TypeHold, HoldBody{Selection{Kind: KindClass, Salted: commit.Hex32{1}, Sealed: commit.Hex32{1}}}))
	release := RequestBody{What: WhatRelease, Until: w.now.Add(time.Hour), Hold: &hold}
	unknown := commit.Hex32{5}
	w.wrong("unknown", w.sign("holder/legal", TypeRequest, RequestBody{What: WhatRelease, Until: release.Until, Hold: &unknown}))
	id := w.must(w.sign("holder/legal", TypeRequest, release))
	w.must(w.approve(anna, id))
	before := w.state.Size()
	w.must(w.approve(bert, id))
	h := w.state.Hold(hold)
	if !h.StandsAt(before) || h.StandsAt(w.state.Size()) || h.StandsAt(h.Index) {
		t.Errorf("the hold stood from %d to %d", h.Index, h.Released)
	}
	w.stands(id, Done)
	w.wrong("closed", w.signAt(anna, TypeRequest, w.now.Add(time.Second), release))
}

func TestErasedNeedsApproval(t *testing.T) {
	w := newWorld(t).dual()
	id := w.must(w.sign(anna, TypeRequest, w.erase()))
	body := Erased{Cause: CauseRequest, Requests: []Outcome{{Request: id, Erased: 3, Held: 1}}, From: 1, To: 2, Before: RootRef{N: 4}, Root: RootRef{N: 5}, Control: 1, Scopes: 3}
	ks := "keyservice/default"
	w.wrong("closed", w.sign(ks, TypeErased, body))
	w.now = w.now.Add(time.Second)
	w.must(w.approve(anna, id))
	w.must(w.approve(bert, id))
	w.wrong("closed", w.sign(ks, TypeErased, body)) // it was judged before
	body.Control = w.state.Size()
	for name, edit := range map[string]func(*Erased){
		"single":     func(e *Erased) { e.Single = true },
		"generation": func(e *Erased) { e.To = 3 },
		"control":    func(e *Erased) { e.Control = 1000 },
		"no cause":   func(e *Erased) { e.Cause = CauseTTL },
		"twice":      func(e *Erased) { e.Requests = append(e.Requests, e.Requests[0]) },
		"too many":   func(e *Erased) { e.Requests = make([]Outcome, MaxBatch+1) },
	} {
		bad := body
		bad.Requests = append([]Outcome(nil), body.Requests...)
		edit(&bad)
		if err := w.add(w.sign(ks, TypeErased, bad)); why(err) != "invalid" {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.must(w.sign(ks, TypeErased, body))
	w.stands(id, Approved) // one scope is held
	body.From, body.To, body.Before.N, body.Root.N, body.Requests = 2, 3, 7, 8, []Outcome{{Request: id, Erased: 1}}
	w.must(w.sign(ks, TypeErased, body))
	w.stands(id, Done)
	w.now = w.now.Add(time.Second)
	w.wrong("twice", w.sign(ks, TypeErased, body))
	again := body
	again.From, again.To, again.Before.N, again.Root.N, again.Control = 3, 4, 9, 10, w.state.Size()
	w.wrong("closed", w.sign(ks, TypeErased, again))
	ttl := Erased{Cause: CauseTTL, From: 3, To: 4, Root: RootRef{N: 9}, Single: true} // the root made the policy
	w.must(w.sign(ks, TypeErased, ttl))
	w.now = w.now.Add(time.Second)
	w.wrong("twice", w.sign(ks, TypeErased, ttl))
	if n := len(w.state.Erasures); n != 3 {
		t.Errorf("%d erasures", n)
	}
}

// TestErasedBatch: one request whose approval was taken back after the erasure was judged does not keep the batch out of the log,
// and one that was not approved by then does.
func TestErasedBatch(t *testing.T) {
	w := newWorld(t).dual()
	ask := func() commit.Hex32 {
		w.now = w.now.Add(time.Second)
		return w.must(w.sign(anna, TypeRequest, w.erase()))
	}
	a, b, late := ask(), ask(), ask()
	for _, id := range []commit.Hex32{a, b} {
		w.must(w.approve(anna, id))
		w.must(w.approve(bert, id))
	}
	e := Erased{Cause: CauseRequest, Requests: []Outcome{{Request: a, Erased: 3}, {Request: b, Erased: 1}}, From: 1, To: 2, Before: RootRef{N: 4},
		Root: RootRef{N: 5}, Control: w.state.Size(), Scopes: 4}
	w.must(w.sign(bert, TypeReject, Decision{b}))
	w.stands(b, Pending)
	w.must(w.approve(anna, late))
	w.must(w.approve(bert, late))
	ks := "keyservice/default"
	after := e
	after.Control = w.state.Size()
	w.wrong("closed", w.sign(ks, TypeErased, after))
	more := e
	more.Requests = append(more.Requests[:2:2], Outcome{Request: late, Erased: 1})
	w.wrong("closed", w.sign(ks, TypeErased, more))
	w.must(w.sign(ks, TypeErased, e))
	w.stands(a, Done)
	w.stands(b, Done)
	w.stands(late, Approved)
}

// TestErasedAfterNothing: that another key service called one request of a batch done, after the batch was judged, does not keep
// the entry about it out, which other requests wait for; nor does the entry open that request again.
func TestErasedAfterNothing(t *testing.T) {
	w := newWorld(t).dual()
	var ids []commit.Hex32
	for range 2 {
		w.now = w.now.Add(time.Second)
		id := w.must(w.sign(anna, TypeRequest, w.erase()))
		w.must(w.approve(anna, id))
		w.must(w.approve(bert, id))
		ids = append(ids, id)
	}
	ks := "keyservice/default"
	e := Erased{Cause: CauseRequest, Requests: []Outcome{{Request: ids[0], Erased: 3, Left: 2}, {Request: ids[1], Erased: 1, Left: 1}}, From: 1, To: 2, Before: RootRef{N: 4},
		Root: RootRef{N: 5}, Control: w.state.Size(), Scopes: 4}
	w.must(w.sign(ks, TypeOutcome, Outcome{Request: ids[0], Nothing: true}))
	w.stands(ids[0], Done)
	done := w.state.Size()
	later := e
	later.Control = done
	w.wrong("closed", w.sign(ks, TypeErased, later))
	w.must(w.sign(ks, TypeErased, e))
	w.stands(ids[0], Done)
	w.stands(ids[1], Approved)
	if r := w.state.Request(ids[0]); len(r.Outcomes) != 2 {
		t.Errorf("%+v", r.Outcomes)
	} else if _, ok := r.ApprovedAt(done); ok {
		t.Error("the request is approved again")
	}
	w.wrong("closed", w.sign(ks, TypeOutcome, Outcome{Request: ids[0], Nothing: true, Whole: 1}))
}

func TestIntake(t *testing.T) {
	w := newWorld(t).dual()
	week := keyscope.Week(epoch)
	key := make([]byte, 1216)
	w.wrong("invalid", w.sign("keyservice/default", TypeIntake, IntakeKeys{[]Intake{{Week: week, Key: key}}}))
	w.wrong("invalid", w.sign("keyservice/default", TypeIntake, IntakeKeys{[]Intake{{Week: week + 60, Key: key}}}))
	w.wrong("role", w.sign("root", TypeIntake, IntakeKeys{[]Intake{{Week: week + 1, Key: key}}}))
	governed := w.state.Policy().Governed()
	w.must(w.sign("keyservice/default", TypeIntake, IntakeKeys{[]Intake{{Week: week + 1, Key: key}, {Week: week + 2, Key: key}}}))
	p := w.state.Policy()
	if in, ok := p.IntakeOf(week + 9); !ok || in.Week != week+2 || p.Governed() != governed {
		t.Errorf("newest intake key: %d", in.Week)
	}
	if in, _ := p.IntakeOf(week); in.Week != week {
		t.Errorf("intake key of this week: %d", in.Week)
	}
	w.wrong("invalid", w.sign("keyservice/default", TypeIntake, IntakeKeys{[]Intake{}}))
	ahead := IntakeKeys{[]Intake{{Week: week + 500, Key: key}}}
	w.wrong("invalid", w.signAt("keyservice/default", TypeIntake, w.now.Add(499*7*24*time.Hour), ahead)) // dated ahead

	// What a key service announced that is none any more, another one may announce anew; what is not to come stays.
	other := append([]byte{1}, key[1:]...)
	anew := IntakeKeys{[]Intake{{Week: week + 1, Key: other}}}
	propose := w.propose(func(p *Policy) { p.KeyServices = w.named("keyservice", "second") })
	w.wrong("invalid", w.sign("keyservice/default", TypeIntake, anew))
	id := w.must(w.sign(anna, TypeRequest, propose))
	w.must(w.approve(anna, id))
	w.must(w.approve(bert, id))
	w.wrong("invalid", w.sign("keyservice/second", TypeIntake, IntakeKeys{[]Intake{{Week: week, Key: other}}}))
	w.must(w.sign("keyservice/second", TypeIntake, anew))
	if in, _ := w.state.Policy().IntakeOf(week + 1); in.Key[0] != 1 {
		t.Error("the key of the service that is none any more is still there")
	}
	w.wrong("invalid", w.sign("keyservice/second", TypeIntake, IntakeKeys{[]Intake{{Week: week + 1, Key: key}}}))
}

func TestErasable(t *testing.T) {
	p := newWorld(t).dual().state.Policy()
	start := epoch
	for name, c := range map[string]struct {
		class string
		age   time.Duration
		held  bool
		cause Cause
		want  Verdict
	}{
		"request":              {"default", 0, false, CauseRequest, Verdict{Erase: true}},
		"held":                 {"default", 0, true, CauseRequest, Verdict{Why: "held"}},
		"held and retained":    {"audit", 0, true, CauseRequest, Verdict{Why: "held"}},
		"retained":             {"audit", 0, false, CauseRequest, Verdict{Why: "retained", Until: start.Add(184 * 24 * time.Hour)}},
		"no longer retained":   {"audit", 184 * 24 * time.Hour, false, CauseRequest, Verdict{Erase: true}},
		"session of state":     {"state", 0, false, CauseSession, Verdict{Erase: true}},
		"session of default":   {"default", 0, false, CauseSession, Verdict{Why: "policy"}},
		"ttl of state":         {"state", 0, false, CauseTTL, Verdict{Erase: true}},
		"ttl of state, held":   {"state", 0, true, CauseTTL, Verdict{Why: "held"}},
		"ttl of what has none": {"default", 0, false, CauseTTL, Verdict{Why: "policy"}},
	} {
		if got := p.Erasable(c.class, start, start.Add(c.age), c.held, c.cause); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestWithdrawnLater: that the author said so too late once keeps nobody from withdrawing a request that waits again.
func TestWithdrawnLater(t *testing.T) {
	w := newWorld(t).dual()
	reject := func(by string, id commit.Hex32) string {
		w.now = w.now.Add(time.Second)
		return w.sign(by, TypeReject, Decision{Request: id})
	}
	id := w.must(w.sign("reader/reader", TypeRequest, w.erase()))
	w.must(w.approve(anna, id))
	w.must(w.approve(bert, id))
	w.must(reject("reader/reader", id))
	w.stands(id, Approved)
	w.wrong("twice", reject("reader/reader", id))
	w.must(reject(anna, id))
	w.stands(id, Pending)
	w.must(reject("reader/reader", id))
	w.stands(id, Rejected)
}
