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

// standing is what holds there are when the control log has a size.
type standing struct {
	control uint64
	held    map[keyring.Tag]bool // by holds that stand, in the tries
	release []keyring.Hold       // in the tries, and released
	missing []keyring.Hold       // stand, and are not in the tries
	closed  error                // one stands that cannot be opened: it holds everything
}

// holds looks at all holds. Requires mu.
func (s *Service) holds(ctx context.Context) (*standing, error) {
	h := &standing{held: map[keyring.Tag]bool{}}
	var all []*control.Hold
	s.control.View(func(c *control.State) { h.control, all = c.Size(), slices.Clone(c.Holds) })
	if len(all) == 0 {
		return h, nil
	}
	_, have, err := s.version.ring.Marks(ctx)
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		id := [16]byte(one.Entry[:16])
		in := slices.IndexFunc(have, func(m keyring.Hold) bool { return m.ID == id })
		stands := one.StandsAt(h.control)
		switch {
		case in >= 0 && stands:
			h.held[have[in].Tag] = true
		case in >= 0:
			h.release = append(h.release, have[in])
		case stands:
			sel, err := s.selection(ctx, &one.Selection)
			if err != nil {
				h.closed = fmt.Errorf("hold %v holds everything: %w", one.Entry, err)
				continue
			}
			h.missing = append(h.missing, keyring.Hold{Tag: keyring.ShortTag(*sel.Tag), ID: id})
		}
	}
	return h, nil
}

// foldHolds brings the holds that stand into the tries, and says what holds there are then. Grants are judged by them, and by the
// policy: what was read of the transport before is read again. Requires mu.
func (s *Service) foldHolds(ctx context.Context) (*standing, error) {
	for {
		h, err := s.holds(ctx)
		if err != nil {
			return nil, err
		}
		judge := s.pending.judge
		all, policy := h.closed != nil, s.control.Policy()
		if all != judge.HoldAll || len(h.release) != len(judge.Released) || len(h.missing) > 0 || policy != s.pending.policy {
			if s.pending, err = s.begin(ctx); err != nil {
				return nil, err
			}
			s.pending.judge.HoldAll, s.pending.judge.Released = all, h.release
		}
		if len(h.missing) == 0 {
			return h, nil
		}
		if _, err := s.persist(ctx, h.control, keyring.Batch{Holds: h.missing}); err != nil {
			return nil, err
		}
	}
}

// judge brings every hold that stands into the tries, and says what may be erased. A hold that cannot be opened holds
// everything. Requires mu.
func (s *Service) judge(ctx context.Context) (*judgement, error) {
	if err := errors.Join(s.sync(ctx), s.mayWrite()); err != nil {
		return nil, err
	}
	now, err := s.clock(ctx)
	if err != nil {
		return nil, err
	}
	h, err := s.foldHolds(ctx)
	if err == nil {
		err = h.closed
	}
	if err != nil {
		return nil, err
	}
	j := &judgement{control: h.control, now: now, held: h.held, release: h.release}
	s.control.View(func(c *control.State) { j.policy, j.resume = c.PolicyAt(h.control), over(c, s.pending.deferred) })
	return j, nil
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
