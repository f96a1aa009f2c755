package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/objstore"
)

// Append puts entries into the log, those that are not in it yet, and returns when they are. signer holds the control key.
func (c *Log) Append(ctx context.Context, signer note.Signer, entries ...string) error {
	return c.append(ctx, signer, func(s *control.State) (fresh []string, err error) {
		for _, e := range entries {
			if !s.Has(e) && len(fresh) < maxBatch {
				fresh = append(fresh, e)
			}
		}
		return fresh, nil
	})
}

// AppendNext is Append of one entry about all that is in the log before it. Where another writer was faster, it is made anew; "" is none.
func (c *Log) AppendNext(ctx context.Context, signer note.Signer, next func(*control.State) (string, error)) error {
	entry := ""
	return c.append(ctx, signer, func(s *control.State) (fresh []string, err error) {
		if entry != "" && s.Has(entry) {
			return nil, nil
		}
		if entry, err = next(s); err != nil || entry == "" {
			return nil, err
		}
		return []string{entry}, nil
	})
}

// append puts what fresh returns into the log, until it returns nothing.
func (c *Log) append(ctx context.Context, signer note.Signer, fresh func(*control.State) ([]string, error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.checkKey(signer); err != nil {
		return err
	}
	for {
		if err := errors.Join(c.read(ctx), c.missing); err != nil {
			return err
		}
		if err := c.checkWhole(ctx); err != nil {
			return err
		}
		entries, err := fresh(c.state)
		if err != nil {
			return err
		}
		// Before the next object is made: verify misses a checkpoint that was published, and is gone.
		if err := c.checkpoint(ctx, signer); err != nil || len(entries) == 0 {
			return err
		}
		data, err := c.state.Build(c.tail, entries, time.Now(), signer)
		if err != nil {
			return err
		}
		if err := c.put(ctx, data); err != nil {
			return err
		}
	}
}

// checkKey refuses a key that is not the log's: every number that it signed for would be burnt, and the entries in none.
func (c *Log) checkKey(signer note.Signer) error {
	v, err := c.state.Trust.LogVerifier()
	if err == nil && (v.Name() != signer.Name() || v.KeyHash() != signer.KeyHash()) {
		err = errors.New("the key is not that of the trust file: is the role file an older one, or another archive's?")
	}
	if err != nil {
		return fmt.Errorf("control log: %w", err)
	}
	return nil
}

// checkWhole looks once, before this process adds anything, whether a checkpoint was published for more than there is:
// a log that was cut must not grow another end. Requires mu.
func (c *Log) checkWhole(ctx context.Context) error {
	if c.whole {
		return nil
	}
	for v, err := range c.store.Versions(ctx, HeadsPrefix, fmt.Sprintf("%s%020d", HeadsPrefix, c.state.Size())) {
		if err != nil {
			return err
		}
		file, err := c.store.Read(ctx, v.Key, v.ID, worm.Range{})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = c.read(ctx) // it may have grown since
		}
		if err != nil {
			return err
		}
		if size := c.state.Published(file); size > c.state.Size() {
			return fmt.Errorf("control log: it has %d entries, but %s says %d: it was cut", c.state.Size(), v.Key, size)
		}
	}
	c.whole = true
	return nil
}

// put tries to make data the next object until it is decided who won, or somebody must mend the store first. Requires mu.
func (c *Log) put(ctx context.Context, data []byte) error {
	err := objstore.Persist(ctx, func() error {
		_, err := chain.Append(ctx, c.space, c.tail, data)
		return err
	}, func(err error, _ time.Duration) bool { return !worm.Permanent(err) })
	if err != nil {
		return fmt.Errorf("control log: %w", err)
	}
	return nil
}
