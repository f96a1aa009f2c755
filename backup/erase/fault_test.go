package erase_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"

	. "github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/ledger"
)

// act is one thing that somebody does at a desk, once what it names is there.
type act struct {
	who string
	do  func(ctx context.Context, d *Desk, has *furnished) error
	// again accepts what a second attempt says where the first one took effect, although it failed.
	again func(err error) bool
}

// furnished is an archive with a request, a hold, and a second compactor.
type furnished struct {
	*place
	request, hold string
	kept          [][]byte // role files of services
}

func furnish(t *testing.T, people ...string) *furnished {
	t.Helper()
	has := &furnished{place: newPlace(t)}
	root := has.desk("root")
	_, err := root.AddService(t.Context(), control.RoleCompactor, "spare", func([]byte) error { return nil })
	for _, who := range people {
		role, name, _ := strings.Cut(who, "/")
		if err == nil {
			_, err = root.AddKey(t.Context(), role, has.key(role, name))
		}
	}
	has.files["new.pub"] = has.key("holder", "new")
	has.request = has.place.request("reader").ID
	var held *Filed
	if err == nil {
		held, err = has.desk("legal").Hold(t.Context(), Target{Subject: "user-18"})
	}
	if err != nil {
		t.Fatal(err)
	}
	has.hold = held.ID
	has.sequence()
	return has
}

// acts are all that a desk writes.
func acts() map[string]act {
	refused := func(why string) func(error) bool {
		return func(err error) bool {
			var r *RefusedError
			return errors.As(err, &r) && r.Why == why
		}
	}
	asked := func(err error) bool { return strings.Contains(err.Error(), "asked for already") }
	changed := func(words string) func(error) bool {
		return func(err error) bool { return strings.Contains(err.Error(), words) }
	}
	return map[string]act{
		"request": {"reader", func(ctx context.Context, d *Desk, has *furnished) error {
			_, err := d.Request(ctx, Ask{Target: Target{Session: "s1"}})
			return err
		}, nil},
		"approve": {"anna", func(ctx context.Context, d *Desk, has *furnished) error {
			_, err := d.Approve(ctx, has.request)
			return err
		}, refused("twice")},
		"reject": {"anna", func(ctx context.Context, d *Desk, has *furnished) error {
			_, err := d.Reject(ctx, has.request)
			return err
		}, func(err error) bool { return refused("twice")(err) || refused("closed")(err) }},
		"hold": {"legal", func(ctx context.Context, d *Desk, has *furnished) error {
			_, err := d.Hold(ctx, Target{Tenant: "acme"})
			return err
		}, nil},
		"release": {"anna", func(ctx context.Context, d *Desk, has *furnished) error {
			_, err := d.Release(ctx, has.hold)
			return err
		}, asked},
		"add key": {"root", func(ctx context.Context, d *Desk, has *furnished) error {
			_, err := d.AddKey(ctx, "holder", has.files["new.pub"])
			return err
		}, func(err error) bool { return asked(err) || changed("twice")(err) }},
		"add service": {"root", func(ctx context.Context, d *Desk, has *furnished) error {
			_, err := d.AddService(ctx, control.RoleKeyService, "second", func(file []byte) error { has.kept = append(has.kept, file); return nil })
			return err
		}, func(err error) bool { return asked(err) || changed("is there twice")(err) }},
		"revoke": {"root", func(ctx context.Context, d *Desk, has *furnished) error {
			_, err := d.Revoke(ctx, control.RoleCompactor, "spare")
			return err
		}, func(err error) bool { return asked(err) || changed("spare")(err) }},
		"policy": {"root", func(ctx context.Context, d *Desk, has *furnished) error {
			p, err := d.Policy(ctx)
			if err != nil {
				return err
			}
			var draft map[string]any
			if err := json.Unmarshal(p.JSON, &draft); err != nil {
				return err
			}
			draft["policy"].(map[string]any)["erasure"].(map[string]any)["ttl"] = false
			changed, err := json.Marshal(draft)
			if err == nil {
				_, err = d.Propose(ctx, changed)
			}
			return err
		}, asked},
		"read key": {"reader", func(ctx context.Context, d *Desk, has *furnished) error {
			_, err := d.NewReadKey(ctx, 2100)
			return err
		}, asked},
	}
}

