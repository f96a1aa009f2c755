package keys_test

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/keys"
)

// watched is a custodian that notes about which generations it is asked, and has some keys again.
type watched struct {
	custodian.Custodian
	w *watchedAll
}

type watchedAll struct {
	mu        sync.Mutex
	asked     map[uint64]bool
	restored  uint64
	destroyed int // times that it was told to destroy what was restored
}

func (c watched) Status(ctx context.Context, generation uint64) (custodian.Status, error) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.asked[generation] = true
	status, err := c.Custodian.Status(ctx, generation)
	if generation == c.w.restored {
		status.State = custodian.Live
	}
	return status, err
}

func (c watched) Destroy(ctx context.Context, generation uint64) (custodian.Status, error) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if generation == c.w.restored {
		c.w.destroyed++
	}
	return c.Custodian.Destroy(ctx, generation)
}

// A key service that starts asks custodians about the generations of which it has not said itself that they are dead; about
// the others now and then, and has destroyed what came back.
func TestOldGenerationsAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		all := &watchedAll{asked: map[uint64]bool{}}
		opened := func(role []byte) *keys.Service {
			cfg := w.config()
			if role != nil {
				cfg.Identity = role
			}
			dial := cfg.Custodians.Dial
			cfg.Custodians.Dial = func(url string, id custodian.Identity) (custodian.Custodian, error) {
				c, err := dial(url, id)
				return watched{c, all}, err
			}
			return w.open(cfg)
		}
		asks := func(s *keys.Service) []uint64 {
			t.Helper()
			all.asked = map[uint64]bool{}
			_, err := s.CarryOut(t.Context())
			w.must(err)
			w.sequence()
			return slices.Sorted(maps.Keys(all.asked))
		}
		s, g := opened(nil), w.granter()
		for range 6 {
			time.Sleep(time.Minute)
			g.grant(1, "ada")
			w.eraseNow(s, "ada")
		}
		live := s.Generation()
		w.must(s.Close())
		s = opened(nil)
		if got := asks(s); len(got) > 2 || live != 7 {
			t.Errorf("with generation %d alive the custodians are asked about %v", live, got)
		}
		all.asked = map[uint64]bool{}
		for range 2 * live { // one each hour
			time.Sleep(time.Hour)
			w.must(s.EraseDue(t.Context()))
		}
		for n := range live - 1 {
			if !all.asked[n+1] {
				t.Errorf("nobody asked again about generation %d", n+1)
			}
		}
		all.restored = 3
		for range 2 * live {
			time.Sleep(time.Hour)
			w.must(s.EraseDue(t.Context()))
		}
		if all.destroyed < 3 {
			t.Errorf("three custodians have a key back, and were told %d times to destroy it", all.destroyed)
		}
		all.restored = 0
		w.must(s.Close())

		// Another key service asks for itself.
		role, err := w.second()
		w.must(err)
		s = opened(role)
		defer s.Close()
		if got := asks(s); len(got) < 6 {
			t.Errorf("on another's word the custodians are asked about %v only", got)
		}
	})
}
