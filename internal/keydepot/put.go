package keydepot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/internal/keytrie"
)

// errTaken says that something else lies where an object should: its name is its digest, so nobody can put it there who
// does not know the object.
var errTaken = errors.New("something else lies in its place")

// At which size a writer begins another pack, in bytes. It holds one in memory. Every root record names all packs, so what
// stays is in few.
const (
	FoldPack  = 64 << 20
	ErasePack = 16 << 20
)

// Writer puts packs into the store. Each is read back before the next one is made.
type Writer struct {
	*keytrie.Writer
	made []keyroot.Pack
}

// Writer makes a writer of packs of a size that follow a record; r is nil for the first one.
func (d *Depot) Writer(ctx context.Context, r *keyroot.Record, size int, random io.Reader) *Writer {
	w, first := new(Writer), uint64(1)
	if r != nil {
		first = r.NextPack
	}
	w.Writer = keytrie.NewWriter(d.cfg.Archive, first, size, random, func(n uint64, data []byte) error {
		p := keyroot.Pack{N: n, SHA256: sha256.Sum256(data), Size: int64(len(data))}
		if err := d.put(ctx, Packs+p.SHA256.String(), data, d.cfg.Lock(PackLock)); err != nil {
			return fmt.Errorf("pack %d of the key store: %w", n, err)
		}
		d.extended[p.SHA256] = time.Now()
		w.made = append(w.made, p)
		return nil
	})
	return w
}

// Named are the packs that a ring names: those of the record it was made from, and new ones.
func (w *Writer) Named(r *keyroot.Record, ring *keyring.Ring) (out []keyroot.Pack) {
	all := slices.Clone(w.made)
	if r != nil {
		all = append(all, r.Packs...)
	}
	seen := map[uint64]bool{}
	for i := range ring.Runs {
		for _, n := range ring.Runs[i].Packs {
			if k := slices.IndexFunc(all, func(p keyroot.Pack) bool { return p.N == n }); k >= 0 && !seen[n] {
				seen[n] = true
				out = append(out, all[k])
			}
		}
	}
	slices.SortFunc(out, func(a, b keyroot.Pack) int { return int(a.N) - int(b.N) })
	return out
}

// PutList stores the list of an erasure and reads it back.
func (d *Depot) PutList(ctx context.Context, list *keyring.Erased) (sum commit.Hex32, size int64, err error) {
	data := list.Marshal(d.cfg.Archive)
	if len(data) > keyring.MaxList {
		return sum, 0, fmt.Errorf("the list of what is to be erased has %d bytes, over %d; erase in parts", len(data), keyring.MaxList)
	}
	sum = sha256.Sum256(data)
	if err := d.put(ctx, Lists+sum.String(), data, d.cfg.Lock(0)); err != nil {
		return sum, 0, fmt.Errorf("list of what is erased: %w", err)
	}
	return sum, int64(len(data)), nil
}

// put stores an object that is named by its digest, and reads it back.
func (d *Depot) put(ctx context.Context, key string, data []byte, lock worm.Lock) error {
	return patiently(ctx, func() error {
		_, err := d.cfg.Store.Create(ctx, key, data, lock)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		there := errors.Is(err, fs.ErrExist)
		v, err := d.find(ctx, key, int64(len(data)), sha256.Sum256(data))
		if err != nil {
			return err
		}
		if v == nil {
			return fmt.Errorf("%s: %w", key, errTaken)
		}
		if there && lock.Mode != worm.LockNone { // from an attempt that did not get far
			return d.cfg.Store.Extend(ctx, key, v.ID, lock)
		}
		return nil
	})
}

// find looks for a version with a digest, nil if there is none.
func (d *Depot) find(ctx context.Context, key string, size int64, sum commit.Hex32) (*worm.Version, error) {
	return find(ctx, d.cfg.Store, key, size, sum)
}

func find(ctx context.Context, store worm.Store, key string, size int64, sum commit.Hex32) (*worm.Version, error) {
	for v, err := range store.Versions(ctx, key, "") {
		if err != nil {
			return nil, err
		}
		if v.Key != key {
			break
		}
		if v.Deleted || v.Size != size {
			continue
		}
		data, err := store.Read(ctx, key, v.ID, worm.Range{})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if sha256.Sum256(data) == sum {
			return &v, nil
		}
	}
	return nil, nil
}

func (d *Depot) read(ctx context.Context, key string, limit int64, sum commit.Hex32) ([]byte, error) {
	return Read(ctx, d.cfg.Store, key, limit, sum)
}

// Read reads an object of at most limit bytes by its digest, whatever version it is. The error wraps [fs.ErrNotExist] if none is.
func Read(ctx context.Context, store worm.Store, key string, limit int64, sum commit.Hex32) ([]byte, error) {
	for v, err := range store.Versions(ctx, key, "") {
		if err != nil {
			return nil, err
		}
		if v.Key != key {
			break
		}
		if v.Deleted || v.Size > limit {
			continue
		}
		data, err := store.Read(ctx, key, v.ID, worm.Range{})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if sha256.Sum256(data) == sum {
			return bytes.Clone(data), nil
		}
	}
	return nil, fmt.Errorf("%s: %w, or it was changed", key, fs.ErrNotExist)
}

// Extend lengthens the locks of the packs that a record names, where that is due.
func (d *Depot) Extend(ctx context.Context, r *keyroot.Record, now time.Time) (failed error) {
	lock := d.cfg.Lock(PackLock)
	if lock.Mode == worm.LockNone {
		return nil
	}
	named := map[commit.Hex32]bool{}
	for _, p := range r.Packs {
		named[p.SHA256] = true
		if at, ok := d.extended[p.SHA256]; ok && now.Sub(at) < PackLock/3 {
			continue
		}
		key := Packs + p.SHA256.String()
		v, err := version(ctx, d.cfg.Store, key, p)
		if err == nil {
			err = d.cfg.Store.Extend(ctx, key, v, lock)
		}
		if err != nil { // the others must not lose theirs by it
			failed = errors.Join(failed, fmt.Errorf("lock of pack %d of the key store: %w", p.N, err))
			continue
		}
		d.extended[p.SHA256] = now
	}
	for sum := range d.extended {
		if !named[sum] {
			delete(d.extended, sum)
		}
	}
	return failed
}
