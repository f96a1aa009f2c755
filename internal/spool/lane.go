package spool

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stelelog/stele/internal/flock"
)

// Lane is the state of one lane at the time of [Dir.Lanes]. A lane that is neither Held nor Ended is an
// orphan: its writer died, and nothing will be appended.
type Lane struct {
	ID         [16]byte
	Held       bool  // a process holds the lock: the writer, or after the end whoever claimed it
	Ended      bool  // has an end mark: nothing will be appended any more
	FrameBytes int64 // size of the log files
	GrantBytes int64
}

// Lanes returns all lanes, in the order of their ids.
func (d *Dir) Lanes() ([]Lane, error) {
	var lanes []Lane
	err := d.locked(func() (err error) {
		lanes, err = d.lanes(true)
		return err
	})
	return lanes, err
}

// Bytes is the size of the log files of a lane. It takes no lock.
func (d *Dir) Bytes(lane [16]byte) (int64, error) {
	l, err := d.lane(lane, false)
	return l.FrameBytes + l.GrantBytes, err
}

// bytes returns the size of all log files.
func (d *Dir) bytes() (int64, error) {
	lanes, err := d.lanes(false)
	var sum int64
	for _, l := range lanes {
		sum += l.FrameBytes + l.GrantBytes
	}
	return sum, err
}

// lanes lists the lanes. Held is filled in only with probe, for which the directory must be locked: a
// probe holds the lock of the lane for a moment.
func (d *Dir) lanes(probe bool) ([]Lane, error) {
	entries, err := os.ReadDir(d.lanesPath())
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	var lanes []Lane
	for _, e := range entries {
		id, err := parseID(e.Name())
		if err != nil {
			continue // being made or removed, or not ours
		}
		lane, err := d.lane(id, probe)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil && !errors.Is(err, ErrDamaged) { // whoever reads it meets the damage
			return nil, err
		}
		lanes = append(lanes, lane)
	}
	return lanes, nil
}

func (d *Dir) lane(id [16]byte, probe bool) (Lane, error) {
	lane := Lane{ID: id}
	// The lock goes first: a writer makes its end mark before it lets go.
	if probe {
		lock, free, err := d.tryLane(id)
		if err != nil {
			return lane, err
		}
		lock.Close()
		lane.Held = !free
	}
	l, err := d.list(id)
	if err != nil {
		return lane, err
	}
	lane.Ended = l.ended
	lane.FrameBytes, err = d.logBytes(id, Frames, l)
	if err != nil {
		return lane, err
	}
	lane.GrantBytes, err = d.logBytes(id, Grants, l)
	return lane, err
}

// tryLane opens the lock of a lane and takes it if it is free. The caller closes the file in any case.
func (d *Dir) tryLane(id [16]byte) (lock *os.File, free bool, err error) {
	lock, err = openLock(filepath.Join(d.lanePath(id), lockName))
	if err != nil {
		return nil, false, &Error{Lane: id, Err: unreadable(err)}
	}
	free, err = flock.Try(lock)
	if err != nil {
		lock.Close()
		return nil, false, &Error{Lane: id, Err: err}
	}
	return lock, free, nil
}

// listing is what the directory of a lane holds.
type listing struct {
	frames, grants []uint64 // first positions of the files, ascending
	ended          bool
}

func (l *listing) files(kind Kind) []uint64 {
	if kind == Frames {
		return l.frames
	}
	return l.grants
}

func (d *Dir) list(id [16]byte) (listing, error) {
	var l listing
	entries, err := os.ReadDir(d.lanePath(id)) // sorted, and so are the 20-digit positions
	if err != nil {
		return l, &Error{Lane: id, Err: unreadable(err)}
	}
	for _, e := range entries {
		if e.Name() == markName {
			l.ended = true
		} else if first, ok := parseFileName(e.Name(), Frames); ok {
			l.frames = append(l.frames, first)
		} else if first, ok := parseFileName(e.Name(), Grants); ok {
			l.grants = append(l.grants, first)
		}
	}
	return l, nil
}

func (d *Dir) logBytes(id [16]byte, kind Kind, l listing) (int64, error) {
	var sum int64
	for _, first := range l.files(kind) {
		info, err := os.Stat(d.filePath(id, kind, first))
		if errors.Is(err, fs.ErrNotExist) {
			continue // trimmed meanwhile
		}
		if err != nil {
			return 0, &Error{Lane: id, Kind: kind, Pos: first, Err: unreadable(err)}
		}
		sum += info.Size()
	}
	return sum, nil
}

func fileName(kind Kind, first uint64) string { return fmt.Sprintf("%s-%020d.log", kind, first) }

func (d *Dir) filePath(id [16]byte, kind Kind, first uint64) string {
	return filepath.Join(d.lanePath(id), fileName(kind, first))
}

func parseFileName(name string, kind Kind) (first uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, kind.String()+"-")
	if !ok {
		return 0, false
	}
	digits, ok = strings.CutSuffix(digits, ".log")
	if !ok || len(digits) != 20 {
		return 0, false
	}
	first, err := strconv.ParseUint(digits, 10, 64)
	return first, err == nil
}

const (
	markFormat = "lane-end/v1"
	markName   = "end.json"
)

// endMark is the content of the file that ends a lane.
type endMark struct {
	Stele     string `json:"stele"`
	Lane      string `json:"lane"`
	Frames    uint64 `json:"frames"`
	Grants    uint64 `json:"grants"`
	Recovered bool   `json:"recovered,omitempty"`
}

func (m *endMark) end(kind Kind) uint64 {
	if kind == Frames {
		return m.Frames
	}
	return m.Grants
}

func (d *Dir) markPath(id [16]byte) string { return filepath.Join(d.lanePath(id), markName) }

func (d *Dir) readMark(id [16]byte) (endMark, error) {
	var m endMark
	path := d.markPath(id)
	if err := readJSON(path, &m); err != nil {
		return m, &Error{Lane: id, File: path, Err: unreadable(err)}
	}
	if m.Stele != markFormat || m.Lane != hex.EncodeToString(id[:]) {
		return m, &Error{Lane: id, File: path, Err: fmt.Errorf("%w: format %q of lane %s, want %q of this lane", ErrDamaged, m.Stele, m.Lane, markFormat)}
	}
	return m, nil
}
