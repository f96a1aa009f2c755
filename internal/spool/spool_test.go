package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	laneA = [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	laneB = [16]byte{0xbb}
	clock = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
)

func fixedClock() time.Time { return clock }

func open(t testing.TB, opts Options) *Dir {
	t.Helper()
	if opts.Now == nil {
		opts.Now = fixedClock
	}
	d, err := Open(t.TempDir(), opts)
	check0(t, err)
	return d
}

func create(t testing.TB, d *Dir, id [16]byte) *Writer {
	t.Helper()
	w, err := d.CreateLane(id)
	check0(t, err)
	t.Cleanup(func() { w.Close() })
	return w
}

func check0(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// crash lets go of everything as the death of the process would.
func crash(w *Writer) {
	w.mu.Lock()
	w.err = errors.New("crashed")
	w.mu.Unlock()
	w.Close()
}

// text is a message that can be recognised; its length varies with i.
func text(i uint64) []byte {
	return append(binary.BigEndian.AppendUint64(nil, i+1), bytes.Repeat([]byte{byte(i) | 1}, int(i*37%200))...)
}

func appendTexts(t testing.TB, w *Writer, kind Kind, from, to uint64) {
	t.Helper()
	for i := from; i < to; i++ {
		pos, err := w.Append(kind, text(i))
		check0(t, err)
		if pos != i {
			t.Fatalf("append got position %d, want %d", pos, i)
		}
	}
}

// readTexts reads from position from until there is nothing yet or an error, checks all that it gets, and
// returns the next position.
func readTexts(t testing.TB, r *Reader, from uint64, maxBytes int) (uint64, error) {
	t.Helper()
	for {
		messages, err := r.Read(from, maxBytes)
		if err != nil || len(messages) == 0 {
			return from, err
		}
		for _, m := range messages {
			if m.Pos != from || !bytes.Equal(m.Payload, text(from)) {
				t.Fatalf("position %d: got %d, %q", from, m.Pos, m.Payload)
			}
			from++
		}
	}
}

func wantEnd(t testing.TB, d *Dir, id [16]byte, kind Kind, want uint64) {
	t.Helper()
	if got, err := d.End(id, kind); err != nil || got != want {
		t.Fatalf("End(%s) = %d, %v; want %d", kind, got, err, want)
	}
}

func TestIdentitySurvives(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if _, err := Open(dir, Options{MustExist: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("MustExist: %v", err)
	}
	var wg sync.WaitGroup
	ids := make([][16]byte, 8)
	for i := range ids {
		wg.Go(func() {
			d, err := Open(dir, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = d.ID()
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] || id == ([16]byte{}) {
			t.Fatalf("racing Opens see ids %x and %x", ids[0], id)
		}
	}
	for _, bad := range []string{"", "{}", `{"stele":"spool/v2","id":"00"}`, `{"stele":"spool/v1","id":"00"}`} {
		check0(t, os.WriteFile(filepath.Join(dir, identityName), []byte(bad), 0o600))
		if _, err := Open(dir, Options{}); err == nil {
			t.Errorf("opened a spool with identity %q", bad)
		}
	}
}

func TestAppendRead(t *testing.T) {
	d := open(t, Options{FileBytes: 1000})
	w := create(t, d, laneA)
	appendTexts(t, w, Frames, 0, 100)
	appendTexts(t, w, Grants, 0, 3)
	wantEnd(t, d, laneA, Frames, 100)
	wantEnd(t, d, laneA, Grants, 3)

	r := d.Reader(laneA, Frames)
	defer r.Close()
	for _, maxBytes := range []int{1, 30, 300, 5000, 0} {
		for _, from := range []uint64{0, 99, 57, 58, 100} {
			if next, err := readTexts(t, r, from, maxBytes); err != nil || next != 100 {
				t.Fatalf("from %d: read up to %d, %v", from, next, err)
			}
		}
	}
	m, err := r.Read(7, 1)
	if err != nil || len(m) != 1 || !m[0].Time.Equal(clock) {
		t.Fatalf("Read(7, 1) = %v, %v", m, err)
	}
	check0(t, w.Close())
	if next, err := readTexts(t, r, 0, 0); err != io.EOF || next != 100 {
		t.Fatalf("after Close: read up to %d, %v", next, err)
	}
	wantEnd(t, d, laneA, Frames, 100)
	if _, err := w.Append(Frames, text(100)); !errors.Is(err, fs.ErrClosed) {
		t.Fatalf("Append after Close: %v", err)
	}
	if err := w.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Fatalf("second Close: %v", err)
	}
	check0(t, w.Sync(context.Background())) // and it is all there
}

func TestMessageLimits(t *testing.T) {
	d := open(t, Options{})
	w := create(t, d, laneA)
	largest := bytes.Repeat([]byte{7}, MaxMessage)
	for _, bad := range [][]byte{{}, nil, append(largest, 1)} {
		if _, err := w.Append(Frames, []byte("x"), bad); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("message of %d bytes: %v", len(bad), err)
		}
	}
	if _, err := w.Append(3, []byte("x")); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("log 3: %v", err)
	}
	pos, err := w.Append(Frames, largest, []byte("x"))
	if err != nil || pos != 0 {
		t.Fatal(pos, err)
	}
	r := d.Reader(laneA, Frames)
	m, err := r.Read(0, 10)
	if err != nil || len(m) != 1 || !bytes.Equal(m[0].Payload, largest) {
		t.Fatalf("largest message: %d messages, %v", len(m), err)
	}
	if m, err = r.Read(1, 10); err != nil || string(m[0].Payload) != "x" {
		t.Fatal(m, err)
	}
}

func TestLaneLife(t *testing.T) {
	d := open(t, Options{FileBytes: 500})
	w := create(t, d, laneA)
	create(t, d, laneB)
	appendTexts(t, w, Frames, 0, 20)

	state := func() Lane {
		lanes, err := d.Lanes()
		check0(t, err)
		if len(lanes) != 2 || lanes[0].ID != laneA || lanes[1].ID != laneB || !lanes[1].Held {
			t.Fatalf("lanes %+v", lanes)
		}
		return lanes[0]
	}
	if s := state(); !s.Held || s.Ended || s.FrameBytes < 1000 || s.GrantBytes != fileHeader {
		t.Fatalf("while it is written: %+v", s)
	}
	if _, err := d.CreateLane(laneA); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("second CreateLane: %v", err)
	}
	if _, err := d.OpenLane(laneA); !errors.Is(err, ErrBusy) {
		t.Fatalf("OpenLane of a live lane: %v", err)
	}
	crash(w)
	if s := state(); s.Held || s.Ended {
		t.Fatalf("orphan: %+v", s)
	}
	if err := d.Remove(laneA); !errors.Is(err, ErrBusy) {
		t.Fatalf("Remove of an orphan: %v", err)
	}
	h, err := d.OpenLane(laneA)
	check0(t, err)
	if h.Frames != 20 || h.Grants != 0 || h.Cut != 0 {
		t.Fatalf("hold %+v", h)
	}
	if s := state(); !s.Held || !s.Ended {
		t.Fatalf("claimed: %+v", s)
	}
	if _, err := d.OpenLane(laneA); !errors.Is(err, ErrBusy) {
		t.Fatalf("second claim: %v", err)
	}
	check0(t, h.Close())
	h, err = d.OpenLane(laneA) // an ended lane can be claimed too
	if err != nil || h.Frames != 20 {
		t.Fatal(h, err)
	}
	check0(t, d.Trim(laneA, Frames, 20))
	check0(t, d.Trim(laneA, Grants, 0))
	if err := d.Remove(laneA); !errors.Is(err, ErrBusy) {
		t.Fatalf("Remove of a claimed lane: %v", err)
	}
	check0(t, h.Close())
	r := d.Reader(laneA, Frames)
	if _, err := r.Read(20, 0); err != io.EOF {
		t.Fatalf("used-up lane: %v", err)
	}
	check0(t, d.Remove(laneA))
	if _, err := r.Read(20, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("removed lane: %v", err)
	}
	if _, err := d.OpenLane(laneA); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("removed lane: %v", err)
	}
}