// TestEveryWriteFails has each write of each act fail, done and not done, from some call on. Where it fails its author tries
// again, and what is there is what one attempt that succeeds leaves, but for requests that were made twice.
func TestEveryWriteFails(t *testing.T) {
	for _, people := range [][]string{{"holder/legal"}, {"holder/legal", "approver/anna", "approver/bert"}} {
		synctest.Test(t, func(t *testing.T) {
			built := furnish(t, people...)
			for name, act := range acts() {
				if short := map[string]int{"request": 3, "approve": 3, "release": 3, "hold": 1, "add service": 1}; os.Getenv("STELE_LONG") == "" && short[name] != len(people) {
					continue
				}
				if len(people) == 1 && act.who == "anna" {
					act.who = "root" // decides alone
				}
				want, writes := built.attempt(t, act, storetest.None, 0)
				for _, fault := range []storetest.Fault{storetest.Lost, storetest.ReplyLost} {
					for n := range writes {
						if os.Getenv("STELE_LONG") == "" && n%2 != int(fault)%2 {
							continue
						}
						if got, _ := built.attempt(t, act, fault, n); got != want {
							t.Errorf("%s, %d people: write %d of %d fails in way %d, and then there is\n%s\nwant\n%s", name, len(people), n+1, writes, fault, got, want)
						}
					}
				}
			}
		})
	}
}

// attempt does an act in a copy of an archive whose writes fail from number n on, and once more if it fails.
func (built *furnished) attempt(t *testing.T, act act, fault storetest.Fault, n int) (after string, writes int) {
	t.Helper()
	at := *built.place
	at.t, at.store = t, built.store.Clone()
	has := &furnished{&at, built.request, built.hold, nil}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	d, err := Open(ctx, storetest.FailingWrites(has.store, fault, n, &writes), has.trust, has.files[act.who])
	if err != nil {
		t.Fatal(err)
	}
	if err := act.do(ctx, d, has); err != nil {
		if fault == storetest.None {
			t.Fatal(err)
		}
		has.sequence() // what was done although it failed
		if err := act.do(t.Context(), has.desk(act.who), has); err != nil && (act.again == nil || !act.again(err)) {
			t.Errorf("write %d failed in way %d; the second attempt: %v", n+1, fault, err)
		}
	}
	has.sequence()
	return has.standing(), writes
}

// standing is what the log says, without what differs from one attempt to the next.
func (has *furnished) standing() string {
	has.t.Helper()
	var trust identity.Trust
	if err := trust.UnmarshalText(has.trust); err != nil {
		has.t.Fatal(err)
	}
	log, err := ledger.Open(has.t.Context(), has.store, trust)
	if err != nil {
		has.t.Fatal(err)
	}
	var out []string
	log.View(func(s *control.State) {
		for _, l := range s.Listed {
			if l.Unauthorised != nil {
				out = append(out, fmt.Sprint("without effect: ", l.Type))
			}
		}
		for _, r := range s.Requests {
			out = append(out, fmt.Sprint("request ", r.What, " ", r.Standing, " ", len(r.Yes), " ", len(r.No)))
		}
		for _, h := range s.Holds {
			out = append(out, fmt.Sprint("hold on ", h.Kind, ", released ", h.Released > 0))
		}
		p := s.Policy()
		for name, list := range map[string][]control.Named{"holder": p.Holders, "approver": p.Approvers, "key service": p.KeyServices, "compactor": p.Compactors} {
			for _, n := range list {
				out = append(out, name+" "+n.Name)
				if n.Name == "second" && !slices.ContainsFunc(has.kept, func(file []byte) bool { return keyOf(has.t, file) == n.Key }) {
					has.t.Error("the archive has a key service whose role file nobody has")
				}
			}
		}
		out = append(out, fmt.Sprintf("ttl %v, %d read keys", p.Erasure.TTL, len(s.ReadKeys)))
	})
	slices.Sort(out)
	return strings.Join(slices.Compact(out), "\n")
}

func keyOf(t *testing.T, file []byte) string {
	t.Helper()
	var k identity.KeyService
	if err := identity.Parse(file, identity.KeyServiceFormat, &k); err != nil {
		t.Fatal(err)
	}
	vkey, err := note.NewEd25519VerifierKey(identity.KeyName(k.Name, control.RoleKeyService, k.By), ed25519.NewKeyFromSeed(k.Key).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}
