package keys

import (
	"context"
	"slices"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyring"
)

// stonesOverKeys are the tombstones for which nothing can come any more, and which stay for keys that are under them and not
// chosen to go: what came too late while a hold stood was kept, and must not open when both have ended. Requires mu.
func (s *Service) stonesOverKeys(ctx context.Context, ring *keyring.Ring, what *keyring.Erasure) (keep []keyring.Tombstone, err error) {
	ending, err := ring.Ending(ctx, what.Weeks)
	if err != nil || len(ending) == 0 {
		return nil, err
	}
	goes := map[scopeKey]bool{}
	for i := range what.Scopes {
		l := &what.Scopes[i]
		goes[scopeKey{l.ID, l.Check()}] = true
	}
	for _, t := range ending {
		if s.withdrawn(&t) {
			continue
		}
		for l, err := range ring.EachTagged(ctx, t.Tag) {
			if err != nil {
				return nil, err
			}
			if l.Start <= t.Cutoff && !goes[scopeKey{l.ID, l.Check()}] && !(l.Expires && slices.Contains(what.Days, l.Day)) {
				keep = append(keep, t)
				break
			}
		}
	}
	if len(keep) > 0 {
		s.log.Warn("keys that came too late for a request, while a hold stood, are denied to readers and not erased: request the erasure again", "tombstones", len(keep))
	}
	return keep, nil
}

// withdrawn reports whether a tombstone is of a request that two approvers have rejected since, or that was withdrawn.
func (s *Service) withdrawn(t *keyring.Tombstone) (yes bool) {
	s.control.View(func(c *control.State) {
		r := c.Request(t.Request)
		yes = r != nil && r.Standing == control.Rejected
	})
	return yes
}