func TestTrim(t *testing.T) {
	d := open(t, Options{FileBytes: 700})
	w := create(t, d, laneA)
	appendTexts(t, w, Frames, 0, 60)
	r := d.Reader(laneA, Frames)
	for before := uint64(0); before <= 60; before++ {
		check0(t, d.Trim(laneA, Frames, before))
		if next, err := readTexts(t, d.Reader(laneA, Frames), before, 0); err != nil || next != 60 {
			t.Fatalf("after Trim(%d): %d, %v", before, next, err)
		}
	}
	l, err := d.list(laneA)
	check0(t, err)
	if len(l.frames) != 1 || l.frames[0] == 0 {
		t.Fatalf("files left: %v", l.frames)
	}
	var e *Error
	if _, err := r.Read(3, 0); !errors.Is(err, ErrPosition) || !errors.As(err, &e) || e.First != l.frames[0] {
		t.Fatalf("trimmed position: %v", err)
	}
	for _, from := range []uint64{61, 1000} {
		if _, err := r.Read(from, 0); !errors.Is(err, ErrPosition) {
			t.Fatalf("position %d behind the end: %v", from, err)
		}
	}
	check0(t, w.Close())
	if _, err := r.Read(61, 0); !errors.Is(err, ErrPosition) {
		t.Fatalf("position behind the end of an ended lane: %v", err)
	}
	if err := d.Remove(laneA); !errors.Is(err, ErrBusy) {
		t.Fatalf("Remove with messages left: %v", err)
	}
	check0(t, d.Trim(laneA, Frames, 59))
	if next, err := readTexts(t, d.Reader(laneA, Frames), 59, 0); err != io.EOF || next != 60 {
		t.Fatalf("last message of an ended lane: %d, %v", next, err)
	}
	check0(t, d.Trim(laneA, Frames, 60))
	if _, err := r.Read(3, 0); !errors.Is(err, ErrPosition) || !errors.As(err, &e) || e.First != 60 {
		t.Fatalf("used-up log: %v", err)
	}
}

