package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stelelog/stele/logpipe"
)

// noise is a record that no compression makes smaller.
func noise(i, bytes int) logpipe.Record {
	body := make([]byte, bytes)
	var seed [32]byte
	seed[0], seed[1] = byte(i), byte(i>>8)
	rand.NewChaCha8(seed).Read(body)
	return logpipe.Record{Kind: logpipe.Output, Session: "noise", CallerID: fmt.Sprint(i), Time: time.Unix(int64(i), 0).UTC(), Body: body}
}

// TestFullStore: the disk of the archive is full. The compactor says so and waits, what is committed stays whole, and
// everything goes on when there is room again.
func TestFullStore(t *testing.T) {
	t.Parallel()
	disk := newDisk(t, 2<<20)
	s := newSite(t, "file://"+disk.dir+"/archive", fileURL(t, "spool"), nil, "--partitions", "1")
	pipe := s.service(1, logpipe.Config{})
	var sent []logpipe.Record
	for i := range 30 {
		sent = append(sent, noise(i, 100<<10))
		if err := pipe.Capture(t.Context(), &sent[i]); err != nil {
			t.Fatal(err)
		}
		if i == 3 {
			if err := pipe.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.compactOnce()
		}
	}
	s.close(pipe)
	_, text, code := s.run(s.command("compactor", "--once"))
	if code != 1 {
		t.Errorf("compactor --once exits with %d on a full disk", code)
	}
	wantText(t, "compactor --once", text, "no space left on device", "make room", disk.dir)
	free := disk.fill()
	_, text, code = s.stele("export", "tiles", filepath.Join(disk.dir, "logs"))
	wantText(t, "export tiles on a full disk", text, "no space left on device", "what was begun is removed", "hint: the disk is full")
	if _, err := os.Lstat(filepath.Join(disk.dir, "logs")); code != 1 || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("export tiles on a full disk exits with %d, and leaves %v", code, err)
	}
	_, text, code = s.stele("capture", "--to", "file://"+disk.dir+"/spool")
	wantText(t, "capture into a spool on a full disk", text, "no space left on device", "and nothing was captured")
	if code != 1 {
		t.Errorf("capture into a spool on a full disk exits with %d", code)
	}
	free()
	n := s.node("cramped", nil, "--segment-age", "1s")
	n.start()
	said := func() string {
		data, err := os.ReadFile(n.log)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	eventually(t, "word of the full disk", time.Minute, func() bool { return strings.Contains(said(), "no space left on device") })
	wantText(t, "compactor", said(), "trying again", filepath.Join(disk.dir, "archive"))
	if r := s.verify(0, "--require", "integrity"); r.Records != 4 {
		t.Errorf("%d records are committed on the full disk, want 4", r.Records)
	}
	disk.grow(64 << 20)
	eventually(t, "a commit", time.Minute, func() bool { return len(n.commits()) > 0 })
	n.stop()
	s.compactOnce()
	s.verify(0, "--unlock")
	compare(t, sent, s.restore())
}

