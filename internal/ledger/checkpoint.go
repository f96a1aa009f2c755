package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/worm"
)

// CheckpointKeys are where the checkpoint of a size may lie: the second one if something else lies at the first.
func CheckpointKeys(size uint64, file []byte) [2]string {
	key := fmt.Sprintf("%s%020d", HeadsPrefix, size)
	return [2]string{key, fmt.Sprintf("%s.%x", key, sha256.Sum256(file))}
}

// checkpoint publishes the signed head of what was read, which has won because it was read. Requires mu.
func (c *Log) checkpoint(ctx context.Context, signer note.Signer) error {
	size := c.state.Size()
	if size == 0 || c.published == size {
		return nil
	}
	file, err := c.state.Checkpoint(signer)
	if err != nil {
		return err
	}
	for _, key := range CheckpointKeys(size, file) {
		_, err := c.store.Create(ctx, key, file, c.space.Lock())
		if errors.Is(err, fs.ErrExist) {
			ours := false // whoever made it signed the same head, which makes the same file
			if ours, err = c.holds(ctx, key, file); err == nil && !ours {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("checkpoint of the control log: %w", err)
		}
		c.published = size
		return nil
	}
	return fmt.Errorf("checkpoint of the control log: the places for size %d are taken by something else", size)
}

// holds reports whether a version of key is data.
func (c *Log) holds(ctx context.Context, key string, data []byte) (bool, error) {
	for v, err := range c.store.Versions(ctx, key, "") {
		if err != nil {
			return false, err
		}
		if v.Key != key {
			break
		}
		if v.Deleted || v.Size != int64(len(data)) {
			continue
		}
		have, err := c.store.Read(ctx, key, v.ID, worm.Range{})
		if err != nil && !errors.Is(err, fs.ErrNotExist) || bytes.Equal(have, data) {
			return err == nil, err
		}
	}
	return false, nil
}
