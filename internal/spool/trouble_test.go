package spool

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/flock"
)

// TestGoneUnderTheWriter: what no reader can find any more is not acknowledged.
func TestGoneUnderTheWriter(t *testing.T) {
	for name, do := range map[string]func(d *Dir, log string) error{
		"the spool is removed": func(d *Dir, _ string) error { return os.RemoveAll(d.path) },
		"lanes are moved":      func(d *Dir, _ string) error { return os.Rename(d.lanesPath(), d.lanesPath()+".away") },
		"the file is removed":  func(_ *Dir, log string) error { return os.Remove(log) },
		"the file is replaced": func(_ *Dir, log string) error {
			data, err := os.ReadFile(log)
			return errors.Join(err, os.Remove(log), os.WriteFile(log, data, 0o600))
		},
	} {
		for _, rotated := range []bool{false, true} {
			d := open(t, Options{FileBytes: 100})
			w := create(t, d, laneA)
			last := uint64(0)
			if rotated {
				appendTexts(t, w, Frames, 0, 5)
				l, err := d.list(laneA)
				check0(t, err)
				last = l.frames[len(l.frames)-1]
			}
			check0(t, w.Sync(context.Background()))
			check0(t, do(d, d.filePath(laneA, Frames, last)))
			w.dir.fileBytes = 1 << 20 // the next one goes into the same file
			_, err := w.Append(Frames, []byte("x"))
			if err == nil {
				err = w.Sync(context.Background())
			}
			if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "frames") {
				t.Errorf("%s, rotated %v: acknowledged with %v", name, rotated, err)
			}
			if again := w.Close(); again != err {
				t.Errorf("%s: Close: %v after %v", name, again, err)
			}
		}
	}
}

// TestLockHeldForLong: a process that is stopped with the lock of the directory keeps nobody waiting for ever.
func TestLockHeldForLong(t *testing.T) {
	d := open(t, Options{})
	d.wait = 20 * time.Millisecond
	check0(t, create(t, d, laneA).Close())
	lock, err := openLock(filepath.Join(d.path, lockName))
	check0(t, err)
	defer lock.Close()
	check0(t, flock.Wait(lock))
	for name, do := range map[string]func() error{
		"Open":       func() error { _, err := Open(d.path, Options{Wait: 20 * time.Millisecond}); return err },
		"Lanes":      func() error { _, err := d.Lanes(); return err },
		"CreateLane": func() error { _, err := d.CreateLane(laneB); return err },
		"OpenLane":   func() error { _, err := d.OpenLane(laneA); return err },
		"Remove":     func() error { return d.Remove(laneA) },
	} {
		done := make(chan error, 1)
		go func() { done <- do() }()
		select {
		case err := <-done:
			if err == nil || !strings.Contains(err.Error(), lock.Name()) || errors.Is(err, ErrBusy) {
				t.Errorf("%s: %v, want an error that names %s", name, err, lock.Name())
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s waits", name)
		}
	}
	if n, err := d.Bytes(laneA); err != nil || n != 2*fileHeader {
		t.Errorf("%d bytes, %v: to look at sizes takes no lock", n, err)
	}
}

// spoilt spoils the last file of frames of a lane, in ways that are no damage of bytes.
var spoilt = map[string]func(lane, log string) error{
	"a folder for a file": func(_, log string) error { return errors.Join(os.Remove(log), os.Mkdir(log, 0o700)) },
	"an error of the disk": func(_, log string) error { // as what is mapped nowhere has it
		return errors.Join(os.Remove(log), os.Symlink("/proc/self/mem", log))
	},
	"a file for a lane": func(lane, _ string) error { return errors.Join(os.RemoveAll(lane), os.WriteFile(lane, nil, 0o600)) },
}

// TestUnreadableLane: a lane that cannot be read is damaged, and keeps nobody from the others.
func TestUnreadableLane(t *testing.T) {
	for name, spoil := range spoilt {
		if _, err := os.Stat("/proc/self/mem"); err != nil && strings.Contains(name, "disk") {
			t.Logf("%s: not here (%v)", name, err)
			continue
		}
		d := open(t, Options{})
		for _, id := range [][16]byte{laneA, laneB} {
			w := create(t, d, id)
			appendTexts(t, w, Frames, 0, 3)
			check0(t, w.Sync(context.Background()))
			crash(w)
		}
		check0(t, spoil(d.lanePath(laneA), d.filePath(laneA, Frames, 0)))
		lanes, err := d.Lanes()
		if err != nil || len(lanes) != 2 || lanes[1].ID != laneB || lanes[1].Held {
			t.Errorf("%s: lanes %+v, %v", name, lanes, err)
		}
		_, read := d.Reader(laneA, Frames).Read(0, 0)
		_, end := d.End(laneA, Frames)
		_, claim := d.OpenLane(laneA)
		for what, err := range map[string]error{"Read": read, "End": end, "OpenLane": claim} {
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), hex.EncodeToString(laneA[:])) {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		if strings.Contains(name, "disk") && !errors.Is(read, syscall.EIO) {
			t.Errorf("%s: %v", name, read)
		}
		h, err := d.OpenLane(laneB)
		if err != nil || h.Frames != 3 {
			t.Errorf("%s: the other lane: %+v, %v", name, h, err)
		} else {
			h.Close()
		}
		if _, err := Open(d.path, Options{MaxBytes: 1 << 20}); err != nil {
			t.Errorf("%s: Open: %v", name, err)
		}
		w, err := d.CreateLane([16]byte{3})
		check0(t, err)
		check0(t, w.Close())
	}
}

// TestEveryBitFlipOfTheMark: whatever end.json has become, a consumer that believes it removes nothing that it has not read.
func TestEveryBitFlipOfTheMark(t *testing.T) {
	d := open(t, Options{})
	w := create(t, d, laneA)
	appendTexts(t, w, Frames, 0, 13)
	appendTexts(t, w, Grants, 0, 7)
	check0(t, w.Close())
	good := mustRead(t, d.markPath(laneA))
	told := 0
	for bit := range 8 * len(good) {
		bad := append([]byte(nil), good...)
		bad[bit/8] ^= 1 << (bit % 8)
		check0(t, os.WriteFile(d.markPath(laneA), bad, 0o600))
		h, err := d.OpenLane(laneA)
		if err == nil {
			if h.Frames != 13 || h.Grants != 7 {
				t.Errorf("%s: the lane has %d frames and %d grants", bad, h.Frames, h.Grants)
			}
			check0(t, h.Close())
		} else if told++; !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", bad, err)
		}
		for _, kind := range kinds {
			end, err := d.End(laneA, kind)
			if err != nil && !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: End: %v", bad, err)
			}
			if real := map[Kind]uint64{Frames: 13, Grants: 7}[kind]; err == nil && end < real {
				if err := d.Trim(laneA, kind, end); !errors.Is(err, ErrDamaged) {
					t.Errorf("%s: trimmed to %d of %d %s: %v", bad, end, real, kind, err)
				}
			}
		}
		l, err := d.list(laneA)
		check0(t, err)
		if len(l.frames) != 1 || len(l.grants) != 1 {
			t.Fatalf("%s: files were removed: %+v", bad, l)
		}
	}
	if told < 4*len(good) {
		t.Errorf("%d of %d flipped bits were seen", told, 8*len(good))
	}
}
