package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/merkle"
)

// forgotten finds the records whose keys went with an erasure, notes the erasure with the one path that shows it, and
// returns by record the part of its scope.
func (p *prover) forgotten(ctx context.Context, log *controlProof) (map[*provable]evidence.Part, error) {
	if len(log.state.Erasures) == 0 {
		return nil, nil
	}
	wanted, scopes := map[[16]byte]*frame.ScopeEntry{}, map[*provable]evidence.Part{}
	for _, f := range p.found {
		if f.leaf.Scope == [16]byte{} {
			continue
		}
		part, entry, err := p.scopeOf(ctx, f, [3]evidence.Value{})
		if err != nil {
			return nil, err
		}
		if entry != nil {
			scopes[f], wanted[f.leaf.Scope] = part, entry
		}
	}
	c := certifier{p: p, log: log, depot: keydepot.Open(keydepot.Config{Store: p.a.store, Archive: p.a.trust.Archive})}
	if err := c.live(ctx, wanted); err != nil {
		return nil, err
	}
	went := map[[16]byte]bool{}
	for i := range log.state.Erasures {
		if e := &log.state.Erasures[i]; e.Index < log.size && len(wanted) > 0 {
			if err := c.took(ctx, e, wanted, went); err != nil {
				return nil, err
			}
		}
	}
	for f := range scopes {
		if !went[f.leaf.Scope] {
			delete(scopes, f)
		}
	}
	return scopes, nil
}

// live takes out the scopes whose keys the newest record of the key store has.
func (c *certifier) live(ctx context.Context, wanted map[[16]byte]*frame.ScopeEntry) error {
	roots := c.log.state.KeyRoots
	var file []byte
	for i := len(roots) - 1; i >= 0 && file == nil; i-- { // one that is not there may be a lie: verify says so
		var err error
		if file, err = c.depot.File(ctx, roots[i].N, roots[i].Hash); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("root record %d: %w", roots[i].N, err)
		}
	}
	if file == nil {
		return nil
	}
	record, err := keyroot.Peek(file)
	if err != nil {
		return err
	}
	var ids [][16]byte
	for id := range wanted {
		ids = append(ids, id)
	}
	checks, err := record.Public(c.depot.Source(record.Packs)).Checks(ctx, ids)
	if err != nil {
		return fmt.Errorf("root record %d: %w", record.N, err)
	}
	for id, s := range wanted {
		if slices.Contains(checks[id], [16]byte(s.KCV[:16])) {
			delete(wanted, id)
		}
	}
	return nil
}

// took notes an erasure if it took wanted scopes, and moves them to went.
func (c *certifier) took(ctx context.Context, e *control.LoggedErasure, wanted map[[16]byte]*frame.ScopeEntry, went map[[16]byte]bool) error {
	parts, records, err := c.records(ctx, e)
	if err != nil || records[1].Erased == nil {
		return err
	}
	list, err := c.depot.List(ctx, records[1].Erased)
	if err != nil {
		return fmt.Errorf("list of what erasure %s took: %w", e.Entry, err)
	}
	paths := slices.Concat(list.Removed...)
	hashes := make([]merkle.Hash, len(paths))
	var at []int
	for i, path := range paths {
		hashes[i] = merkle.LeafHash(path)
		if !keyring.IsScope(path) {
			continue
		}
		if s := wanted[[16]byte(path[3:])]; s != nil && string(path[19:]) == string(s.KCV[:16]) {
			at = append(at, i)
			went[s.ID] = true
			delete(wanted, s.ID)
		}
	}
	for _, i := range at {
		proof, err := pathIn(hashes, uint64(i))
		if err != nil {
			return err
		}
		parts = append(parts, evidence.RemovedPart(uint64(i), proof, paths[i]))
	}
	if len(at) == 0 {
		return nil
	}
	return c.decided(e, parts, []string{records[0].By, records[1].By}, nil, nil)
}
