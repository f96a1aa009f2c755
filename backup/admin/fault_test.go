package admin_test

import (
	"context"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/probe"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/ledger"
)

var faults = []storetest.Fault{storetest.Lost, storetest.ReplyLost}

func initIn(t *testing.T, store worm.Store, dir string) (*admin.Setup, error) {
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	return admin.Init(ctx, admin.InitConfig{Store: store, Dir: dir, Name: "acme", To: "file:///nowhere", Lock: worm.LockNone})
}

// Each write of an init fails, done and not done, from some call on. It says so, there is no trust file, and the next one
// makes the archive, or says that there must be another place for it.
func TestInitFails(t *testing.T) {
	writes := 0
	synctest.Test(t, func(t *testing.T) {
		if _, err := initIn(t, storetest.FailingWrites(storetest.NewMemory(), storetest.None, 0, &writes), t.TempDir()); err != nil {
			t.Fatal(err)
		}
	})
	if writes < 5 {
		t.Fatalf("%d writes", writes)
	}
	for _, fault := range faults {
		for n := range writes {
			synctest.Test(t, func(t *testing.T) {
				store, dir := storetest.NewMemory(), filepath.Join(t.TempDir(), "acme")
				setup, err := initIn(t, storetest.FailingWrites(store, fault, n, new(int)), dir)
				if err == nil {
					t.Fatalf("write %d failed in way %d, and init made %+v", n+1, fault, setup)
				}
				if _, gone := os.Stat(filepath.Join(dir, "trust.stele")); gone == nil || !strings.Contains(err.Error(), "remove them before the next try") {
					t.Errorf("write %d failed in way %d: trust file %v; %v", n+1, fault, gone == nil, err)
				}
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				_, err = initIn(t, store, dir)
				if left := len(keysIn(t, store)) > 0; err != nil && left && strings.Contains(err.Error(), "choose another prefix") {
					_, err = initIn(t, storetest.NewMemory(), dir)
				}
				if err != nil {
					t.Errorf("write %d failed in way %d; the next init: %v", n+1, fault, err)
				}
			})
		}
	}
}

func keysIn(t *testing.T, store worm.Store) (keys []string) {
	for v, err := range store.Versions(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, v.Key)
	}
	return keys
}

// founded is an archive with a writer.
type founded struct {
	store       *storetest.Memory
	trust, root []byte
	kept        [][]byte // credentials
}

func (f *founded) keep(credential []byte) error { f.kept = append(f.kept, credential); return nil }

// Each write of what the policy root does by itself fails, done and not done. A second attempt gets it done, or finds that it
// is done; nobody is in the policy whose credential is lost.
func TestEveryWriteFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, built := t.TempDir(), founded{store: storetest.NewMemory()}
		setup, err := initIn(t, built.store, dir)
		if err == nil {
			built.trust, err = os.ReadFile(setup.Trust)
		}
		if err == nil {
			built.root, err = os.ReadFile(filepath.Join(dir, "admin", "root.stele"))
		}
		if err != nil {
			t.Fatal(err)
		}
		for name, act := range map[string]struct {
			do    func(ctx context.Context, a *admin.Admin, f *founded) error
			again string // what the second attempt says if the first one took effect
			done  func(p *control.Policy, s *control.State) bool
		}{
			"add": {func(ctx context.Context, a *admin.Admin, f *founded) error {
				return a.AddWriter(ctx, "second", "file:///nowhere", f.keep)
			}, "writer second exists", func(p *control.Policy, _ *control.State) bool {
				return slices.ContainsFunc(p.Writers, func(w control.Writer) bool { return w.Name == "second" })
			}},
			"revoke": {func(ctx context.Context, a *admin.Admin, _ *founded) error { return a.RevokeWriter(ctx, "default") }, "was revoked already",
				func(p *control.Policy, _ *control.State) bool { return p.Writers[0].Revoked != nil }},
			"probe": {func(ctx context.Context, a *admin.Admin, _ *founded) error {
				return a.LogProbe(ctx, []probe.Result{{Name: "create-only", OK: true}})
			}, "", func(_ *control.Policy, s *control.State) bool {
				return slices.ContainsFunc(s.Listed, func(l control.Listed) bool { return l.Type == control.TypeProbe && l.Unauthorised == nil })
			}},
		} {
			writes := 0
			if err := act.do(t.Context(), built.admin(t, storetest.FailingWrites(built.store.Clone(), storetest.None, 0, &writes)), &founded{}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, fault := range faults {
				for n := range writes {
					f := founded{store: built.store.Clone(), trust: built.trust, root: built.root}
					ctx, stop := context.WithTimeout(t.Context(), time.Minute)
					err := act.do(ctx, f.admin(t, storetest.FailingWrites(f.store, fault, n, new(int))), &f)
					stop()
					if err != nil {
						err = act.do(t.Context(), f.admin(t, f.store), &f)
					}
					if err != nil && (act.again == "" || !strings.Contains(err.Error(), act.again)) {
						t.Errorf("%s: write %d failed in way %d; the second attempt: %v", name, n+1, fault, err)
					}
					if !f.all(t, act.done) {
						t.Errorf("%s: write %d failed in way %d, and it is not done", name, n+1, fault)
					}
				}
			}
		}
	})
}

func (f *founded) admin(t *testing.T, store worm.Store) *admin.Admin {
	t.Helper()
	a, err := admin.Open(t.Context(), store, f.trust, f.root)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// all reports whether something is done, and everybody in the policy has a credential.
func (f *founded) all(t *testing.T, done func(*control.Policy, *control.State) bool) (ok bool) {
	t.Helper()
	var trust identity.Trust
	if err := trust.UnmarshalText(f.trust); err != nil {
		t.Fatal(err)
	}
	log, err := ledger.Open(t.Context(), f.store, trust)
	if err != nil {
		t.Fatal(err)
	}
	log.View(func(s *control.State) {
		ok = done(s.Policy(), s)
		for _, w := range s.Policy().Writers {
			if w.Name != "default" && !slices.ContainsFunc(f.kept, func(file []byte) bool {
				c, err := identity.ParseWriter(file)
				return err == nil && string(c.SigningKey().Public().(ed25519.PublicKey)) == string(w.Key)
			}) {
				t.Errorf("the archive has writer %s, whose credential nobody has", w.Name)
			}
		}
	})
	return ok
}
