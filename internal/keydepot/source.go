package keydepot

import (
	"container/list"
	"context"
	"fmt"
	"io/fs"
	"sync"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/internal/keytrie"
)

const (
	blockSize = 64 << 10
	// maxCached bounds the blocks of packs that are kept in memory, in bytes. They are as public as the store.
	maxCached = 64 << 20
)

// source reads the packs of one record, a keytrie.Source. Safe for concurrent use.
type source struct {
	store worm.Store
	cache *cache
	packs map[uint64]keyroot.Pack

	mu       sync.Mutex
	versions map[uint64]string
}

// Source reads some packs, by ranges. Nodes are authentic by themselves, so a range is not held against the digest of its pack.
func (d *Depot) Source(packs []keyroot.Pack) keytrie.Source {
	return newSource(d.cfg.Store, d.cache, packs)
}

func newSource(store worm.Store, cache *cache, packs []keyroot.Pack) keytrie.Source {
	s := &source{store: store, cache: cache, packs: map[uint64]keyroot.Pack{}, versions: map[uint64]string{}}
	for _, p := range packs {
		s.packs[p.N] = p
	}
	return s
}

// ReadPack implements keytrie.Source.
func (s *source) ReadPack(ctx context.Context, pack, offset uint64, n int) ([]byte, error) {
	p, ok := s.packs[pack]
	if !ok || n < 0 || offset > uint64(p.Size) || uint64(n) > uint64(p.Size)-offset {
		return nil, fmt.Errorf("keydepot: pack %d of %d bytes has no %d at %d", pack, p.Size, n, offset)
	}
	var out []byte
	for i := int64(offset) / blockSize; int64(len(out)) < int64(n); i++ {
		b, err := s.block(ctx, p, i)
		if err != nil {
			return nil, err
		}
		from := max(0, int64(offset)-i*blockSize)
		part := b[from:min(int64(len(b)), from+int64(n-len(out)))]
		if out == nil && len(part) == n {
			return part, nil
		}
		out = append(out, part...)
	}
	return out, nil
}

func (s *source) block(ctx context.Context, p keyroot.Pack, i int64) ([]byte, error) {
	at := place{p.SHA256, i}
	if b := s.cache.get(at); b != nil {
		return b, nil
	}
	key := Packs + p.SHA256.String()
	id, err := s.version(ctx, key, p)
	if err != nil {
		return nil, err
	}
	r := worm.Range{Off: i * blockSize, Len: min(blockSize, p.Size-i*blockSize)}
	b, err := s.store.Read(ctx, key, id, r)
	if err != nil {
		return nil, fmt.Errorf("pack %d of the key store: %w", p.N, err)
	}
	if int64(len(b)) != r.Len {
		return nil, fmt.Errorf("pack %d of the key store: %d bytes of %d", p.N, len(b), r.Len)
	}
	s.cache.put(at, b)
	return b, nil
}

func (s *source) version(ctx context.Context, key string, p keyroot.Pack) (string, error) {
	s.mu.Lock()
	id, ok := s.versions[p.N]
	s.mu.Unlock()
	if ok {
		return id, nil
	}
	id, err := version(ctx, s.store, key, p)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	s.versions[p.N] = id
	s.mu.Unlock()
	return id, nil
}

// version finds the version of a pack. If there are several that may be it, they are read.
func version(ctx context.Context, store worm.Store, key string, p keyroot.Pack) (id string, err error) {
	var right []worm.Version
	others := 0
	for v, err := range store.Versions(ctx, key, "") {
		if err != nil {
			return "", err
		}
		if v.Key != key {
			break
		}
		if v.Deleted || v.Size != p.Size {
			others++
			continue
		}
		right = append(right, v)
	}
	if len(right) == 1 {
		return right[0].ID, nil
	}
	if len(right) > 1 {
		v, err := find(ctx, store, key, p.Size, p.SHA256)
		if err != nil {
			return "", err
		}
		if v != nil {
			return v.ID, nil
		}
	}
	if others+len(right) > 0 {
		return "", fmt.Errorf("pack %d of the key store was replaced: no version of %s is it. Put a copy of it back: %w", p.N, key, fs.ErrNotExist)
	}
	return "", fmt.Errorf("pack %d of the key store is missing: put a copy of %s back: %w", p.N, key, fs.ErrNotExist)
}

// place is a block of a pack.
type place struct {
	sum commit.Hex32
	i   int64
}

// cache keeps the blocks that were used last.
type cache struct {
	limit int

	mu    sync.Mutex // guards what follows
	used  int
	order *list.List // front: used last
	at    map[place]*list.Element
}

type cached struct {
	place
	data []byte
}

func newCache(limit int) *cache {
	return &cache{limit: limit, order: list.New(), at: map[place]*list.Element{}}
}

func (c *cache) get(p place) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.at[p]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(cached).data
}

func (c *cache) put(p place, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at[p] != nil {
		return
	}
	c.at[p] = c.order.PushFront(cached{p, data})
	for c.used += len(data); c.used > c.limit; {
		last := c.order.Back()
		old := c.order.Remove(last).(cached)
		delete(c.at, old.place)
		c.used -= len(old.data)
	}
}
