package erase_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
)

func TestEraseTakesTwo(t *testing.T) {
	p := newPlace(t, "holder/legal", "approver/anna", "approver/bert")
	f := p.request("reader")
	p.approve("anna", f.ID[:8])
	p.stands(f.ID, "pending")
	_, err := p.desk("anna").Approve(t.Context(), f.ID)
	p.refused(err, "twice")
	for _, who := range []string{"legal", "reader", "root"} {
		_, err = p.desk(who).Approve(t.Context(), f.ID)
		p.refused(err, "role")
	}
	p.approve("bert", f.ID)
	if r := p.stands(f.ID, "approved"); r.Single || len(r.Approved) != 2 || r.By != "test/reader/reader" || r.Kind != "subject" {
		t.Errorf("approved: %+v", r)
	}
}

// TestNothingPersonal: neither the log nor the inbox nor the sealed selection has what is asked for, nor its length.
func TestNothingPersonal(t *testing.T) {
	p := newPlace(t, "approver/anna", "approver/bert")
	p.request("reader")
	if _, err := p.desk("anna").Hold(t.Context(), Target{Session: "session-of-user-17", Reason: "court"}); err != nil {
		t.Fatal(err)
	}
	p.sequence()
	sizes := map[int]bool{}
	sealed := 0
	for v, err := range p.store.Versions(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		data, err := p.store.Read(t.Context(), v.Key, v.ID, worm.Range{})
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"user-17", "Monday", "court"} {
			if bytes.Contains(data, []byte(word)) {
				t.Errorf("%s holds %q", v.Key, word)
			}
		}
		if strings.HasPrefix(v.Key, SealedPrefix) {
			sealed++
			sizes[len(data)] = true
		}
	}
	if sealed != 2 || len(sizes) != 1 {
		t.Errorf("%d sealed selections of %d sizes", sealed, len(sizes))
	}
}

// TestRequestFile: approvers see what they approve, and a file that lies is found out.
func TestRequestFile(t *testing.T) {
	p := newPlace(t, "approver/anna", "approver/bert")
	f := p.request("reader")
	o, err := p.desk("anna").OpenFile(f.File)
	if err != nil || o.ID != f.ID || o.Subject != "user-17" || o.Reason != "wrote on Monday" || !o.Checked || o.By != "test/reader/reader" {
		t.Fatalf("%+v %v", o, err)
	}
	if _, err := p.desk("anna").OpenFile(bytes.Replace(f.File, []byte("user-17"), []byte("user-18"), 1)); err == nil {
		t.Error("a file about somebody else passes for that of the request")
	}
	if _, err := newPlace(t).desk("reader").OpenFile(f.File); err == nil {
		t.Error("a file of another archive passes")
	}

	// The requester says one subject and gives the tag of another.
	var liar identity.Reader
	if err := json.Unmarshal(p.files["reader"], &liar); err != nil {
		t.Fatal(err)
	}
	liar.Pepper = bytes.Repeat([]byte{9}, 32)
	if p.files["liar"], err = json.Marshal(liar); err != nil {
		t.Fatal(err)
	}
	lie := p.request("liar")
	if _, err := p.desk("anna").OpenFile(lie.File); err == nil || !strings.Contains(err.Error(), "somebody else's") {
		t.Errorf("a tag of somebody else: %v", err)
	}
}

// TestReplays: entries that were signed for something else, put into the inbox by somebody who holds no key.
func TestReplays(t *testing.T) {
	p, other := newPlace(t, "approver/anna", "approver/bert"), newPlace(t, "approver/anna", "approver/bert")
	f, now := p.request("reader"), time.Now()
	id := hash(t, f.ID)
	p.approve("anna", f.ID)

	if why := p.drop(other.sign("bert", control.TypeApprove, now, control.Decision{Request: id})); why != "archive" && why != "altered" {
		t.Errorf("an approval of another archive is refused for %q", why)
	}
	again := p.sign("anna", control.TypeApprove, now, control.Decision{Request: id})
	if why := p.drop(again); why != "twice" {
		t.Errorf("the same person twice is refused for %q", why)
	}
	good := p.sign("bert", control.TypeApprove, now, control.Decision{Request: id})
	if why := p.drop(append(slices.Clone(good), "— test/approver/bert AAAAAAAA\n"...)); why != "altered" {
		t.Errorf("an approval with a stranger's line is refused for %q", why)
	}
	bad := slices.Clone(good)
	bad[bytes.Index(bad, []byte(f.ID))] ^= 1
	if why := p.drop(bad); why != "altered" {
		t.Errorf("an altered approval is refused for %q", why)
	}
	if why := p.drop(p.sign("anna", control.TypeErased, now, control.Erased{})); why != "" {
		t.Errorf("what needs no decision is noted: %q", why)
	}
	// Anna signs Bert's approval: the name is his, the key is not.
	var anna identity.Person
	if err := json.Unmarshal(p.files["anna"], &anna); err != nil {
		t.Fatal(err)
	}
	anna.By = "bert"
	forged, err := json.Marshal(anna)
	if err != nil {
		t.Fatal(err)
	}
	p.files["forged"] = forged
	if why := p.drop(p.sign("forged", control.TypeApprove, now, control.Decision{Request: id})); why != "altered" {
		t.Errorf("an approval under another's name is refused for %q", why)
	}
	p.stands(f.ID, "pending")
	if why := p.drop(good); why != "" {
		t.Errorf("a good approval is refused for %q", why)
	}
	p.stands(f.ID, "approved")
}

