package keys_test

import (
	"context"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/ledger"
)

// hiding leaves an object out of what it lists.
type hiding struct {
	*storetest.Memory
	key string
}

func (h *hiding) Versions(ctx context.Context, prefix, after string) iter.Seq2[worm.Version, error] {
	return func(yield func(worm.Version, error) bool) {
		for v, err := range h.Memory.Versions(ctx, prefix, after) {
			if (err != nil || v.Key != h.key) && !yield(v, err) {
				return
			}
		}
	}
}

// A store that hides an object in the middle of what it lists brings no key service to lose a key that lives or is held, nor one
// to call such a key erased; the key service says what it misses, and so does whoever verifies.
func TestStoreHides(t *testing.T) {
	w := newWorld(t)
	g := w.granter()
	live, bob, eve := g.grant(3, "ada"), g.grant(3, "bob"), g.grant(2, "eve")
	s := w.open(w.config())
	w.must(s.Fold(t.Context()))
	w.sequence()
	w.done(w.eraseNow(s, "eve"), 2)
	live = append(live, g.grant(2, "ada")...)
	w.must(s.Fold(t.Context()))
	w.must(s.Close())
	w.told()
	newest := func(prefix string) string { all := w.keysOf(prefix); return all[len(all)-1] }
	before := w.keysOf("control/sealed/")
	request := w.asks(subject("bob"), true)
	asked := slices.DeleteFunc(w.keysOf("control/sealed/"), func(key string) bool { return slices.Contains(before, key) })[0]
	_, err := w.desk().Hold(t.Context(), erase.Target{Subject: "bob"})
	w.must(err)
	w.sequence()
	held := newest(ledger.Prefix)
	_, err = w.desk().Hold(t.Context(), erase.Target{Subject: "zoe"}) // so that something is behind it
	w.must(err)
	w.sequence()
	var hold control.Selection
	w.state(func(c *control.State) { hold = c.Holds[0].Selection })
	roots, depot := w.keysOf(keydepot.Roots), w.depot()
	last, _ := depot.State().Last()
	for name, test := range map[string]struct {
		key, verdict string
		opens        bool // the key service does not need it at once
	}{
		"the hold":           {held, "integrity", false},
		"a root record":      {roots[len(roots)/2], "integrity", false},
		"a pack":             {keydepot.Packs + last.Packs[0].SHA256.String(), "erasure", true},
		"the list":           {newest(keydepot.Lists), "erasure", true},
		"what it is held by": {"control/sealed/" + hold.Sealed.String(), "", true},
		"what is asked for":  {asked, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			f := *w
			f.t, f.store = t, w.store.Clone()
			cfg := f.config()
			cfg.Store = &hiding{f.store, test.key}
			s, err := keys.Open(t.Context(), cfg)
			if err == nil {
				_, err = s.CarryOut(t.Context())
				if !test.opens {
					t.Errorf("it goes on: %v", err)
				}
				for _, scopes := range [][][16]byte{live, bob, eve} {
					if got, failed := f.ask(s, scopes, nil); failed == nil {
						for _, id := range scopes {
							if got[id] == "erased" && slices.Contains(live, id) || got[id] == "live" && slices.Contains(eve, id) {
								t.Errorf("scope %x is %s", id, got[id])
							}
						}
					}
				}
				f.must(s.Close())
			}
			if name := test.key[strings.LastIndexByte(test.key, '/')+1:]; name != newest(keydepot.Lists)[len(keydepot.Lists):] && (err == nil || !strings.Contains(err.Error(), name)) {
				t.Errorf("it does not say what is missing: %v", err)
			}
			if a, err := backup.OpenArchive(t.Context(), cfg.Store, w.file("trust.stele")); err != nil {
				t.Error(err)
			} else if r, err := a.Verify(t.Context(), backup.VerifyOptions{}); err != nil {
				t.Error(err)
			} else if test.verdict != "" && (r.Verdicts[test.verdict].State != backup.Fails ||
				!slices.ContainsFunc(r.Faults, func(x backup.Fault) bool { return strings.Contains(x.Key+x.Detail, test.key) })) {
				t.Errorf("%s: %+v", test.verdict, r.Faults)
			}
			s, err = keys.Open(t.Context(), f.config()) // the store lists it again
			f.must(err)
			defer s.Close()
			f.all(s, "live", live)
			f.all(s, "erased", eve)
			_, err = s.CarryOut(t.Context())
			f.must(err)
			f.sequence()
			if r := f.standing(request); len(r.Outcomes) == 0 || r.Outcomes[len(r.Outcomes)-1].Held != 3 || s.Generation() != 2 {
				t.Errorf("generation %d: %+v", s.Generation(), r.Outcomes)
			}
		})
	}
}
