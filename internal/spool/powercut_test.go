package spool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// unsure is a disk that has what was synced, and of the rest what it likes.
type unsure struct {
	t       *rapid.T
	d       *Dir
	w       *Writer
	files   map[Kind][]*unsureFile
	want    map[Kind][][]byte
	acked   map[Kind]int
	trimmed map[Kind]uint64
	failing string // what fails next: "write", "short write", "sync"
	failed  error
}

type unsureFile struct {
	logFile
	u       *unsure
	written int64
	synced  int64
	dropped [][2]int64 // by the kernel, after a sync that failed: a later one says nothing of it
}

func (f *unsureFile) Write(b []byte) (int, error) {
	n, fails := len(b), f.u.failing
	if fails == "write" {
		n = 0
	} else if fails == "short write" {
		n = rapid.IntRange(0, n-1).Draw(f.u.t, "written")
	}
	n, err := f.logFile.Write(b[:n])
	f.written += int64(n)
	if err == nil && n < len(b) {
		f.u.failing, err = "", syscall.ENOSPC
	}
	return n, err
}

// Sync that fails has written nothing, and the next one would say that all is well.
func (f *unsureFile) Sync() error {
	if f.u.failing == "sync" {
		f.u.failing = ""
		f.dropped = append(f.dropped, [2]int64{f.synced, f.written})
		return syscall.EIO
	}
	f.synced = f.written
	return f.logFile.Sync()
}

func (u *unsure) begin(dir string) {
	var err error
	backward := clock
	now := func() time.Time { backward = backward.Add(-time.Hour); return backward }
	if u.d, err = Open(dir, Options{FileBytes: 300, Now: now}); err != nil {
		u.t.Fatal(err)
	}
	u.files, u.want, u.acked, u.trimmed = map[Kind][]*unsureFile{}, map[Kind][][]byte{}, map[Kind]int{}, map[Kind]uint64{}
	u.d.wrap = func(kind Kind, f logFile) logFile {
		for _, before := range u.files[kind] {
			if before.synced != before.written {
				u.t.Fatal("a file was made before the one before it was on the disk")
			}
		}
		made := &unsureFile{logFile: f, u: u, written: fileHeader, synced: fileHeader}
		u.files[kind] = append(u.files[kind], made)
		return made
	}
	if u.w, err = u.d.CreateLane(laneA); err != nil {
		u.t.Fatal(err)
	}
}

func (u *unsure) ends(err error) {
	if u.failed != nil && !errors.Is(err, u.failed) {
		u.t.Fatalf("%v after %v", err, u.failed)
	}
	u.failed = err
}

func (u *unsure) append(t *rapid.T) {
	kind := rapid.SampledFrom(kinds[:]).Draw(t, "kind")
	batch := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 700), 1, 4).Draw(t, "batch")
	u.t = t
	_, err := u.w.Append(kind, batch...)
	if u.failed == nil {
		u.want[kind] = append(u.want[kind], batch...) // some of it may be there also where it failed
	}
	u.ends(err)
}

func (u *unsure) sync(t *rapid.T) {
	u.t = t
	err := u.w.Sync(context.Background())
	if u.ends(err); err == nil {
		for _, kind := range kinds {
			u.acked[kind] = len(u.want[kind])
		}
	}
}

func (u *unsure) fail(t *rapid.T) {
	u.failing = rapid.SampledFrom([]string{"write", "short write", "sync"}).Draw(t, "fails")
}

func (u *unsure) trim(t *rapid.T) {
	kind := rapid.SampledFrom(kinds[:]).Draw(t, "kind")
	before := rapid.Uint64Range(0, uint64(u.acked[kind])).Draw(t, "before")
	if err := u.d.Trim(laneA, kind, before); err != nil {
		t.Fatal(err)
	}
	u.trimmed[kind] = max(u.trimmed[kind], before)
}

// cut leaves of the last file of a log what was synced, and of the rest some, or a length without content.
func (u *unsure) cut(t *rapid.T, kind Kind) {
	f := u.files[kind][len(u.files[kind])-1]
	l, err := u.d.list(laneA)
	if err != nil {
		t.Fatal(err)
	}
	path := u.d.filePath(laneA, kind, l.files(kind)[len(l.files(kind))-1])
	data, err := os.ReadFile(path)
	if err != nil || int64(len(data)) != f.written {
		t.Fatalf("%d bytes of %d: %v", len(data), f.written, err)
	}
	size := rapid.Int64Range(f.synced, f.written).Draw(t, "size")
	block := rapid.Int64Range(f.synced/sector, size/sector).Draw(t, "block")
	clear(data[min(size, max(f.synced, block*sector)):])
	for _, d := range f.dropped {
		clear(data[d[0]:d[1]])
	}
	if err := os.WriteFile(path, data[:size], fileMode); err != nil {
		t.Fatal(err)
	}
}

// TestPowerCut: whatever of what was not synced reached the disk, and whatever failed before, a lane can be recovered, and all is
// there that was acknowledged, and nothing else than what was appended.
func TestPowerCut(t *testing.T) {
	root := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		u := &unsure{t: t}
		u.begin(filepath.Join(dir, "spool"))
		t.Repeat(map[string]func(*rapid.T){"append": u.append, "append too": u.append, "sync": u.sync, "trim": u.trim, "fail": u.fail})
		crash(u.w)
		for _, kind := range kinds {
			u.cut(t, kind)
		}
		again, err := Open(u.d.path, Options{MustExist: true})
		if err != nil {
			t.Fatal(err)
		}
		h, err := again.OpenLane(laneA)
		if err != nil {
			t.Fatal(err)
		}
		h.Close()
		for _, kind := range kinds {
			u.readAll(t, again, kind, map[Kind]uint64{Frames: h.Frames, Grants: h.Grants}[kind])
		}
	})
}

func (u *unsure) readAll(t *rapid.T, d *Dir, kind Kind, end uint64) {
	if end < uint64(u.acked[kind]) || end > uint64(len(u.want[kind])) {
		t.Fatalf("%s: %d recovered, %d acknowledged of %d", kind, end, u.acked[kind], len(u.want[kind]))
	}
	r := d.Reader(laneA, kind)
	defer r.Close()
	at := uint64(0)
	for {
		messages, err := r.Read(at, 0)
		var e *Error
		if errors.As(err, &e) && errors.Is(err, ErrPosition) && e.First > at && e.First <= u.trimmed[kind] {
			at = e.First
			continue
		}
		if err == io.EOF && at == end {
			return
		}
		if err != nil || len(messages) == 0 {
			t.Fatalf("%s: at %d of %d: %v", kind, at, end, err)
		}
		for _, m := range messages {
			if !bytes.Equal(m.Payload, u.want[kind][m.Pos]) {
				t.Fatalf("%s: message %d is another", kind, m.Pos)
			}
		}
		at += uint64(len(messages))
	}
}
