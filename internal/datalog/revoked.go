package datalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/ledger"
)

// stands reports whether a commit counts although its author may have been revoked since: docs/formats/control.md,
// *Policy*. The numbers that a compactor puts into heads before its key is revoked say nothing; hashes do.
func (l *Chain) stands(ctx context.Context, c *commit.Commit, hash commit.Hex32) (bool, error) {
	var heads []control.LoggedHead
	revoked := false
	l.control.View(func(s *control.State) {
		if _, revoked = s.Revoked(c.By); revoked && !l.vouched[hash] {
			heads = s.HeadsFrom(l.Origin, c.N)
		}
	})
	for i := 0; i < len(heads) && !l.vouched[hash]; i++ {
		if err := l.vouch(ctx, &heads[i], c.N); err != nil {
			return false, err
		}
	}
	return !revoked || l.vouched[hash], nil
}

// vouch goes from the commit that a head names to commit n, from each to its parent, and notes all on the way.
func (l *Chain) vouch(ctx context.Context, h *control.LoggedHead, n uint64) error {
	var path []commit.Hex32
	for at, want := h.Commit, h.Hash; ; {
		if l.denied[want] {
			return nil
		}
		c, err := l.named(ctx, at, want)
		if err != nil {
			return err
		}
		if c == nil {
			l.denied[h.Hash] = true
			return nil
		}
		path = append(path, want)
		steps := uint64(len(c.Burnt)) + 1
		if at-n < steps {
			break
		}
		at, want = at-steps, c.Prev
	}
	for _, hash := range path {
		l.vouched[hash] = true
	}
	return nil
}

// named is the commit with a number and hash, nil if it is not there.
func (l *Chain) named(ctx context.Context, n uint64, hash commit.Hex32) (*commit.Commit, error) {
	for o, err := range Commits(l.store, l.partition, l.period).From(ctx, n) {
		if err == nil && o.N == n && o.Err != nil && !errors.Is(o.Err, fs.ErrNotExist) {
			err = o.Err
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", chain.ErrUndecided, err)
		}
		if o.N != n || commit.Hash(o.Data) != hash {
			break
		}
		c, err := commit.Peek(o.Data)
		if err != nil || c.N != n {
			break
		}
		return c, nil
	}
	return nil, nil
}

// Bound is, for each log, the highest commit of which a head under a key name is so in the store: what a revocation of the
// key says of it.
func Bound(ctx context.Context, c *ledger.Log, store worm.Store, trust *identity.Trust, by string) (map[string]uint64, error) {
	logs := map[string][]control.LoggedHead{}
	c.View(func(s *control.State) {
		for origin := range s.Heads {
			logs[origin] = s.HeadsFrom(origin, 0)
		}
	})
	out := map[string]uint64{}
	for origin, heads := range logs {
		of, period := commit.SplitOrigin(origin)
		partition, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(of, trust.Name+"/"), "/"), 10, 32)
		if _, ok := commit.PeriodStart(period); err != nil || !ok || commit.Origin(trust.Name, uint32(partition), period) != origin {
			continue // no log
		}
		l := New(c, store, trust, uint32(partition), period)
		for _, h := range slices.Backward(heads) {
			if h.By != by {
				continue
			}
			there, err := l.named(ctx, h.Commit, h.Hash)
			if err != nil {
				return nil, err
			}
			if there != nil {
				out[origin] = h.Commit
				break
			}
		}
	}
	return out, nil
}
