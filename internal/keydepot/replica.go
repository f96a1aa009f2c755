package keydepot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/internal/keytrie"
)

// ErrReplica is wrapped by errors about a replica that cannot be reached, or lacks what it must have.
var ErrReplica = errors.New("the replica of the key store")

// Replica is a second store with all that the key store has. What it lacks is copied there, unless somebody else does so
// and it takes nothing from here; it counts when it was read back from there, byte for byte, under a lock. Not safe for
// concurrent use.
type Replica struct {
	depot *Depot
	store worm.Store
	cache *cache
	seen  map[commit.Hex32]time.Time // packs that were read there, and when
	next  int                        // of the depot's records: those before are there
	last  commit.Hex32               // newest record that was read there
}

// Replica is that of this key store in another store.
func (d *Depot) Replica(store worm.Store) *Replica {
	return &Replica{depot: d, store: store, cache: newCache(maxCached / 4), seen: map[commit.Hex32]time.Time{}}
}

// Source reads packs of the replica.
func (r *Replica) Source(packs []keyroot.Pack) keytrie.Source {
	return newSource(r.store, r.cache, packs)
}

// Packs makes sure that packs are there, and stay for half the time of their lock at least.
func (r *Replica) Packs(ctx context.Context, packs []keyroot.Pack, now time.Time) error {
	named := map[commit.Hex32]bool{}
	for _, p := range packs {
		named[p.SHA256] = true
		if at, ok := r.seen[p.SHA256]; ok && now.Sub(at) < PackLock/3 {
			continue
		}
		if err := r.object(ctx, Packs+p.SHA256.String(), p.Size, p.SHA256, PackLock, now); err != nil {
			return fmt.Errorf("%w: pack %d: %w", ErrReplica, p.N, err)
		}
		r.seen[p.SHA256] = now
	}
	for sum := range r.seen {
		if !named[sum] {
			delete(r.seen, sum)
		}
	}
	return nil
}

// List makes sure that the list of an erasure is there.
func (r *Replica) List(ctx context.Context, e *keyroot.Erased, now time.Time) error {
	if err := r.object(ctx, Lists+e.List.String(), e.Size, e.List, 0, now); err != nil {
		return fmt.Errorf("%w: list of what is erased: %w", ErrReplica, err)
	}
	return nil
}

// Ask makes sure that the replica answers, and has what Packs and Records have seen there: it lists the packs and reads the
// newest root record.
func (r *Replica) Ask(ctx context.Context, packs []keyroot.Pack) error {
	all := r.depot.chain
	if len(all) == 0 {
		return nil
	}
	x := all[len(all)-1]
	file, err := r.depot.File(ctx, x.N, x.Hash)
	if err != nil {
		return err
	}
	v, err := find(ctx, r.store, r.depot.space.Key(x.N), int64(len(file)), x.Hash)
	if err == nil && v == nil {
		err = fmt.Errorf("it does not have record %d any more", x.N)
	}
	for i := 0; i < len(packs) && err == nil; i++ {
		_, err = version(ctx, r.store, Packs+packs[i].SHA256.String(), packs[i])
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrReplica, err)
	}
	return nil
}

// Records makes sure that all root records are there that the depot has read, and reads the newest one back.
func (r *Replica) Records(ctx context.Context, now time.Time) error {
	all := r.depot.chain
	if len(all) == 0 || all[len(all)-1].Hash == r.last {
		return nil
	}
	if err := r.records(ctx, all, now); err != nil {
		return fmt.Errorf("%w: root records: %w", ErrReplica, err)
	}
	r.next, r.last = len(all), all[len(all)-1].Hash
	return nil
}

func (r *Replica) records(ctx context.Context, all []keyroot.Lost, now time.Time) error {
	there, after := map[string]bool{}, ""
	if r.next > 0 {
		after = r.depot.space.Key(all[r.next-1].N)
	}
	for v, err := range r.store.Versions(ctx, Roots, after) {
		if err != nil {
			return err
		}
		there[v.Key] = there[v.Key] || !v.Deleted
	}
	for i, x := range all[r.next:] {
		key, newest := r.depot.space.Key(x.N), r.next+i == len(all)-1
		if there[key] && !newest {
			continue
		}
		file, err := r.depot.File(ctx, x.N, x.Hash)
		if err != nil {
			return err
		}
		if err := r.copy(ctx, key, file, x.Hash, 0, now); err != nil {
			return fmt.Errorf("record %d: %w", x.N, err)
		}
	}
	return nil
}

func (r *Replica) object(ctx context.Context, key string, size int64, sum commit.Hex32, keep time.Duration, now time.Time) error {
	v, err := find(ctx, r.store, key, size, sum)
	if err != nil {
		return err
	}
	if v != nil {
		return r.locked(ctx, v, keep, now)
	}
	data, err := r.depot.read(ctx, key, size, sum)
	if err != nil {
		return err
	}
	return r.copy(ctx, key, data, sum, keep, now)
}

// copy puts an object there, if it is not, and reads it back.
func (r *Replica) copy(ctx context.Context, key string, data []byte, sum commit.Hex32, keep time.Duration, now time.Time) error {
	_, refused := r.store.Create(ctx, key, data, r.depot.cfg.Lock(keep))
	v, err := find(ctx, r.store, key, int64(len(data)), sum)
	switch {
	case err != nil:
		return errors.Join(err, refused)
	case v == nil && (refused == nil || errors.Is(refused, fs.ErrExist)):
		return fmt.Errorf("%s: %w", key, errTaken)
	case v == nil:
		return fmt.Errorf("it does not have %s, and does not take it: %w", key, refused)
	}
	return r.locked(ctx, v, keep, now)
}

// locked makes sure that a version is under a lock.
func (r *Replica) locked(ctx context.Context, v *worm.Version, keep time.Duration, now time.Time) error {
	want := r.depot.cfg.Lock(keep)
	reader, ok := r.store.(worm.LockReader)
	if want.Mode == worm.LockNone || !ok {
		return nil
	}
	for try := 0; ; try++ {
		lock, err := reader.ReadLock(ctx, v.Key, v.ID)
		if err != nil {
			return err
		}
		if lock.Mode != worm.LockNone && lock.Mode != "" && lock.Until.After(now.Add(PackLock/2)) {
			return nil
		}
		if try == 1 {
			return fmt.Errorf("%s is locked until %s only", v.Key, lock.Until.Format(time.RFC3339))
		}
		if err := r.store.Extend(ctx, v.Key, v.ID, want); err != nil {
			return err
		}
	}
}
