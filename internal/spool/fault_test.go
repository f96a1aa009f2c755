package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelelog/stele/internal/durable"
)

// faultyFile fails the write or sync whose turn it is; before says whether that is instead of the
// operation, half whether half of a write is done first.
type faultyFile struct {
	logFile
	plan *plan
}

type plan struct {
	write, sync  int // number of the operation that fails, from 1; 0: none
	before, half bool
	err          error

	mu            sync.Mutex
	writes, syncs int
}

func (p *plan) String() string {
	return fmt.Sprintf("write %d, sync %d, before %t, half %t", p.write, p.sync, p.before, p.half)
}

func (f faultyFile) Write(b []byte) (int, error) {
	p := f.plan
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writes++; p.writes != p.write {
		return f.logFile.Write(b)
	}
	if p.half {
		f.logFile.Write(b[:len(b)/2])
	} else if !p.before {
		f.logFile.Write(b)
	}
	return 0, p.err
}

func (f faultyFile) Sync() error {
	p := f.plan
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.syncs++; p.syncs != p.sync {
		return f.logFile.Sync()
	}
	if !p.before {
		f.logFile.Sync()
	}
	return p.err
}

// TestFaults fails each write and each sync of a run, before and after it took effect and half-way.
// Whatever was acknowledged is there afterwards; the Writer is at its end with one error.
func TestFaults(t *testing.T) {
	const messages = 12
	for n := 1; n <= messages+2; n++ {
		for _, before := range []bool{true, false} {
			testFault(t, &plan{write: n, before: before, err: syscall.EIO}, messages)
			testFault(t, &plan{sync: n, before: before, err: syscall.EIO}, messages)
		}
		testFault(t, &plan{write: n, half: true, err: syscall.EIO}, messages)
	}
}

func testFault(t *testing.T, p *plan, messages uint64) {
	d := open(t, Options{FileBytes: 400})
	d.wrap = func(_ Kind, f logFile) logFile { return faultyFile{f, p} }
	w := create(t, d, laneA)
	var acked uint64
	var failure error
	for i := range messages {
		if _, failure = w.Append(Frames, text(i)); failure != nil {
			break
		}
		if failure = w.Sync(context.Background()); failure != nil {
			break
		}
		acked++
	}
	if failure != nil {
		if !errors.Is(failure, p.err) {
			t.Fatalf("%s: failed with %v", p, failure)
		}
		if _, err := w.Append(Grants, text(0)); err != failure {
			t.Fatalf("%s: Append after the failure: %v", p, err)
		}
		if err := w.Sync(context.Background()); err != failure {
			t.Fatalf("%s: Sync after the failure: %v", p, err)
		}
		if err := w.Close(); err != failure {
			t.Fatalf("%s: Close after the failure: %v", p, err)
		}
	} else if err := w.Close(); err != nil && !errors.Is(err, p.err) {
		t.Fatalf("%s: Close: %v", p, err)
	} else if (err == nil) == (p.write > 0 && p.write <= p.writes || p.sync > 0 && p.sync <= p.syncs) {
		t.Fatalf("%s: no error for a failure", p)
	}
	h, err := d.OpenLane(laneA)
	check0(t, err)
	h.Close()
	if h.Frames < acked || h.Frames > acked+1 {
		t.Fatalf("%s: %d acknowledged, %d found", p, acked, h.Frames)
	}
	readTexts(t, d.Reader(laneA, Frames), 0, 0)
}

// TestFailedSyncReachesAllWaiters: those who wait for the sync that fails, and those who come later.
func TestFailedSyncReachesAllWaiters(t *testing.T) {
	d := open(t, Options{})
	p := &plan{sync: 1, err: syscall.EIO}
	d.wrap = func(_ Kind, f logFile) logFile { return faultyFile{f, p} }
	w := create(t, d, laneA)
	errs := make(chan error)
	for range 16 {
		go func() {
			_, err := w.Append(Frames, []byte("x"))
			if err == nil {
				err = w.Sync(context.Background())
			}
			errs <- err
		}()
	}
	for range 16 {
		if err := <-errs; !errors.Is(err, syscall.EIO) {
			t.Errorf("a waiter got %v", err)
		}
	}
}

// gateFile lets a sync through when it is told to, and counts them.
type gateFile struct {
	logFile
	open  chan struct{}
	syncs *atomic.Int64
}

func (f gateFile) Sync() error {
	f.syncs.Add(1)
	<-f.open
	return f.logFile.Sync()
}

