package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/ledger"
)

// mostNamed is how many objects of a kind are named in a report; the others are counted.
const mostNamed = 20

// checkpoints holds what lies in the place of the published heads of the control log against what was read of it. Whoever
// may write to the store can leave rubbish there: it is reported, and breaks nothing.
func (v *verifier) checkpoints(ctx context.Context) error {
	var all []worm.Version
	for at, err := range v.a.store.Versions(ctx, ledger.HeadsPrefix, "") {
		if err != nil {
			return err
		}
		all = append(all, at)
	}
	// The log may have grown since it was read.
	if err := v.a.control.Refresh(ctx); err != nil {
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
			v.r.fault(integrity, at.Key, "%v (what was read ends before %s)", err, v.a.control.Next())
		case size > 0:
			published[size] = true
		default:
			if rubbish++; rubbish <= mostNamed {
				v.r.notice(integrity, at.Key, "%v", err)
			}
			digits, _, _ := strings.Cut(strings.TrimPrefix(at.Key, ledger.HeadsPrefix), ".")
			if n, err := strconv.ParseUint(digits, 10, 64); err == nil && !at.Deleted {
				taken[n] = true
			}
		}
	}
	if rubbish > mostNamed {
		v.r.notice(integrity, ledger.HeadsPrefix, "squat: %d more objects there are no checkpoints", rubbish-mostNamed)
	}
	v.missingCheckpoints(published, taken)
	return ctx.Err()
}

// readCheckpoint judges one version. size is 0 for what is no checkpoint, or not where it should be, and err says so; else
// err says how it contradicts the log.
func (v *verifier) readCheckpoint(ctx context.Context, at worm.Version) (size uint64, err, readErr error) {
	switch {
	case at.Deleted:
		return 0, errors.New("marker: a delete marker"), nil
	case at.Size > ledger.MaxCheckpoint:
		return 0, fmt.Errorf("squat: %d bytes are too many for a checkpoint", at.Size), nil
	}
	file, readErr := v.a.store.Read(ctx, at.Key, at.ID, worm.Range{})
	if readErr != nil {
		return 0, nil, readErr
	}
	v.a.control.View(func(s *control.State) { size, err = s.CheckCheckpoint(file) })
	if keys := ledger.CheckpointKeys(size, file); err == nil && at.Key != keys[0] && at.Key != keys[1] {
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
		key := ledger.CheckpointKeys(size, nil)[0]
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
		v.r.fault(integrity, ledger.HeadsPrefix, "%d more checkpoints are gone or altered", gone-mostNamed)
	}
}
