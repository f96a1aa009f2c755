package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/durable/objkey"
)

// Memory is a [worm.Store] and [worm.LockReader] in memory that keeps versions and delete markers as
// an S3 bucket does. Overwrite, Mark and Remove do to it what somebody with the credentials of the bucket
// could do. It is safe for concurrent use.
type Memory struct {
	mu       sync.Mutex
	versions map[string][]*memoryVersion // by key, oldest first
	lastID   int
}

type memoryVersion struct {
	worm.Version
	data []byte
	lock worm.Lock
}

var (
	_ worm.Store      = (*Memory)(nil)
	_ worm.LockReader = (*Memory)(nil)
)

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{versions: make(map[string][]*memoryVersion)} }

// Clone returns a store with the same versions of everything, which goes its own way from here.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &Memory{versions: make(map[string][]*memoryVersion, len(m.versions)), lastID: m.lastID}
	for key, list := range m.versions {
		for _, v := range list {
			same := *v // data is never written to
			c.versions[key] = append(c.versions[key], &same)
		}
	}
	return c
}

// Create implements [worm.Store]. As on S3, it succeeds where a delete marker hides what was there.
func (m *Memory) Create(ctx context.Context, key string, data []byte, lock worm.Lock) (worm.Version, error) {
	lock, err := normalLock(lock)
	if err == nil {
		err = check(ctx, key)
	}
	if err != nil {
		return worm.Version{}, fmt.Errorf("memory: create %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if v := m.find(key, ""); v != nil {
		return worm.Version{}, fmt.Errorf("memory: create %s: %w", key, fs.ErrExist)
	}
	return m.add(key, data, lock, false), nil
}

// Read implements [worm.Store].
func (m *Memory) Read(ctx context.Context, key, id string, r worm.Range) ([]byte, error) {
	if err := check(ctx, key); err != nil {
		return nil, fmt.Errorf("memory: read %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.find(key, id)
	if v == nil {
		return nil, fmt.Errorf("memory: read %s: %w", key, fs.ErrNotExist)
	}
	if r == (worm.Range{}) {
		return bytes.Clone(v.data), nil
	}
	if r.Off < 0 || r.Len <= 0 || r.Len > v.Size || r.Off > v.Size-r.Len {
		return nil, fmt.Errorf("memory: read %s: range %+v is not inside the object of %d bytes", key, r, v.Size)
	}
	return bytes.Clone(v.data[r.Off : r.Off+r.Len]), nil
}

// Versions implements [worm.Store]. It shows the state at the start of the iteration.
func (m *Memory) Versions(ctx context.Context, prefix, after string) iter.Seq2[worm.Version, error] {
	return func(yield func(worm.Version, error) bool) {
		if err := errors.Join(objkey.CheckPrefix(prefix), ctx.Err()); err != nil {
			yield(worm.Version{}, fmt.Errorf("memory: list %q: %w", prefix, err))
			return
		}
		for _, v := range m.snapshot(prefix, after) {
			if err := ctx.Err(); err != nil {
				yield(worm.Version{}, fmt.Errorf("memory: list %q: %w", prefix, err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

func (m *Memory) snapshot(prefix, after string) []worm.Version {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []worm.Version
	for key, versions := range m.versions {
		if strings.HasPrefix(key, prefix) && key > after {
			for _, v := range versions {
				all = append(all, v.Version)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b worm.Version) int { return strings.Compare(a.Key, b.Key) })
	return all
}

// Extend implements [worm.Store].
func (m *Memory) Extend(ctx context.Context, key, id string, lock worm.Lock) error {
	lock, err := normalLock(lock)
	if err == nil && lock.Until.IsZero() {
		err = errors.New("lock without a mode")
	}
	if err == nil {
		err = check(ctx, key)
	}
	if err != nil {
		return fmt.Errorf("memory: extend %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.find(key, id)
	if v == nil {
		return fmt.Errorf("memory: extend %s: %w", key, fs.ErrNotExist)
	}
	if v.lock.Mode == "" {
		v.lock.Mode = lock.Mode
	}
	if lock.Until.After(v.lock.Until) {
		v.lock.Until = lock.Until
	}
	return nil
}

// ReadLock implements [worm.LockReader].
func (m *Memory) ReadLock(ctx context.Context, key, id string) (worm.Lock, error) {
	if err := check(ctx, key); err != nil {
		return worm.Lock{}, fmt.Errorf("memory: read lock %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.find(key, id)
	if v == nil {
		return worm.Lock{}, fmt.Errorf("memory: read lock %s: %w", key, fs.ErrNotExist)
	}
	return v.lock, nil
}

// Overwrite adds a newer version of key, whether or not one is there.
func (m *Memory) Overwrite(key string, data []byte) worm.Version {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.add(key, data, worm.Lock{}, false)
}

// Mark adds a delete marker, which hides the versions of key from plain readers.
func (m *Memory) Mark(key string) worm.Version {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.add(key, nil, worm.Lock{}, true)
}

// Remove removes one version or delete marker for good, locked or not, and says whether it was there.
// With an empty id it removes everything under key.
func (m *Memory) Remove(key, id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.versions[key])
	m.versions[key] = slices.DeleteFunc(m.versions[key], func(v *memoryVersion) bool { return id == "" || v.ID == id })
	return len(m.versions[key]) < before
}

func (m *Memory) add(key string, data []byte, lock worm.Lock, deleted bool) worm.Version {
	m.lastID++
	v := &memoryVersion{data: bytes.Clone(data), lock: lock, Version: worm.Version{
		Key: key, ID: fmt.Sprintf("v%d", m.lastID), Size: int64(len(data)),
		Modified: time.Now().UTC().Truncate(time.Millisecond), Deleted: deleted,
	}}
	m.versions[key] = append(m.versions[key], v)
	return v.Version
}

// find returns the version id of key, the newest if id is empty, or nil if that is none or a marker.
func (m *Memory) find(key, id string) *memoryVersion {
	for _, v := range slices.Backward(m.versions[key]) {
		if id == "" || v.ID == id {
			if v.Deleted {
				return nil
			}
			return v
		}
	}
	return nil
}

func check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return objkey.Check(key)
}

// normalLock returns lock in whole seconds of UTC, rounded up, and no lock as the zero Lock.
func normalLock(lock worm.Lock) (worm.Lock, error) {
	switch lock.Mode {
	case "", worm.LockNone:
		if lock.Until.IsZero() {
			return worm.Lock{}, nil
		}
	case worm.LockAdvisory, worm.LockGovernance, worm.LockCompliance:
		if !lock.Until.IsZero() {
			end := lock.Until.Add(time.Second - time.Nanosecond).UTC().Truncate(time.Second)
			return worm.Lock{Mode: lock.Mode, Until: end}, nil
		}
	}
	return worm.Lock{}, fmt.Errorf("lock %q until %s", lock.Mode, lock.Until)
}
