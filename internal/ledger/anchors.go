package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"sort"
	"strconv"
	"strings"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/anchorlog"
)

// EachAnchored follows the records of an anchor in the store as far as they are valid. reject gets what lies beside them.
func EachAnchored(ctx context.Context, store worm.Store, vkey string, c *anchorlog.Chain, use func(key string, r anchorlog.Record, file []byte), reject func(key string, err error)) error {
	prefix := anchorlog.Prefix(vkey)
	for v, err := range store.Versions(ctx, prefix, "") {
		if err != nil {
			return err
		}
		digits, _, _ := strings.Cut(strings.TrimPrefix(v.Key, prefix), ".")
		n, err := strconv.ParseUint(digits, 10, 64)
		switch {
		case v.Deleted || v.Size > anchorlog.MaxRecord || err != nil || len(digits) != 20:
			reject(v.Key, errors.New("squat: no record of an anchor"))
			continue
		case n < c.Next:
			reject(v.Key, errors.New("squat: a later version"))
			continue
		}
		file, err := store.Read(ctx, v.Key, v.ID, worm.Range{})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		r, err := c.Add(file)
		if err != nil {
			reject(v.Key, fmt.Errorf("squat: %w", err))
			continue
		}
		use(v.Key, r, file)
	}
	return nil
}

// FirstAnchored is the first record of an anchor the head of which has at least size entries. It finds it by halves; where
// something that is no record lies among them, by reading all.
func FirstAnchored(ctx context.Context, store worm.Store, vkey string, c *anchorlog.Chain, size uint64) (r anchorlog.Record, found bool, err error) {
	var all []worm.Version
	for v, err := range store.Versions(ctx, anchorlog.Prefix(vkey), "") {
		if err != nil {
			return r, false, err
		}
		all = append(all, v)
	}
	rubbish := false
	at := sort.Search(len(all), func(i int) bool {
		_, head, bad := openAnchored(ctx, store, c, all[i])
		rubbish = rubbish || bad != nil
		return head >= size
	})
	if rubbish {
		at = 0
	}
	for ; at < len(all); at++ {
		if r, head, bad := openAnchored(ctx, store, c, all[at]); bad == nil && head >= size {
			return r, true, nil
		} else if ctx.Err() != nil {
			return r, false, ctx.Err()
		}
	}
	return r, false, nil
}

// openAnchored reads a record by itself, and the size of its head.
func openAnchored(ctx context.Context, store worm.Store, c *anchorlog.Chain, v worm.Version) (r anchorlog.Record, size uint64, err error) {
	if v.Deleted || v.Size > anchorlog.MaxRecord {
		return r, 0, errors.New("squat: no record of an anchor")
	}
	file, err := store.Read(ctx, v.Key, v.ID, worm.Range{})
	if err != nil {
		return r, 0, err
	}
	r, _, head, err := c.Open(file)
	return r, head.Size, err
}

// KeepAnchored puts a record into the store, under a second name if something else lies in its place.
func (c *Log) KeepAnchored(ctx context.Context, vkey string, n uint64, file []byte) error {
	key := fmt.Sprintf("%s%020d", anchorlog.Prefix(vkey), n)
	for _, key := range []string{key, fmt.Sprintf("%s.%x", key, sha256.Sum256(file))} {
		_, err := c.store.Create(ctx, key, file, c.lockBeside())
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if ours, err := c.holds(ctx, key, file); err != nil || ours {
			return err
		}
	}
	return fmt.Errorf("anchor: the places of record %d are taken by something else", n)
}

// PublishedAt is the signed head of a size that the store holds, nil if there is none.
func (c *Log) PublishedAt(ctx context.Context, size uint64) ([]byte, error) {
	file, _, err := c.publishedAt(ctx, size)
	return file, err
}
