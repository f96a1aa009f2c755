package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Trim deletes files of a log that hold only messages below position before, the oldest first. The last
// file of a log stays unless the lane has ended and before is its end or higher. When Trim returns nil
// the deletions are durable. The caller must not need those messages again.
func (d *Dir) Trim(lane [16]byte, kind Kind, before uint64) error {
	if !kind.valid() {
		return fmt.Errorf("spool: %w: %s", fs.ErrInvalid, kind)
	}
	l, err := d.list(lane)
	if err != nil {
		return err
	}
	files := l.files(kind)
	n := 0
	for n+1 < len(files) && files[n+1] <= before {
		n++
	}
	if l.ended && n+1 == len(files) {
		mark, err := d.readMark(lane)
		if err != nil {
			return err
		}
		if mark.end(kind) <= before {
			if err := d.checkEnd(lane, kind, l, mark); err != nil {
				return err
			}
			n++
		}
	}
	if n == 0 {
		return nil
	}
	for _, first := range files[:n] {
		if err := d.deleteFile(d.filePath(lane, kind, first)); err != nil {
			return &Error{Lane: lane, Kind: kind, Pos: first, Err: fmt.Errorf("trim: %w", err)}
		}
	}
	if err := d.durable.SyncDir(d.lanePath(lane)); err != nil {
		return &Error{Lane: lane, Kind: kind, Pos: before, Err: fmt.Errorf("trim: %w", err)}
	}
	return nil
}

func (d *Dir) deleteFile(path string) error {
	info, err := os.Stat(path)
	if err == nil {
		err = d.quota.release(info.Size(), func() error { return os.Remove(path) })
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody else trims too
	}
	return err
}

// Remove deletes a lane that has ended and whose logs were trimmed to their ends. The error wraps ErrBusy
// if that is not so, or if somebody holds the lane.
func (d *Dir) Remove(lane [16]byte) error {
	return d.locked(func() error {
		var h Hold
		if err := h.claim(d, lane); err != nil {
			return err
		}
		defer h.Close()
		l, err := d.list(lane)
		if err != nil {
			return err
		}
		if !l.ended || len(l.frames)+len(l.grants) > 0 {
			return &Error{Lane: lane, Err: fmt.Errorf("%w: not ended, or messages are left", ErrBusy)}
		}
		path := d.lanePath(lane)
		gone := filepath.Join(d.lanesPath(), ".old-"+filepath.Base(path))
		if err := os.Rename(path, gone); err != nil {
			return &Error{Lane: lane, Err: fmt.Errorf("remove: %w", err)}
		}
		if err := errors.Join(os.RemoveAll(gone), d.durable.SyncDir(d.lanesPath())); err != nil {
			return &Error{Lane: lane, Err: fmt.Errorf("remove: %w", err)}
		}
		return nil
	})
}
