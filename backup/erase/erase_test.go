package erase_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/admin"
	. "github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
)

// place is an archive with the people around it.
type place struct {
	t     *testing.T
	store *storetest.Memory
	dir   string
	trust []byte
	files map[string][]byte
}

func newPlace(t *testing.T, people ...string) *place {
	t.Helper()
	p := &place{t: t, store: storetest.NewMemory(), dir: t.TempDir(), files: map[string][]byte{}}
	setup, err := admin.Init(t.Context(), admin.InitConfig{Store: p.store, Dir: p.dir, Name: "test", To: "file:///nowhere", Lock: worm.LockNone})
	if err != nil {
		t.Fatal(err)
	}
	p.trust = p.read(setup.Trust)
	for name, path := range map[string]string{"root": "admin/root.stele", "reader": "reader/reader.stele", "recovery": "recovery/recovery.stele"} {
		p.files[name] = p.read(filepath.Join(p.dir, path))
	}
	for _, who := range people {
		role, name, _ := strings.Cut(who, "/")
		if _, err := p.desk("root").AddKey(t.Context(), role, p.key(role, name)); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p *place) read(path string) []byte {
	p.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	return data
}

// key makes a role file and returns its public half.
func (p *place) key(role, name string) []byte {
	p.t.Helper()
	private, public, err := NewKey(p.trust, role, name, p.files["reader"])
	if err != nil {
		p.t.Fatal(err)
	}
	p.files[name] = private
	return public
}

func (p *place) desk(who string) *Desk {
	p.t.Helper()
	d, err := Open(p.t.Context(), p.store, p.trust, p.files[who])
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

// sequence does what a compactor does.
func (p *place) sequence() {
	p.t.Helper()
	if err := p.desk("root").Sequence(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) request(who string) *Filed {
	p.t.Helper()
	f, err := p.desk(who).Request(p.t.Context(), Ask{Target: Target{Subject: "user-17", Reason: "wrote on Monday"}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.sequence()
	return f
}

func (p *place) approve(who, id string) {
	p.t.Helper()
	if _, err := p.desk(who).Approve(p.t.Context(), id); err != nil {
		p.t.Fatal(err)
	}
	p.sequence()
}

func (p *place) stands(id, want string) *Request {
	p.t.Helper()
	r, err := p.desk("reader").Find(p.t.Context(), id)
	if err != nil {
		p.t.Fatal(err)
	}
	if r.Standing != want {
		p.t.Fatalf("request %s is %s, not %s", id[:8], r.Standing, want)
	}
	return r
}

func (p *place) refused(err error, why string) {
	p.t.Helper()
	var r *RefusedError
	if !errors.As(err, &r) || r.Why != why {
		p.t.Fatalf("%v, want a refusal for %q", err, why)
	}
}

// drop puts an entry into the inbox, past everything that checks it, and returns why it is refused.
func (p *place) drop(entry []byte) string {
	p.t.Helper()
	sum := commit.Hash(entry)
	if _, err := p.store.Create(p.t.Context(), "control/inbox/"+sum.String(), entry, worm.Lock{}); err != nil {
		p.t.Fatal(err)
	}
	p.sequence()
	list, err := p.desk("root").Refusals(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, r := range list {
		if r.Entry == sum.String() {
			return r.Why
		}
	}
	return ""
}

// sign is an entry by somebody whose role file is at hand.
func (p *place) sign(who, kind string, at time.Time, body any) []byte {
	p.t.Helper()
	var person identity.Person
	if err := json.Unmarshal(p.files[who], &person); err != nil {
		p.t.Fatal(err)
	}
	signer, err := identity.Signer(identity.KeyName("test", strings.TrimSuffix(person.Stele, "/v1"), person.By), person.Key)
	if err != nil {
		p.t.Fatal(err)
	}
	e, err := control.Sign(person.Archive, kind, at, body, signer)
	if err != nil {
		p.t.Fatal(err)
	}
	return []byte(e)
}

func hash(t *testing.T, id string) (h commit.Hex32) {
	t.Helper()
	if err := h.UnmarshalText([]byte(id)); err != nil {
		t.Fatal(err)
	}
	return h
}

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

// TestPolicyTakesTwo: from the second approver on, the root alone adds nobody; a reader needs a reader and two approvers.
func TestPolicyTakesTwo(t *testing.T) {
	p := newPlace(t, "approver/anna", "approver/bert")
	f, err := p.desk("root").AddKey(t.Context(), "approver", p.key("approver", "carl"))
	if err != nil || f.Done {
		t.Fatalf("%+v %v", f, err)
	}
	_, err = p.desk("root").Approve(t.Context(), f.ID)
	p.refused(err, "role")
	p.approve("anna", f.ID)
	p.approve("bert", f.ID)
	policy, err := p.desk("reader").Policy(t.Context())
	if err != nil || !slices.Contains(policy.Approvers, "carl") || policy.Single || !policy.Dual || len(policy.Init) != 0 {
		t.Fatalf("%+v %v", policy, err)
	}

	public := p.key("reader", "second")
	if _, err := p.desk("root").AddKey(t.Context(), "reader", public); err == nil {
		t.Error("the root wraps read keys that it does not have")
	}
	if f, err = p.desk("reader").AddKey(t.Context(), "reader", public); err != nil || f.Done {
		t.Fatalf("%+v %v", f, err)
	}
	p.sequence()
	p.approve("carl", f.ID)
	p.approve("bert", f.ID)
	// The new reader can open the read keys: it could wrap them to another.
	if _, err := p.desk("second").AddKey(t.Context(), "reader", p.key("reader", "third")); err != nil {
		t.Error(err)
	}

	// A proposal by hand.
	stale := bytes.Replace(policy.JSON, []byte(`"keep": 30`), []byte(`"keep": 31`), 1)
	if _, err := p.desk("anna").Propose(t.Context(), stale); err == nil {
		t.Error("a draft of a policy that is no longer in force is proposed: it would undo what came between")
	}
	policy, _ = p.desk("anna").Policy(t.Context())
	if _, err := p.desk("anna").Propose(t.Context(), policy.JSON); err == nil {
		t.Error("the policy in force is proposed")
	}
	if _, err := p.desk("anna").Propose(t.Context(), bytes.Replace(policy.JSON, []byte(`"classes"`), []byte(`"clases"`), 1)); err == nil {
		t.Error("a proposal with a member that nothing knows")
	}
	for member, last := range map[string]any{
		"partitions": 0, "period": "week", "lock": map[string]any{"mode": "advisory", "keep": 30}, "compactors": []any{}, "keyservices": []any{}, "readers": []any{},
	} {
		var dead struct {
			Stele  string         `json:"stele"`
			Base   string         `json:"base"`
			Policy map[string]any `json:"policy"`
		}
		if err := json.Unmarshal(policy.JSON, &dead); err != nil {
			t.Fatal(err)
		}
		dead.Policy[member] = last
		draft, err := json.Marshal(dead)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.desk("anna").Propose(t.Context(), draft); err == nil || !strings.Contains(err.Error(), "proposed policy: "+member) {
			t.Errorf("%s %v is proposed, with which the archive cannot go on: %v", member, last, err)
		}
	}
	f, err = p.desk("anna").Propose(t.Context(), bytes.Replace(policy.JSON, []byte(`"keep": 30`), []byte(`"keep": 31`), 1))
	if err != nil {
		t.Fatal(err)
	}
	p.sequence()
	p.approve("anna", f.ID)
	p.approve("carl", f.ID)
	p.stands(f.ID, "done")
}

// TestLastingIsApproved: approvers do not approve what the archive cannot go on with, whatever program proposed it.
func TestLastingIsApproved(t *testing.T) {
	p := newPlace(t, "approver/anna", "approver/bert")
	d := p.desk("anna")
	f, err := d.ProposeAnything(t.Context(), func(p *control.Policy) { p.Partitions = 0 })
	if err != nil {
		t.Fatal(err)
	}
	p.sequence()
	if _, err := p.desk("bert").Approve(t.Context(), f.ID); err == nil || !strings.Contains(err.Error(), "partitions") {
		t.Errorf("a policy without partitions is approved: %v", err)
	}
	if _, err := p.desk("bert").Reject(t.Context(), f.ID); err != nil {
		t.Error(err)
	}
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

// TestBootstrap: the policy root alone, and it says so.
func TestBootstrap(t *testing.T) {
	p := newPlace(t)
	f, err := p.desk("root").Request(t.Context(), Ask{Target: Target{Subject: "user-17"}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.desk("root").Approve(t.Context(), f.ID)
	if err != nil || r.Standing != "approved" || !r.Single {
		t.Fatalf("%+v %v", r, err)
	}
	public := p.key("reader", "second")
	if f, err = p.desk("reader").AddKey(t.Context(), "reader", public); err != nil {
		t.Fatal(err)
	}
	p.sequence()
	if r, err = p.desk("root").Approve(t.Context(), f.ID); err != nil || r.Standing != "done" {
		t.Fatalf("%+v %v", r, err)
	}
	stolen := p.key("approver", "anna")
	if _, err := p.desk("root").AddKey(t.Context(), "approver", bytes.Replace(stolen, []byte(`"anna"`), []byte(`"dora"`), 1)); err == nil {
		t.Error("a public half that its holder did not sign is enrolled")
	}
	if _, err := p.desk("root").AddKey(t.Context(), "holder", stolen); err == nil {
		t.Error("the key of an approver is enrolled as a holder's")
	}
	if _, err := newPlace(t).desk("root").AddKey(t.Context(), "approver", stolen); err == nil {
		t.Error("a key for another archive is enrolled")
	}
	if _, err := p.desk("root").AddKey(t.Context(), "approver", stolen); err != nil {
		t.Fatal(err)
	}
	if _, err := p.desk("root").AddKey(t.Context(), "approver", stolen); err == nil {
		t.Error("an approver is enrolled twice")
	}
}
