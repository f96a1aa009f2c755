package keys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyscope"
)

// sealedPrefix is where sealed selections lie in the store, by their SHA-256.
const sealedPrefix = "control/sealed/"

// errSelection says that what a request or a hold selects cannot be opened, now or ever.
var errSelection = errors.New("what it selects cannot be opened")

// errAway says that the sealed selection is not there, and would open if it were put back.
var errAway = fmt.Errorf("%w until it is put back from a copy", errSelection)

// maxSealed is more than any sealed selection has.
const maxSealed = 2 << 20

// selection opens what a request or a hold selects. Requires mu.
func (s *Service) selection(ctx context.Context, named *control.Selection) (*control.Selector, error) {
	key := s.pending.intake.keys[named.Week]
	if key == nil {
		return nil, fmt.Errorf("%w: the intake key of week %d is not there", errSelection, named.Week)
	}
	sealed, err := keydepot.Read(ctx, s.cfg.Store, sealedPrefix+named.Sealed.String(), maxSealed, named.Sealed)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", errAway, err)
	}
	if err != nil {
		return nil, fmt.Errorf("sealed selection: %w", err)
	}
	line, err := keyscope.OpenSelector(key, s.trust.Archive, sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSelection, err)
	}
	sel, err := control.ParseSelector(line, named, s.trust.Archive)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSelection, err)
	}
	return sel, nil
}

// judgement is what an erasure is judged by: the holds that stand at a size of the control log, and the policy then.
type judgement struct {
	control uint64
	now     time.Time // by both clocks
	policy  *control.Policy
	held    map[keyring.Tag]bool
	release []keyring.Hold     // in the tries, and released
	resume  []keyring.Deferred // in the tries, of requests that wait no longer
}

// judge brings every hold that stands into the tries, and says what may be erased. A hold that cannot be opened holds
// everything. Requires mu.
func (s *Service) judge(ctx context.Context) (*judgement, error) {
	for {
		if err := s.sync(ctx); err != nil {
			return nil, err
		}
		now, err := s.clock(ctx)
		if err != nil {
			return nil, err
		}
		j := &judgement{now: now, held: map[keyring.Tag]bool{}}
		var all []*control.Hold
		s.control.View(func(c *control.State) {
			j.control, j.policy, all = c.Size(), c.Policy(), slices.Clone(c.Holds)
			j.resume = over(c, s.pending.deferred)
		})
		_, have, err := s.version.ring.Marks(ctx)
		if err != nil {
			return nil, err
		}
		var missing []keyring.Hold
		for _, h := range all {
			id := [16]byte(h.Entry[:16])
			in := slices.IndexFunc(have, func(m keyring.Hold) bool { return m.ID == id })
			stands := h.StandsAt(j.control)
			switch {
			case in >= 0 && stands:
				j.held[have[in].Tag] = true
			case in >= 0:
				j.release = append(j.release, have[in])
			case stands:
				sel, err := s.selection(ctx, &h.Selection)
				if err != nil {
					return nil, fmt.Errorf("hold %v holds everything: %w", h.Entry, err)
				}
				missing = append(missing, keyring.Hold{Tag: keyring.ShortTag(*sel.Tag), ID: id})
			}
		}
		if len(missing) == 0 {
			return j, nil
		}
		if err := s.foldAll(ctx, keyring.Batch{Holds: missing}); err != nil {
			return nil, err
		}
	}
}

// over are what the tries keep of requests that are done, or that nobody can approve any more.
func over(c *control.State, all []keyring.Deferred) []keyring.Deferred {
	waits := map[[16]byte]bool{}
	for _, r := range c.Requests {
		if r.Standing == control.Approved || r.Standing == control.Pending {
			waits[[16]byte(r.ID[:16])] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(d keyring.Deferred) bool { return waits[d.Request] })
}

// overtaken reports whether a hold has come since the control log had a size, or an approval was taken back: what was made
// ready does not count then. Requires mu.
func (s *Service) overtaken(ctx context.Context, b *batch, size uint64) (late bool, err error) {
	if err := s.control.RefreshWhole(ctx); err != nil {
		return false, err
	}
	s.control.View(func(c *control.State) {
		late = slices.ContainsFunc(c.Holds, func(h *control.Hold) bool { return h.Index >= size && h.Released == 0 })
	})
	return late || slices.ContainsFunc(b.asks, func(a *ask) bool { return a.logged && !s.standing(a.request) }), nil
}
