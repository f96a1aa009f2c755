package evidence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyroot"
)

// A certificate shows who asked and approved, what went and nothing else, who destroyed what, and both times.
func TestCertificate(t *testing.T) {
	w := newWorld(t)
	w.erase()
	file := w.file(w.parts())
	v, r := judge(t, w.trust(), file)
	if v.Err != "" {
		_, err := Check(w.trust(), file)
		t.Fatal(err)
	}
	t.Logf("%d bytes", len(file))
	for _, what := range []string{"erased", "request", "approved", "records", "list", "difference", "custodian", "dead", "archive", "transport", "late"} {
		if !slices.ContainsFunc(r.Holds, func(s Statement) bool { return s.What == what }) {
			t.Errorf("nothing says %q in %+v", what, r.Holds)
		}
	}
	if !r.Whole() || len(r.Missing) != 1 {
		t.Errorf("missing: %+v", r.Missing)
	}
	n := 0
	for _, s := range r.Holds {
		if s.What == "approved" {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d approvals", n)
	}
}

// certificateMutants are changes of a certificate: of every seventh byte, and of its parts.
func certificateMutants(t testing.TB, see func(*mutant)) {
	w := newWorld(t)
	w.erase()
	parts := w.parts()
	file := w.file(parts)
	_, was := judge(t, w.trust(), file)
	inside := body(t, file)
	for at := 0; at < len(inside); at += 7 {
		changed := bytes.Clone(inside)
		changed[at] ^= byte(1 + at%255)
		see(&mutant{fmt.Sprintf("byte %d", at), w.trust(), literally(w.archive, changed), was})
	}
	for i := range parts {
		for name, p := range map[string][]Part{
			"without": slices.Delete(slices.Clone(parts), i, i+1),
			"twice":   slices.Insert(slices.Clone(parts), i, parts[i]),
			"before":  parts[:i],
		} {
			see(&mutant{fmt.Sprintf("%s part %d", name, i), w.trust(), w.file(p), was})
		}
	}
}

// Every byte and every part of a certificate counts.
func TestCertificateMutants(t *testing.T) {
	certificateMutants(t, func(m *mutant) { m.check(t) })
}

// With one approval there is a request, and nothing that says that two persons decided it.
func TestOneApproval(t *testing.T) {
	w := newWorld(t)
	w.erase()
	_, was := judge(t, w.trust(), w.file(w.parts()))
	parts := w.keepNames(w.parts(), func(line string) bool { return !strings.Contains(line, "/anna") })
	parts = slices.DeleteFunc(parts, func(p Part) bool {
		return bytes.Equal(p.Data, []byte(w.entries[2])) || p.Kind == KindControl && strings.Contains(string(p.Data), "index 2\n")
	})
	m := mutant{"one approval", w.trust(), w.file(parts), was}
	if v := m.check(t); v.Err != "" || !slices.ContainsFunc(v.Missing, func(s string) bool { return strings.HasSuffix(s, " approved") }) {
		t.Errorf("%+v", v)
	}
}

// What came late can be left out of a certificate: it then says one thing less, and every certificate says that this can be.
// What is left of half of it is refused, or missing.
func TestLateLeftOut(t *testing.T) {
	w := newWorld(t)
	w.erase()
	full, err := Check(w.trust(), w.file(w.parts()))
	w.must(err)
	proof := func(p Part) bool { return p.Kind == KindControl && strings.Contains(string(p.Data), "index 6\n") }
	entry := func(p Part) bool { return bytes.Equal(p.Data, []byte(w.entries[6])) }
	late := func(s Statement) bool { return s.What == "late" }
	left, err := Check(w.trust(), w.file(slices.DeleteFunc(w.parts(), func(p Part) bool { return entry(p) || proof(p) })))
	w.must(err)
	kept := slices.DeleteFunc(slices.Clone(full.Holds), late)
	if len(kept) != len(full.Holds)-1 || !slices.Equal(left.Holds, kept) || !slices.Equal(left.Missing, full.Missing) {
		t.Errorf("it shows %+v", left.Holds)
	}
	for _, r := range []*Report{full, left} {
		if !slices.ContainsFunc(r.Limits, func(s string) bool { return strings.Contains(s, "nothing came later than the file says") }) {
			t.Errorf("it does not say what it assumes: %q", r.Limits)
		}
	}
	if r, err := Check(w.trust(), w.file(slices.DeleteFunc(w.parts(), proof))); err == nil && (r.Whole() || slices.ContainsFunc(r.Holds, late)) {
		t.Errorf("it is not in the control log, and counts: %+v", r)
	}
	if _, err := Check(w.trust(), w.file(slices.DeleteFunc(w.parts(), entry))); err == nil {
		t.Error("a proof of nothing holds")
	}
}

// What nobody asked for is not approved, whatever the key service calls it.
func TestErasedByTime(t *testing.T) {
	w := newWorld(t)
	w.erase()
	w.told(func(x *keyroot.Erased) { x.Cause, x.Requests = "ttl", []keyroot.Outcome{} })
	w.rewrite(func(e *control.Erased) { e.Cause, e.Requests = control.CauseTTL, nil })
	entry := -1
	parts := slices.DeleteFunc(w.parts(), func(p Part) bool {
		if p.Kind == KindEntry {
			entry++
		}
		return slices.Contains([]int{1, 2, 3, 6}, entry)
	})
	r, err := Check(w.trust(), w.file(w.keepNames(parts, func(line string) bool { return strings.HasPrefix(line, "keyservice ") })))
	if err != nil || r.Whole() || !slices.ContainsFunc(r.Missing, func(s Statement) bool { return s.What == "approved" }) {
		t.Errorf("%+v, %v", r, err)
	}
}

// anotherDestroys has another key service than the one that erased say that custodians did it.
func anotherDestroys(w *world) {
	x := newWorld(w.t)
	x.key("acme/keyservice/other", "other")
	x.policy.KeyServices = append(x.policy.KeyServices, control.Named{Name: "other", Key: x.vkeys["acme/keyservice/other"]})
	x.erase()
	var d control.Destroyed
	entry, err := control.ParseEntry(x.entries[5])
	x.must(err)
	x.must(entry.Into(&d))
	x.replace(control.TypeDestroyed, 5, "acme/keyservice/other", d)
	*w = *x
}

// What it said is told as its word.
func TestDestroyedByAnother(t *testing.T) {
	w := newWorld(t)
	anotherDestroys(w)
	r, err := Check(w.trust(), w.file(w.parts()))
	w.must(err)
	whose := map[string]string{}
	for _, s := range r.Holds {
		whose[s.What], _, _ = strings.Cut(s.By, "+") // the newest
	}
	for what, want := range map[string]string{"erased": "keys", "list": "keys", "custodian": "other", "dead": "other", "archive": "other"} {
		if whose[what] != "acme/keyservice/"+want {
			t.Errorf("%s is the word of %q", what, whose[what])
		}
	}
}

// lie is what somebody with keys could write, and why it is refused; without that it only shows less.
type lie struct {
	change func(w *world)
	why    string
}

func lies() map[string]lie {
	return map[string]lie{
		"approved twice":       {func(w *world) { w.approve(3, "acme/approver/anna") }, "twice"},
		"approved by a reader": {func(w *world) { w.approve(2, "acme/reader/rita") }, ""},
		"other counts":         {func(w *world) { w.rewrite(func(e *control.Erased) { e.Scopes++ }) }, "something else"},
		"a time that no custodian gives": {func(w *world) {
			w.rewrite(func(e *control.Erased) { at := w.at; e.Archive, e.Watermark = &at, 2 })
			w.entries = w.entries[:5]
		}, "states a time"},
		"a better class":   {func(w *world) { w.rewrite(func(e *control.Erased) { e.Custody[0].Class = "B" }) }, "is not what the entry says"},
		"another list":     {func(w *world) { w.list = append(w.list[:len(w.list)-1:len(w.list)-1], 1) }, "list"},
		"other proofs":     {func(w *world) { w.proofs = w.proofs[:0] }, "proofs"},
		"late by a reader": {func(w *world) { w.late(6, "acme/reader/rita", func(*control.Supplement) {}) }, ""},
		"none was late":    {func(w *world) { w.late(6, "acme/keyservice/keys", func(u *control.Supplement) { u.Buried = 0 }) }, "counts nothing"},
		"late for another": {func(w *world) {
			w.late(6, "acme/keyservice/keys", func(u *control.Supplement) { u.Request = &commit.Hex32{1} })
		}, "says nothing"},
		"late before": {func(w *world) {
			w.late(6, "acme/keyservice/keys", func(*control.Supplement) {})
			w.entries[0], w.entries[6] = w.entries[6], w.entries[0]
		}, ""},
		"one key of two names": {func(w *world) {
			x := newWorld(w.t)
			x.key("acme/approver/bert", "acme/approver/anna")
			x.policy.Approvers[1].Key = x.vkeys["acme/approver/bert"]
			x.erase()
			*w = *x
		}, "twice"},
		"a request twice": {func(w *world) {
			w.told(func(x *keyroot.Erased) {
				x.Requests = append(x.Requests, keyroot.Outcome{Request: commit.Hex32{0xff}, Erased: 1})
			})
			w.rewrite(func(e *control.Erased) { e.Requests = append(e.Requests, e.Requests[0]) })
		}, "1 of them different"},
		"for no request": {func(w *world) {
			w.told(func(x *keyroot.Erased) { x.Requests = []keyroot.Outcome{} })
			w.rewrite(func(e *control.Erased) { e.Requests = nil })
		}, "with 0 requests"},
		"a member in two spellings": {func(w *world) {
			id := commit.Hash([]byte(w.entries[1]))
			w.replace(control.TypeApprove, 3, "acme/approver/bert", json.RawMessage(fmt.Sprintf(`{"request":"%064x","Request":"%s"}`, 5, id)))
		}, "not written as it must be"},
		"records exchanged": {func(w *world) { slices.Reverse(w.records) }, "not the one"},
		"approval of a policy": {func(w *world) {
			base, p := w.policy.Governed(), w.policy
			p.Version = 0
			w.asked(control.RequestBody{What: control.WhatPolicy, Base: &base, Policy: &p})
		}, "none that can have led to this"},
		"approval of a release": {func(w *world) { w.asked(control.RequestBody{What: control.WhatRelease, Hold: &commit.Hex32{3}}) }, "none that can have led to this"},
		"approval of a recovery": {func(w *world) {
			w.asked(control.RequestBody{What: control.WhatRecovery, Recovery: &control.Recovery{}})
		}, "none that can have led to this"},
		"approval of a release that selects": {func(w *world) {
			w.asked(control.RequestBody{What: control.WhatRelease, Hold: &commit.Hex32{3}, Select: &control.Selection{Kind: control.KindSubject}})
		}, "none that can have led to this"},
		"approvals of another request": {func(w *world) {
			w.replace(control.TypeApprove, 2, "acme/approver/anna", control.Decision{Request: commit.Hex32{5}})
			w.replace(control.TypeApprove, 3, "acme/approver/bert", control.Decision{Request: commit.Hex32{5}})
		}, "says nothing"},
		"rejected": {func(w *world) {
			w.replace(control.TypeReject, 3, "acme/approver/bert", control.Decision{Request: commit.Hash([]byte(w.entries[1]))})
		}, "says nothing"},
	}
}

// What a key service, or an operator with all keys of one role, could claim is held against what others signed.
func TestCertificateLies(t *testing.T) {
	for name, lie := range lies() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.erase()
			_, was := judge(t, w.trust(), w.file(w.parts()))
			lie.change(w)
			r, err := Check(w.trust(), w.file(w.parts()))
			if lie.why != "" && (err == nil || !strings.Contains(err.Error(), lie.why)) {
				t.Errorf("%v, want %q", err, lie.why)
			}
			if err == nil && len(r.Missing) <= len(was.Missing) {
				t.Errorf("it shows as much: %+v", r.Holds)
			}
		})
	}
}
