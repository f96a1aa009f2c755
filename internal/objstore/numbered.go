// Package objstore has what everybody does with a store: numbered rows of objects, locks made from a policy, and trying
// again.
package objstore

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/chain"
)

// Numbered is a row of numbered objects in a store, the chain.Space of commits, the control log and root records.
type Numbered struct {
	Store  worm.Store
	Prefix string           // ends in "/"
	Lock   func() worm.Lock // of what Create makes; not needed for reading
}

// Key is where object n lies.
func (s Numbered) Key(n uint64) string { return fmt.Sprintf("%s%020d", s.Prefix, n) }

// Create implements chain.Space.
func (s Numbered) Create(ctx context.Context, n uint64, data []byte) error {
	_, err := s.Store.Create(ctx, s.Key(n), data, s.Lock())
	return err
}

// From implements chain.Space. Keys that are no number are passed over: they cannot be taken for one.
func (s Numbered) From(ctx context.Context, n uint64) iter.Seq2[chain.Object, error] {
	after := ""
	if n > 0 {
		after = s.Key(n - 1)
	}
	return func(yield func(chain.Object, error) bool) {
		var group []worm.Version
		flush := func() bool {
			if len(group) == 0 {
				return true
			}
			o, ok := s.object(ctx, group)
			group = group[:0]
			return !ok || yield(o, nil)
		}
		for v, err := range s.Store.Versions(ctx, s.Prefix, after) {
			if err != nil {
				yield(chain.Object{}, fmt.Errorf("list %s: %w", s.Prefix, err))
				return
			}
			if len(group) > 0 && group[0].Key != v.Key && !flush() {
				return
			}
			group = append(group, v)
		}
		flush()
	}
}

// object reads the oldest version of a key.
func (s Numbered) object(ctx context.Context, versions []worm.Version) (o chain.Object, ok bool) {
	digits := strings.TrimPrefix(versions[0].Key, s.Prefix)
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || len(digits) != 20 {
		return o, false
	}
	o = chain.Object{N: n, Key: versions[0].Key}
	oldest := worm.Version{Deleted: true}
	for _, v := range versions {
		switch {
		case v.Deleted:
			o.Markers++
		case oldest.Deleted:
			oldest = v
		default:
			o.Newer++
		}
	}
	if oldest.Deleted {
		return o, false // markers over nothing: as if nobody had been here
	}
	o.Version = oldest.ID
	o.Data, o.Err = s.Store.Read(ctx, oldest.Key, oldest.ID, worm.Range{})
	return o, true
}

// LockFor is the lock of an object made at now.
func LockFor(mode string, keep time.Duration, now time.Time) worm.Lock {
	if mode == string(worm.LockNone) || mode == "" {
		return worm.Lock{Mode: worm.LockNone}
	}
	return worm.Lock{Mode: worm.LockMode(mode), Until: now.Add(keep).UTC().Truncate(time.Second).Add(time.Second)}
}