// TestGroupCommit: those who arrive while a sync runs share the next one, and ctx ends a wait.
func TestGroupCommit(t *testing.T) {
	d := open(t, Options{})
	synctest.Test(t, func(t *testing.T) {
		var syncs atomic.Int64
		gate := make(chan struct{})
		d.wrap = func(_ Kind, f logFile) logFile { return gateFile{f, gate, &syncs} }
		w, err := d.CreateLane(laneA)
		check0(t, err)
		var group sync.WaitGroup
		start := func() {
			_, err := w.Append(Frames, []byte("x"))
			check0(t, err)
			group.Go(func() {
				if err := w.Sync(context.Background()); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		for range 64 {
			start()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Sync(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Sync while the disk hangs: %v", err)
		}
		gate <- struct{}{}
		synctest.Wait()
		gate <- struct{}{}
		group.Wait()
		if n := syncs.Load(); n != 2 {
			t.Errorf("%d syncs for 64 waiters, want 2", n)
		}
		check0(t, w.Close()) // nothing is left to sync
	})
}

// dirtyFile knows whether it has writes that were not synced.
type dirtyFile struct {
	logFile
	dirty bool
}

func (f *dirtyFile) Write(b []byte) (int, error) {
	f.dirty = true
	return f.logFile.Write(b)
}

func (f *dirtyFile) Sync() error {
	f.dirty = false
	return f.logFile.Sync()
}

// TestOnlyLastFileUnsynced: a power failure can take nothing from a file that has a successor, and nothing
// from a lane that was ended.
func TestOnlyLastFileUnsynced(t *testing.T) {
	d := open(t, Options{FileBytes: 400})
	files := map[Kind][]*dirtyFile{}
	d.wrap = func(kind Kind, f logFile) logFile {
		for _, before := range files[kind] {
			if before.dirty {
				t.Errorf("%s: a new file was made before the old one was synced", kind)
			}
		}
		files[kind] = append(files[kind], &dirtyFile{logFile: f})
		return files[kind][len(files[kind])-1]
	}
	w := create(t, d, laneA)
	for _, kind := range kinds {
		appendTexts(t, w, kind, 0, 30)
	}
	check0(t, w.Close())
	for _, kind := range kinds {
		if n := len(files[kind]); n < 5 || files[kind][n-1].dirty {
			t.Errorf("%s: %d files, or the last was not synced before the end mark", kind, n)
		}
	}
}

// TestMetadataFaults fails every step of a rotation, of the end mark and of making a lane, before and
// after it took effect.
func TestMetadataFaults(t *testing.T) {
	for n := 1; ; n++ {
		d := open(t, Options{FileBytes: 400})
		calls, failed := 0, false
		d.durable = durable.FS{Hook: func(durable.Step, string, bool) error {
			if calls++; calls == n {
				failed = true
				return syscall.EIO
			}
			return nil
		}}
		acked, err := uint64(0), error(nil)
		w, err := d.CreateLane(laneA)
		for err == nil && acked < 10 {
			if _, err = w.Append(Frames, text(acked)); err == nil {
				err = w.Sync(context.Background())
			}
			if err == nil {
				acked++
			}
		}
		if w != nil {
			if closeErr := w.Close(); err == nil {
				err = closeErr
			}
		}
		if !failed {
			check0(t, err)
			if n < 40 {
				t.Fatalf("only %d steps", n)
			}
			return
		}
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("step %d: %v", n, err)
		}
		d, err = Open(d.path, Options{MustExist: true})
		check0(t, err)
		h, err := d.OpenLane(laneA)
		if errors.Is(err, fs.ErrNotExist) && acked == 0 {
			continue
		}
		if err != nil || h.Frames < acked || h.Frames > acked+1 {
			t.Fatalf("step %d: %d acknowledged, recovered %+v, %v", n, acked, h, err)
		}
		h.Close()
		if next, _ := readTexts(t, d.Reader(laneA, Frames), 0, 0); next != h.Frames {
			t.Fatalf("step %d: read %d of %d", n, next, h.Frames)
		}
		entries, err := os.ReadDir(d.lanePath(laneA))
		check0(t, err)
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				t.Fatalf("step %d left %s", n, e.Name())
			}
		}
	}
}

// fullFile is a file on a disk that has room for left bytes.
type fullFile struct {
	logFile
	left *int
}

func (f fullFile) Write(b []byte) (int, error) {
	n := min(len(b), *f.left)
	*f.left -= n
	n, err := f.logFile.Write(b[:n])
	if err == nil && n < len(b) {
		err = syscall.ENOSPC
	}
	return n, err
}

func TestDiskFull(t *testing.T) {
	t.Run("injected", func(t *testing.T) {
		d := open(t, Options{})
		left := 300_000
		d.wrap = func(_ Kind, f logFile) logFile { return fullFile{f, &left} }
		testDiskFull(t, d, func() { left = 1 << 30 })
	})
	t.Run("file system", func(t *testing.T) {
		dir := t.TempDir()
		if err := mountSmall(dir, 400<<10); err != nil {
			t.Logf("cannot mount a small file system (%v): the injected one above has to do", err)
			return
		}
		defer func() { check0(t, unmount(dir)) }()
		// Something to delete, so that recovery finds room for its mark.
		ballast := filepath.Join(dir, "ballast")
		check0(t, os.WriteFile(ballast, make([]byte, 64<<10), 0o600))
		d, err := Open(filepath.Join(dir, "spool"), Options{})
		check0(t, err)
		testDiskFull(t, d, func() { check0(t, os.Remove(ballast)) })
	})
}

// testDiskFull appends until the disk is full: everything acknowledged is there, and nothing by halves.
func testDiskFull(t *testing.T, d *Dir, makeRoom func()) {
	w, err := d.CreateLane(laneA)
	check0(t, err)
	block := bytes.Repeat([]byte{1}, 3000)
	acked := uint64(0)
	for ; err == nil; acked++ {
		if _, err = w.Append(Frames, block); err == nil {
			err = w.Sync(context.Background())
		}
	}
	acked--
	if !errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) || acked < 50 {
		t.Fatalf("after %d: %v", acked, err)
	}
	makeRoom()
	if _, again := w.Append(Frames, block); again != err {
		t.Fatalf("Append after the failure: %v", again)
	}
	if again := w.Close(); again != err {
		t.Fatalf("Close after the failure: %v", again)
	}
	r := d.Reader(laneA, Frames)
	defer r.Close()
	if m, err := r.Read(acked, 0); err != nil || len(m) != 0 {
		t.Fatalf("reader sees %d messages behind the last whole one, %v", len(m), err)
	}
	h, err := d.OpenLane(laneA)
	if err != nil || h.Frames != acked || h.Cut == 0 {
		t.Fatalf("%d acknowledged, recovered %+v, %v", acked, h, err)
	}
	check0(t, h.Close())
	next, err := d.CreateLane(laneB)
	if err != nil {
		t.Fatalf("next stream: %v", err)
	}
	check0(t, next.Close())
}