// TestFullSpool: the disk of the spool is full. The caller is told, what was acknowledged is there, and what was not kept
// is refused or declared.
func TestFullSpool(t *testing.T) {
	t.Parallel()
	disk := newDisk(t, 4<<20)
	s := newSite(t, fileURL(t, "archive"), "file://"+disk.dir+"/spool", nil, "--partitions", "1")
	pipe, err := logpipe.Open(t.Context(), logpipe.Config{Credential: filepath.Join(s.dir, "writer", "default.stele"), StateDir: t.TempDir(),
		Memory: 2 << 20, Default: logpipe.ClassConfig{Durability: logpipe.Spooled}})
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]bool{} // acknowledged
	var sent []logpipe.Record
	failed := 0
	for i := 0; i < 120 && failed < 15; i++ {
		r := noise(i, 100<<10)
		within := 2 * time.Second
		if failed == 0 {
			within = time.Minute // the first one has to say why
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		err := pipe.Capture(ctx, &r)
		cancel()
		sent = append(sent, r)
		switch {
		case err == nil:
			kept[r.CallerID] = true
		case failed == 0:
			wantText(t, "the first capture on the full disk", err.Error(), "spool", "no space left on device")
			failed++
		default:
			failed++
		}
	}
	if failed == 0 || len(kept) == 0 {
		t.Fatalf("%d captures failed, %d were acknowledged", failed, len(kept))
	}
	report, _, code := s.stele("doctor")
	wantText(t, "doctor", report, "FAIL   spool: ", "no space left on device", "what it has committed it trims")
	if code != 1 {
		t.Errorf("doctor exits with %d on a full spool", code)
	}
	disk.grow(64 << 20)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := pipe.Flush(ctx); err != nil {
		t.Errorf("flush after there was room again: %v", err)
	}
	after := noise(1000, 10)
	if err := pipe.Capture(ctx, &after); err != nil {
		t.Errorf("capture after there was room again: %v", err)
	}
	sent = append(sent, after)
	kept[after.CallerID] = true
	s.close(pipe)

	stats := pipe.Stats()
	declared := uint64(0)
	for _, n := range stats.Lost {
		declared += n
	}
	s.compactOnce()
	code = 0
	if declared > 0 {
		code = 11
	}
	r := s.verify(code)
	if r.Records+declared != stats.Captured {
		t.Errorf("the archive has %d records, %d are declared lost, %d were captured", r.Records, declared, stats.Captured)
	}
	restored := s.restore()
	got := map[string]bool{}
	for i := range restored {
		got[restored[i].CallerID] = true
	}
	var there []logpipe.Record
	for _, r := range sent {
		if kept[r.CallerID] && !got[r.CallerID] {
			t.Errorf("record %s was acknowledged and is not there", r.CallerID)
		}
		if got[r.CallerID] {
			there = append(there, r)
		}
	}
	compare(t, there, restored)
}

// TestReadOnly: directories that nobody may write to.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	disk := newDisk(t, 64<<20)
	spool := newDisk(t, 64<<20)
	s := newSite(t, "file://"+disk.dir+"/archive", "file://"+spool.dir+"/spool", nil, "--partitions", "1")
	sent := synthetic(2, 5)
	pipe := s.service(1, logpipe.Config{})
	feed(t, pipe, sent, 0, nil)
	s.close(pipe)

	disk.readOnly(true)
	spool.readOnly(true)
	s.refused("a pipe", logpipe.Config{}, "read-only file system", spool.dir)
	_, text, code := s.stele("init", "file://"+disk.dir+"/second", "--out", filepath.Join(t.TempDir(), "x"), "--yes")
	if code != 1 {
		t.Errorf("init exits with %d", code)
	}
	wantText(t, "init", text, "read-only file system", disk.dir)
	if _, text, code = s.run(s.command("compactor", "--once")); code != 1 {
		t.Errorf("compactor --once exits with %d on a read-only spool", code)
	}
	wantText(t, "compactor", text, "read-only file system", "let it write there", spool.dir)
	spool.readOnly(false)
	if _, text, code = s.run(s.command("compactor", "--once")); code != 1 {
		t.Errorf("compactor --once exits with %d on a read-only archive", code)
	}
	wantText(t, "compactor", text, "read-only file system", "mount it writable", disk.dir)
	s.verify(0) // needs no right to write

	disk.readOnly(false)
	s.compactOnce()
	s.verify(0, "--unlock")
	compare(t, flat(sent), s.restore())
}

// disk is a small file system of its own.
type disk struct {
	t   *testing.T
	dir string
}

// newDisk mounts one, which takes the right to: a machine without it skips the test.
func newDisk(t *testing.T, bytes int64) *disk {
	t.Helper()
	dir, err := os.MkdirTemp("", "stele-disk-")
	if err != nil {
		t.Fatal(err)
	}
	d := &disk{t, dir}
	if err := mountMemory(dir, bytes, false, false); err != nil {
		os.Remove(dir)
		why := fmt.Sprintf("a small file system: %v", err)
		if os.Getenv("CI") == "true" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	t.Cleanup(func() {
		if err := errors.Join(unmount(dir), os.Remove(dir)); err != nil {
			t.Error(err)
		}
	})
	return d
}

// fill takes all room that is left, until free.
func (d *disk) fill() (free func()) {
	d.t.Helper()
	path := filepath.Join(d.dir, "filler")
	f, err := os.Create(path)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatal(err)
	}
	f.Close()
	return func() { os.Remove(path) }
}

func (d *disk) grow(bytes int64) {
	d.t.Helper()
	if err := mountMemory(d.dir, bytes, true, false); err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) readOnly(is bool) {
	d.t.Helper()
	if err := mountMemory(d.dir, 64<<20, true, is); err != nil {
		d.t.Fatal(err)
	}
}