// TestLate: an approval that was held back until the request was over.
func TestLate(t *testing.T) {
	p := newPlace(t, "approver/anna", "approver/bert")
	d := p.desk("reader")
	f, err := d.Request(t.Context(), Ask{Target: Target{Class: "state"}, Open: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	p.sequence()
	later := p.desk("anna")
	later.At(time.Now().Add(2 * time.Hour))
	_, err = later.Approve(t.Context(), f.ID)
	p.refused(err, "late")
	d.At(time.Now().Add(2 * time.Hour))
	if r, err := d.Find(t.Context(), f.ID); err != nil || r.Standing != "expired" {
		t.Errorf("%+v %v", r, err)
	}
}

// TestApprovalBeforeRequest: both may lie in the inbox, in any order.
func TestApprovalBeforeRequest(t *testing.T) {
	p := newPlace(t, "approver/anna", "approver/bert")
	f, err := p.desk("reader").Request(t.Context(), Ask{Target: Target{Tenant: "acme"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"anna", "bert"} {
		if r, err := p.desk(who).Approve(t.Context(), f.ID); err != nil || r.Standing != "unsequenced" {
			t.Fatalf("%+v %v", r, err)
		}
	}
	var unknown *UnknownError
	if _, err := p.desk("anna").Approve(t.Context(), f.ID[:10]); !errors.As(err, &unknown) {
		t.Errorf("part of an id that is not in the log: %v", err)
	}
	p.sequence()
	p.stands(f.ID, "approved")
}

func TestHoldAndRelease(t *testing.T) {
	p := newPlace(t, "holder/legal", "approver/anna", "approver/bert")
	if _, err := p.desk("reader").Hold(t.Context(), Target{Subject: "user-17"}); err == nil {
		t.Error("a reader places a hold")
	}
	if _, err := p.desk("legal").Hold(t.Context(), Target{Class: "default"}); err == nil {
		t.Error("a hold on a class")
	}
	f, err := p.desk("legal").Hold(t.Context(), Target{Subject: "user-17"})
	if err != nil {
		t.Fatal(err)
	}
	p.sequence()
	release, err := p.desk("legal").Release(t.Context(), f.ID[:12])
	if err != nil {
		t.Fatal(err)
	}
	p.sequence()
	for i, who := range []string{"anna", "bert"} {
		holds, err := p.desk("reader").Holds(t.Context())
		if err != nil || len(holds) != 1 || holds[0].Released {
			t.Fatalf("after %d approvals: %+v %v", i, holds, err)
		}
		p.approve(who, release.ID)
	}
	if holds, _ := p.desk("reader").Holds(t.Context()); !holds[0].Released {
		t.Errorf("two approved: %+v", holds)
	}
	p.stands(release.ID, "done")
}

// TestSaidOnce: a decision waits in the inbox once; what the person did not sign, and what they took back, keeps none of theirs away.
func TestSaidOnce(t *testing.T) {
	p := newPlace(t, "approver/anna", "approver/bert")
	f, err := p.desk("reader").Request(t.Context(), Ask{Target: Target{Subject: "user-17"}})
	if err != nil {
		t.Fatal(err)
	}
	p.sequence()
	anna := p.desk("anna")
	forged, err := anna.ForgedApproval(f.ID, p.files["bert"])
	if err != nil {
		t.Fatal(err)
	}
	if err := anna.Drop(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		say  func(*Desk, context.Context, string) (*Request, error)
		want int // entries in the inbox that count; the forged one is none of them
	}{{(*Desk).Approve, 1}, {(*Desk).Approve, 1}, {(*Desk).Reject, 2}, {(*Desk).Reject, 2}, {(*Desk).Approve, 3}} {
		if q, err := step.say(p.desk("anna"), t.Context(), f.ID); err != nil || !q.Waits {
			t.Fatalf("step %d: %+v, %v", i, q, err)
		}
		if n, err := anna.Waiting(t.Context()); n != step.want || err != nil {
			t.Fatalf("step %d: %d entries wait, want %d: %v", i, n, step.want, err)
		}
	}
}
