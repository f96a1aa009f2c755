package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
)

// unheld leaves out what a hold may hold. Whom a hold is about only keys tell; which keys live is public. A hold beats
// every erasure, so what it holds has its key: data of scopes whose keys are all gone hold nothing that anybody could read.
func (e *expirer) unheld(ctx context.Context, objects []ExpiredObject) (free []ExpiredObject, err error) {
	ring, err := e.liveKeys(ctx)
	if err != nil || ring == nil {
		return []ExpiredObject{}, err
	}
	free = []ExpiredObject{}
	var scopes map[string][][16]byte // of one commit, by class
	var at *commit.Commit
	for _, o := range objects {
		if o.object.Kind != commit.KindData || o.commit.Time.Add(encapsServe).After(e.now) { // its grants may be on their way
			continue
		}
		if at != o.commit {
			if scopes, err = e.scopesOf(ctx, o.commit); err != nil {
				return nil, err
			}
			at = o.commit
		}
		checks, err := ring.Checks(ctx, scopes[o.Class])
		if err != nil {
			return nil, fmt.Errorf("key store: %w", err)
		}
		if len(checks) == 0 {
			free = append(free, o)
		}
	}
	return free, nil
}

// liveKeys is the key store as its newest record has it, nil if there is none.
func (e *expirer) liveKeys(ctx context.Context) (*keyring.Ring, error) {
	depot := keydepot.Open(keydepot.Config{Store: e.a.store, Archive: e.a.trust.Archive, Keys: keydepot.Keepers(e.a.control)})
	if err := depot.Refresh(ctx); err != nil {
		return nil, err
	}
	if err := depot.Complete(); err != nil {
		return nil, err
	}
	var lost error
	e.a.control.View(func(s *control.State) {
		for _, g := range keydepot.Missing(s, depot.State(), keydepot.Known{}, keydepot.KnownBy(s)) {
			lost = errors.Join(lost, fmt.Errorf("%w: record %d of generation %d with hash %s", keyroot.ErrLost, g.N, g.Generation, g.Hash))
		}
	})
	last, _ := depot.State().Last()
	if lost != nil || last == nil {
		return nil, lost
	}
	return last.Public(depot.Source(last.Packs)), nil
}

// scopesOf reads which scopes a commit has in each class.
func (e *expirer) scopesOf(ctx context.Context, c *commit.Commit) (map[string][][16]byte, error) {
	index, err := e.a.index(ctx, c)
	if err != nil {
		return nil, err
	}
	out := map[string][][16]byte{}
	for n := range index.Len() {
		b, i := index.Row(n)
		if class := b.Class(i); !slices.Contains(out[class][max(0, len(out[class])-1):], b.Scope(i)) {
			out[class] = append(out[class], b.Scope(i))
		}
	}
	return out, nil
}
