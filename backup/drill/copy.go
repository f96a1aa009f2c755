package drill

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
)

// keysPrefix is where an archive keeps its key store.
const keysPrefix = "keys/"

// copyArchive waits for the canary to be in the archive, and copies what a backup would have: the key store whole, and of
// the rest what has to be read for the sample. So the copy holds what is read from it later, and nothing else is needed.
func (d *drill) copyArchive(ctx context.Context) error {
	if d.state.Copied != nil {
		return nil
	}
	dst, err := d.copied()
	if err != nil {
		return err
	}
	err = d.patiently(ctx, func() (*WaitingError, error) {
		archive, err := backup.OpenArchive(ctx, &copying{Store: d.cfg.Store, to: dst}, d.cfg.Trust)
		if err != nil {
			return nil, err
		}
		r, err := archive.Unlock(d.cfg.Reader, d.cfg.Keys)
		if err != nil {
			return nil, err
		}
		found, err := d.canaries(ctx, r)
		if err != nil || found < d.state.Canaries {
			return &WaitingError{"commit", "a compactor and the key service must take the canary into the archive"}, err
		}
		if err := copyKeys(ctx, d.cfg.Store, dst); err != nil {
			return nil, fmt.Errorf("copying the key store: %w", err)
		}
		return nil, d.sample(ctx, r)
	})
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	d.state.Copied = &now
	return d.save()
}

// canaries counts the records of the canary that open.
func (d *drill) canaries(ctx context.Context, r *backup.Reader) (n int, err error) {
	for f, err := range r.Records(ctx, backup.Query{Subject: d.state.Subject}) {
		var one *backup.RecordError
		if errors.As(err, &one) {
			continue
		}
		if err != nil {
			return n, err
		}
		if !f.Erased && f.Session == d.state.Session {
			n++
		}
	}
	return n, nil
}

// sample reads what there is, the newest first, until it has enough, and remembers each record that opens.
func (d *drill) sample(ctx context.Context, r *backup.Reader) error {
	d.state.Read, d.state.All = nil, false
	var until time.Time
	for span := time.Hour; !d.state.All; span *= 8 {
		q := backup.Query{Since: time.Now().Add(-span), Until: until}
		if span > 100*365*24*time.Hour {
			q.Since, d.state.All = time.Time{}, true
		}
		for f, err := range r.Records(ctx, q) {
			var one *backup.RecordError
			switch {
			case errors.As(err, &one):
				return fmt.Errorf("before anything was erased, a record does not open: %w. 'stele verify --unlock' says more", err)
			case err != nil:
				return err
			case f.Erased || f.Expired:
				continue
			}
			d.state.Read = append(d.state.Read, readRecord{commit.Hex16(f.ID), digest(&f), f.Subject == d.state.Subject})
		}
		d.state.Since, until = q.Since, q.Since
		if d.cfg.Sample > 0 && len(d.state.Read) >= d.cfg.Sample {
			break
		}
	}
	return nil
}

// digest stands for all that a record says.
func digest(f *backup.Found) commit.Hex32 {
	line, err := json.Marshal(&f.Record)
	if err != nil {
		panic(err) // it holds text, numbers and bytes
	}
	return sha256.Sum256(line)
}

// copyKeys copies the key store, all that it ever was.
func copyKeys(ctx context.Context, from, to worm.Store) error {
	for v, err := range from.Versions(ctx, keysPrefix, "") {
		if err != nil {
			return err
		}
		if v.Deleted {
			continue
		}
		data, err := from.Read(ctx, v.Key, v.ID, worm.Range{})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = keep(ctx, to, v.Key, data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func keep(ctx context.Context, to worm.Store, key string, data []byte) error {
	_, err := to.Create(ctx, key, data, worm.Lock{Mode: worm.LockNone})
	if errors.Is(err, fs.ErrExist) {
		return nil // the oldest version counts, and comes first
	}
	return err
}

// copying is a store that copies each object that is read, whole.
type copying struct {
	worm.Store
	to   worm.Store
	mu   sync.Mutex // guards last: parts of one object are read one after the other
	last struct {
		key, id string
		data    []byte
	}
}

// Read implements worm.Store.
func (c *copying) Read(ctx context.Context, key, id string, r worm.Range) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last.data == nil || c.last.key != key || c.last.id != id {
		data, err := c.Store.Read(ctx, key, id, worm.Range{})
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(key, keysPrefix) {
			if err := keep(ctx, c.to, key, data); err != nil {
				return nil, fmt.Errorf("copying %s: %w", key, err)
			}
		}
		c.last.key, c.last.id, c.last.data = key, id, data
	}
	if r == (worm.Range{}) {
		return append([]byte{}, c.last.data...), nil
	}
	if r.Off < 0 || r.Len < 0 || r.Off > int64(len(c.last.data)) || r.Len > int64(len(c.last.data))-r.Off {
		return nil, fmt.Errorf("%s: range %+v is not inside the object", key, r)
	}
	return append([]byte{}, c.last.data[r.Off:r.Off+r.Len]...), nil
}
