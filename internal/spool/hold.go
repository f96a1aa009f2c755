package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"

	"github.com/stelelog/stele/internal/durable"
)

// Hold is an exclusive claim on a lane that has ended. Nothing can be appended through it: positions that
// a reader saw, and that a crash took away, must not come back with other messages.
type Hold struct {
	Frames, Grants uint64 // positions behind the last message of each log
	Cut            int64  // bytes of unfinished writes that were cut off; they were never acknowledged

	lock *os.File
}

// OpenLane claims a lane whose writer is gone. If the writer left no end mark the lane is recovered first:
// an unfinished write is cut off the end of each log, the rest is brought to stable storage, and an end
// mark is made. Damage that no unfinished write explains is not touched: the error is an *Error with
// ErrDamaged that says where, and the lane stays as it is.
//
// The error wraps ErrBusy while another process, or another part of this one, holds the lane. Only the last file
// of each log is checked here; readers check all.
func (d *Dir) OpenLane(id [16]byte) (*Hold, error) {
	h := &Hold{}
	if err := d.locked(func() error { return h.claim(d, id) }); err != nil {
		return nil, err
	}
	if err := h.recover(d, id); err != nil {
		h.lock.Close()
		return nil, err
	}
	return h, nil
}

// Close gives up the claim.
func (h *Hold) Close() error { return h.lock.Close() }

func (h *Hold) claim(d *Dir, id [16]byte) error {
	lock, free, err := d.tryLane(id)
	if err != nil {
		return err
	}
	if !free {
		lock.Close()
		return &Error{Lane: id, Err: ErrBusy}
	}
	h.lock = lock
	return nil
}

func (h *Hold) recover(d *Dir, id [16]byte) error {
	durable.RemoveStale(d.lanePath(id), 0)
	l, err := d.list(id)
	if err != nil {
		return err
	}
	if l.ended {
		mark, err := d.readMark(id)
		if err != nil {
			return err
		}
		h.Frames, h.Grants = mark.Frames, mark.Grants
		return errors.Join(d.checkEnd(id, Grants, l, mark), d.checkEnd(id, Frames, l, mark))
	}
	// Both logs are looked at before either is touched.
	var tails [len(kinds)]tail
	for _, kind := range kinds {
		if tails[kind.index()], err = d.findTail(id, kind); err != nil {
			return err
		}
	}
	for _, t := range tails {
		cut, err := t.cut()
		if err != nil {
			return &Error{Lane: id, File: t.path, Offset: t.off, Err: fmt.Errorf("recover: %w", err)}
		}
		h.Cut += cut
	}
	h.Frames, h.Grants = tails[Frames.index()].end, tails[Grants.index()].end
	return d.mark(id, ends{h.Frames, h.Grants}, true)
}

// checkEnd holds the end mark, of which nothing else says whether it is what was written, against what is left of a log: what
// lies behind an end that is too low would be removed unread.
func (d *Dir) checkEnd(id [16]byte, kind Kind, l listing, mark endMark) error {
	files := l.files(kind)
	if len(files) == 0 {
		return nil // all of it was consumed
	}
	t, err := d.walk(id, kind, files[len(files)-1])
	if errors.Is(err, fs.ErrNotExist) {
		return nil // trimmed meanwhile
	}
	if end := mark.end(kind); err == nil && t.end != end {
		err = &Error{Lane: id, Kind: kind, File: d.markPath(id), Pos: t.end, Err: fmt.Errorf("%w: the lane was ended at %d", ErrDamaged, end)}
	}
	return err
}

// End returns the position behind the last message of a log. The lane may still be written.
func (d *Dir) End(lane [16]byte, kind Kind) (uint64, error) {
	if !kind.valid() {
		return 0, fmt.Errorf("spool: %w: %s", fs.ErrInvalid, kind)
	}
	l, err := d.list(lane)
	if err != nil {
		return 0, err
	}
	if l.ended {
		mark, err := d.readMark(lane)
		return mark.end(kind), err
	}
	t, err := d.findTail(lane, kind)
	return t.end, err
}

// tail is where the whole records of a log end that was not ended.
type tail struct {
	path string // last file of the log
	off  int64
	end  uint64
}

func (d *Dir) findTail(id [16]byte, kind Kind) (tail, error) {
	for {
		l, err := d.list(id)
		if err != nil {
			return tail{}, err
		}
		files := l.files(kind)
		if len(files) == 0 {
			return tail{}, &Error{Lane: id, Kind: kind, Err: fmt.Errorf("%w: the log has no file", ErrDamaged)}
		}
		t, err := d.walk(id, kind, files[len(files)-1])
		if !errors.Is(err, fs.ErrNotExist) {
			return t, err
		}
		// Trimmed meanwhile: the writer has gone on to another file.
	}
}

// walk goes to the end of the whole records in the file that begins at first.
func (d *Dir) walk(id [16]byte, kind Kind, first uint64) (tail, error) {
	var c cursor
	defer c.close()
	if err := c.open(d, id, kind, first); err != nil {
		return tail{}, err
	}
	found, err := c.skip(math.MaxUint64)
	if err != nil {
		return tail{}, err
	}
	torn, err := c.torn(found)
	if err == nil && !torn {
		err = c.fail(fmt.Errorf("%w: %s", ErrDamaged, found))
	}
	return tail{path: c.file.Name(), off: c.off, end: c.pos}, err
}

// cut removes what follows the whole records, and syncs the file also if that is nothing: the writer may
// have died before it did.
func (t tail) cut() (int64, error) {
	f, err := os.OpenFile(t.path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	cut := info.Size() - t.off
	if cut > 0 {
		if err := f.Truncate(t.off); err != nil {
			return 0, err
		}
	}
	return cut, f.Sync()
}