// TestTrimUnderReader trims what a reader has open and has not read.
func TestTrimUnderReader(t *testing.T) {
	d := open(t, Options{FileBytes: 700})
	w := create(t, d, laneA)
	appendTexts(t, w, Frames, 0, 60)
	r := d.Reader(laneA, Frames)
	_, err := r.Read(0, 1)
	check0(t, err)
	check0(t, d.Trim(laneA, Frames, 60))
	next, err := readTexts(t, r, 1, 0) // the rest of the open file is still readable
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, ErrPosition) || e.First <= next {
		t.Fatalf("read up to %d, %v", next, err)
	}
	if next, err := readTexts(t, r, e.First, 0); err != nil || next != 60 {
		t.Fatalf("from First: %d, %v", next, err)
	}
}

func TestFollow(t *testing.T) {
	d := open(t, Options{FileBytes: 400})
	w := create(t, d, laneA)
	done := make(chan error, 1)
	go func() {
		r := d.Reader(laneA, Grants)
		for pos := uint64(0); ; {
			m, err := r.Follow(context.Background(), pos, 0, 4*time.Millisecond)
			if err != nil {
				if err == io.EOF && pos != 40 {
					err = fmt.Errorf("end at %d", pos)
				}
				done <- err
				return
			}
			pos += uint64(len(m))
		}
	}()
	for i := range uint64(40) {
		appendTexts(t, w, Grants, i, i+1)
		if i%8 == 0 {
			time.Sleep(3 * time.Millisecond)
		}
	}
	check0(t, w.Close())
	if err := <-done; err != io.EOF {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	create(t, d, laneB)
	if _, err := d.Reader(laneB, Frames).Follow(ctx, 0, 0, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Follow: %v", err)
	}
}

func TestBound(t *testing.T) {
	const limit = 20_000
	d := open(t, Options{MaxBytes: limit, FileBytes: 2000})
	writers := []*Writer{create(t, d, laneA), create(t, d, laneB)}
	fill := func() (n uint64) {
		for {
			_, err := writers[n%2].Append(Frames, make([]byte, 100))
			if errors.Is(err, ErrFull) && !errors.Is(err, syscall.ENOSPC) {
				return n
			}
			check0(t, err)
			n++
		}
	}
	n := fill()
	size, err := d.bytes()
	check0(t, err)
	if size > limit || size < limit-300 {
		t.Fatalf("full at %d of %d bytes", size, limit)
	}
	other, err := Open(d.path, Options{MaxBytes: limit}) // as another process would
	check0(t, err)
	if _, err := other.CreateLane([16]byte{9}); !errors.Is(err, ErrFull) {
		t.Fatalf("CreateLane in a full spool: %v", err)
	}
	check0(t, other.Trim(laneA, Frames, n/4))
	if fill() == 0 {
		t.Fatal("no room after another process trimmed")
	}
	check0(t, d.Trim(laneB, Frames, n/4))
	if fill() == 0 {
		t.Fatal("no room after a trim")
	}
	check0(t, writers[0].Sync(context.Background())) // the bound is no failure
	check0(t, writers[0].Close())
}

func TestOpenSweepsHalfMadeLanes(t *testing.T) {
	d := open(t, Options{})
	for _, name := range []string{".new-00", ".old-00"} {
		check0(t, os.MkdirAll(filepath.Join(d.lanesPath(), name), 0o700))
	}
	check0(t, os.WriteFile(filepath.Join(d.lanesPath(), ".new-00", "x"), nil, 0o600))
	check0(t, os.Mkdir(filepath.Join(d.lanesPath(), "something else"), 0o700))
	d, err := Open(d.path, Options{MustExist: true})
	check0(t, err)
	entries, err := os.ReadDir(d.lanesPath())
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	if lanes, err := d.Lanes(); err != nil || len(lanes) != 0 {
		t.Fatal(lanes, err)
	}
}
