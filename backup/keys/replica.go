package keys

import (
	"context"
	"fmt"
	"io"

	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyroot"
)

// replicate makes sure that the replica has what the newest record needs, if there is a replica: before that nothing is
// destroyed, and no grant removed. Requires mu.
func (s *Service) replicate(ctx context.Context) error {
	if s.replica == nil {
		return nil
	}
	err := s.replica.Packs(ctx, s.version.Packs, s.now())
	if err == nil {
		err = s.replica.Records(ctx, s.now())
	}
	return err
}

// askReplica makes sure that the replica is there, now, and has the newest record. Requires mu.
func (s *Service) askReplica(ctx context.Context) error {
	err := s.replicate(ctx)
	if err == nil && s.replica != nil {
		err = s.replica.Ask(ctx, s.version.Packs)
	}
	return err
}

// gateReplica is what the gate asks of the replica: it has the packs and the list of the next generation, and the keys that
// stay open from there. Requires mu.
func (s *Service) gateReplica(ctx context.Context, r *keyroot.Record, top *keyroot.Top, random io.Reader) error {
	if s.replica == nil {
		return nil
	}
	err := s.replica.Packs(ctx, r.Packs, s.now())
	if err == nil {
		err = s.replica.List(ctx, r.Erased, s.now())
	}
	if err != nil {
		return err
	}
	ring, err := r.Open(top, s.replica.Source(r.Packs))
	if err == nil {
		err = ring.Sample(ctx, gateSample, random)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", keydepot.ErrReplica, err)
	}
	return s.step("replica")
}
