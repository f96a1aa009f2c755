package erase_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	. "github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/internal/control"
)

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

// TestPartitionsComeBack: a policy without partitions, which an older program let through, can be mended; others keep theirs.
func TestPartitionsComeBack(t *testing.T) {
	for _, c := range []struct {
		now, next uint32
		good      bool
	}{{0, 3, true}, {0, 0, true}, {3, 3, true}, {3, 2, false}, {3, 0, false}} {
		if err := Lasting(&control.Policy{Partitions: c.now}, &control.Policy{Partitions: c.next}); (err == nil) != c.good {
			t.Errorf("%d to %d partitions: %v", c.now, c.next, err)
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
