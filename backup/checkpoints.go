package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/control"
)

// maxCheckpoint bounds a file that can be a checkpoint, in bytes.
const maxCheckpoint = 64 << 10

// mostNamed is how many objects of a kind are named in a report; the others are counted.
const mostNamed = 20

// checkpointKeys are where the checkpoint of a size may lie: the second one if something else lies at the first.
func checkpointKeys(size uint64, file []byte) [2]string {
	key := fmt.Sprintf("%s%020d", headsPrefix, size)
	return [2]string{key, fmt.Sprintf("%s.%x", key, sha256.Sum256(file))}
}

// checkpoint publishes the signed head of what was read, which has won because it was read. Requires mu.
func (c *controlLog) checkpoint(ctx context.Context, signer note.Signer) error {
	size := c.state.Size()
	if size == 0 || c.published == size {
		return nil
	}
	file, err := c.state.Checkpoint(signer)
	if err != nil {
		return err
	}
	for _, key := range checkpointKeys(size, file) {
		_, err := c.store.Create(ctx, key, file, c.space.lock())
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
func (c *controlLog) holds(ctx context.Context, key string, data []byte) (bool, error) {
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
		have, err := c.store.Read(ctx, key, v.ID, Range{})
		if err != nil && !errors.Is(err, fs.ErrNotExist) || bytes.Equal(have, data) {
			return err == nil, err
		}
	}
	return false, nil
}

// checkpoints holds what lies in the place of the published heads of the control log against what was read of it. Whoever
// may write to the store can leave rubbish there: it is reported, and breaks nothing.
func (v *verifier) checkpoints(ctx context.Context) error {
	var all []Version
	for at, err := range v.a.store.Versions(ctx, headsPrefix, "") {
		if err != nil {
			return err
		}
		all = append(all, at)
	}
	// The log may have grown since it was read.
	if err := v.a.control.refresh(ctx); err != nil {
		return err
	}
	published, taken := map[uint64]bool{}, map[uint64]bool{}
	rubbish := 0
	for _, at := range all {
		size, err, readErr := v.readCheckpoint(ctx, at)
		switch {
		case errors.Is(readErr, fs.ErrNotExist):
		case readErr != nil:
			return readErr
		case size > 0 && err != nil:
			v.r.fault(integrity, at.Key, "%v (what was read ends before %s)", err, v.a.control.next())
		case size > 0:
			published[size] = true
		default:
			if rubbish++; rubbish <= mostNamed {
				v.r.notice(integrity, at.Key, "%v", err)
			}
			digits, _, _ := strings.Cut(strings.TrimPrefix(at.Key, headsPrefix), ".")
			if n, err := strconv.ParseUint(digits, 10, 64); err == nil && !at.Deleted {
				taken[n] = true
			}
		}
	}
	if rubbish > mostNamed {
		v.r.notice(integrity, headsPrefix, "squat: %d more objects there are no checkpoints", rubbish-mostNamed)
	}
	v.missingCheckpoints(published, taken)
	return ctx.Err()
}

// readCheckpoint judges one version. size is 0 for what is no checkpoint, or not where it should be, and err says so; else
// err says how it contradicts the log.
func (v *verifier) readCheckpoint(ctx context.Context, at Version) (size uint64, err, readErr error) {
	switch {
	case at.Deleted:
		return 0, errors.New("marker: a delete marker"), nil
	case at.Size > maxCheckpoint:
		return 0, fmt.Errorf("squat: %d bytes are too many for a checkpoint", at.Size), nil
	}
	file, readErr := v.a.store.Read(ctx, at.Key, at.ID, Range{})
	if readErr != nil {
		return 0, nil, readErr
	}
	v.a.control.view(func(s *control.State) { size, err = s.CheckCheckpoint(file) })
	if keys := checkpointKeys(size, file); err == nil && at.Key != keys[0] && at.Key != keys[1] {
		size, err = 0, fmt.Errorf("this is the checkpoint of size %d, in the wrong place", size)
	}
	if size == 0 {
		err = fmt.Errorf("squat: %w", err)
	}
	return size, err, nil
}

// missingCheckpoints reports those that were published and are gone: each object but the newest was followed by another
// only when its checkpoint was in the store.
func (v *verifier) missingCheckpoints(published, taken map[uint64]bool) {
	gone := 0
	for i, size := range v.a.ends {
		key := checkpointKeys(size, nil)[0]
		switch newest := i == len(v.a.ends)-1; {
		case published[size]:
		case !newest:
			if gone++; gone <= mostNamed {
				v.r.fault(integrity, key, "the checkpoint of size %d is gone or altered: it was there when the log went on", size)
			}
		case taken[size]:
			v.r.fault(integrity, key, "something else lies in the place of the newest checkpoint, which is nowhere: it was altered, "+
				"or its author died before it was published; a running compactor publishes it anew")
		}
	}
	if gone > mostNamed {
		v.r.fault(integrity, headsPrefix, "%d more checkpoints are gone or altered", gone-mostNamed)
	}
}
