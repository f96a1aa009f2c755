package keys_test

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keydepot"
)

// Each write of a recovery fails, done and not done, from some call on. Repeated, it finishes what it began: one record stands
// in, what was erased before stays so, and the request is done.
func TestRecoveryMayFail(t *testing.T) {
	writes := recoverOver(t, storetest.None, 0)
	if writes < 4 {
		t.Fatalf("%d writes", writes)
	}
	for i, fault := range []storetest.Fault{storetest.Lost, storetest.ReplyLost} {
		for n := range writes {
			if os.Getenv("STELE_LONG") != "" || n%2 == i {
				recoverOver(t, fault, n)
			}
		}
	}
}

func recoverOver(t *testing.T, fault storetest.Fault, n int) (writes int) {
	synctest.Test(t, func(t *testing.T) {
		w, ada, bob, _ := recoverable(t)
		lost := w.newest(keydepot.Roots)
		w.gone(lost)
		d, err := keys.Inspect(t.Context(), w.config())
		w.must(err)
		filed, err := w.desk().Recover(t.Context(), asks(d))
		w.must(err)
		_, err = w.desk().Approve(t.Context(), filed.ID)
		w.must(err)
		cfg := w.config()
		cfg.Store = storetest.FailingWrites(w.store, fault, n, &writes)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		if _, err = keys.Recover(ctx, cfg); err != nil {
			if fault == storetest.None {
				t.Fatal(err)
			}
			if _, err = keys.Recover(t.Context(), w.config()); err != nil {
				t.Fatalf("write %d failed in way %d; repeated: %v", n+1, fault, err)
			}
		}
		w.sequence()
		stood := 0
		log := w.log()
		log.View(func(c *control.State) {
			for _, r := range c.KeyRoots {
				if r.N > d.StandIn.N && r.Hash != d.Lost[0].Hash {
					stood++
				}
			}
		})
		if r := w.standing(filed.ID); r.Standing != control.Done || stood == 0 {
			t.Errorf("write %d failed in way %d: the request is %s, and the log knows %d records after the one that stands in", n+1, fault, r.Standing, stood)
		}
		if got := len(w.depot().State().Recoveries()); got != 1 {
			t.Errorf("write %d failed in way %d: %d records say that one stands in", n+1, fault, got)
		}
		s := w.open(w.config())
		w.must(s.Fold(t.Context()))
		w.all(s, "live", ada)
		w.all(s, "erased", bob)
		w.must(s.Close())
	})
	return writes
}
