package dirstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/durable"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) worm.Store {
		return mustOpen(t, t.TempDir(), Options{})
	}, storetest.Options{Lock: worm.LockGovernance, Reported: worm.LockAdvisory})
}

func mustOpen(t *testing.T, dir string, options Options) *Store {
	t.Helper()
	s, err := Open(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func keys(t *testing.T, s *Store, prefix string) string {
	t.Helper()
	var all []string
	for v, err := range s.Versions(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, v.Key)
	}
	return strings.Join(all, " ")
}

var inAnHour = worm.Lock{Mode: worm.LockGovernance, Until: time.Now().Add(time.Hour).UTC().Truncate(time.Second)}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "new"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
	mustOpen(t, filepath.Join(dir, "new", "deep"), Options{Create: true})
	mustOpen(t, filepath.Join(dir, "new", "deep"), Options{Create: true})
	if entries, err := os.ReadDir(filepath.Join(dir, "new", "deep")); err != nil || len(entries) != 0 {
		t.Errorf("Open wrote %v, %v", entries, err)
	}
	write(t, filepath.Join(dir, "file"), "")
	for _, options := range []Options{{}, {Create: true}} {
		if _, err := Open(filepath.Join(dir, "file"), options); err == nil {
			t.Error("opened a file")
		}
	}
}

// TestLayout pins what lies on disk, because copies made by other tools rely on it.
func TestLayout(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	lock := worm.Lock{Mode: worm.LockCompliance, Until: time.Date(2026, 12, 22, 10, 0, 0, 1, time.UTC)}
	if _, err := s.Create(t.Context(), "logs/p0/commits/1", []byte("x"), lock); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "logs/p0/commits/1"))
	if err != nil || info.Mode()&0o222 != 0 || info.Size() != 1 {
		t.Errorf("object: %v, %v", info, err)
	}
	sidecar, err := os.ReadFile(filepath.Join(dir, ".stele/locks/logs/p0/commits/1"))
	if err != nil || string(sidecar) != "\n2026-12-22T10:00:01Z\n" {
		t.Errorf("lock file: %q, %v", sidecar, err)
	}
}

// TestCopies: a recursive copy has everything, and a download of a bucket has everything but locks.
func TestCopies(t *testing.T) {
	ctx := t.Context()
	original := t.TempDir()
	s := mustOpen(t, original, Options{})
	for _, key := range []string{"a/1", "a/2", "b"} {
		if _, err := s.Create(ctx, key, []byte(key), inAnHour); err != nil {
			t.Fatal(err)
		}
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(original)); err != nil {
		t.Fatal(err)
	}
	c := mustOpen(t, copied, Options{})
	lock, err := c.ReadLock(ctx, "a/2", "")
	if want := (worm.Lock{Mode: worm.LockAdvisory, Until: inAnHour.Until}); err != nil || lock != want {
		t.Errorf("lock in the copy: %+v, %v", lock, err)
	}
	if err := os.RemoveAll(filepath.Join(copied, ".stele")); err != nil {
		t.Fatal(err)
	}
	lock, err = c.ReadLock(ctx, "a/2", "")
	if err != nil || lock != (worm.Lock{}) {
		t.Errorf("lock without sidecar: %+v, %v", lock, err)
	}
	if data, err := c.Read(ctx, "a/2", "", worm.Range{}); err != nil || string(data) != "a/2" {
		t.Errorf("%q, %v", data, err)
	}
	if got := keys(t, c, ""); got != "a/1 a/2 b" {
		t.Errorf("keys %s", got)
	}
}

// TestForeignFiles: what is no object is not listed, and cannot be read by tricks.
func TestForeignFiles(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := mustOpen(t, dir, Options{})
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "not of this archive")
	for _, name := range []string{"a/ok", "a/.tmp~0123", "a/.DS_Store", "a/with space", "a/~x", ".stele/locks/a/ok", "ü"} {
		write(t, filepath.Join(dir, name), "x")
	}
	for name, to := range map[string]string{"a/link": secret, "a/loop": ".", "up": "..", "a/broken": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "a/fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, s, ""); got != "a/ok" {
		t.Errorf("keys %s", got)
	}
	for _, key := range []string{"a/link", "a/loop/ok", "up/x", "a/broken", "a/fifo"} {
		if data, err := s.Read(ctx, key, "", worm.Range{}); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read %s: %q, %v; want a plain error", key, data, err)
		}
		if _, err := s.Create(ctx, key, nil, inAnHour); err == nil || errors.Is(err, fs.ErrExist) {
			t.Errorf("create %s: %v; want a plain error", key, err)
		}
	}
}

// TestNesting: where one key is a folder of another the second is refused, but not as an existing object.
func TestNesting(t *testing.T) {
	ctx := t.Context()
	s := mustOpen(t, t.TempDir(), Options{})
	for _, key := range []string{"a/b", "c"} {
		if _, err := s.Create(ctx, key, nil, worm.Lock{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"a", "c/d"} {
		if _, err := s.Create(ctx, key, nil, inAnHour); err == nil || errors.Is(err, fs.ErrExist) {
			t.Errorf("create %s: %v; want a plain error", key, err)
		}
		if _, err := s.Read(ctx, key, "", worm.Range{}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read %s: %v", key, err)
		}
	}
	if got := keys(t, s, ""); got != "a/b c" {
		t.Errorf("keys %s", got)
	}
}

func TestMaxObject(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := mustOpen(t, dir, Options{MaxObject: 10})
	if _, err := s.Create(ctx, "big", make([]byte, 11), worm.Lock{}); err == nil {
		t.Error("stored more than the limit")
	}
	// A sparse file costs who plants it nothing.
	write(t, filepath.Join(dir, "huge"), "x")
	if err := os.Truncate(filepath.Join(dir, "huge"), 1<<40); err != nil {
		t.Fatal(err)
	}
	for _, r := range []worm.Range{{}, {Off: 1, Len: 1 << 39}} {
		if _, err := s.Read(ctx, "huge", "", r); err == nil {
			t.Errorf("read %+v", r)
		}
	}
	if data, err := s.Read(ctx, "huge", "", worm.Range{Off: 1 << 39, Len: 10}); err != nil || len(data) != 10 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

// TestLockFile: torn, foreign and shorter lines do not shorten a lock, nor spoil the next one.
func TestLockFile(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := mustOpen(t, dir, Options{})
	if _, err := s.Create(ctx, "k", nil, worm.Lock{}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, ".stele/locks/k")
	later := inAnHour.Until.AddDate(1, 0, 0)
	for content, want := range map[string]time.Time{
		"":                     {},
		"2026-12-22T10:00:0":   {},
		"2026-12-22T10:00:01Z": {},
		"\n2026-12-22T10:00:01Z\n2026-12-21T10:00:01Z\n": time.Date(2026, 12, 22, 10, 0, 1, 0, time.UTC),
		"2026-12-22T10:00:01Z\n2027-1":                   time.Date(2026, 12, 22, 10, 0, 1, 0, time.UTC),
		"nonsense\n2026-12-22T10:00:01Z\n\x00\x00":       time.Date(2026, 12, 22, 10, 0, 1, 0, time.UTC),
	} {
		write(t, file, content)
		if got, err := s.recorded("k"); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v; want %v", content, got, err, want)
		}
		if err := s.Extend(ctx, "k", "", worm.Lock{Mode: worm.LockAdvisory, Until: later}); err != nil {
			t.Errorf("%q: %v", content, err)
		}
		if lock, err := s.ReadLock(ctx, "k", ""); err != nil || !lock.Until.Equal(later) {
			t.Errorf("%q extended: %+v, %v", content, lock, err)
		}
	}
}

// TestStaleFiles: what a crash left is removed when a process first writes to the folder, unless it is so
// young that somebody may be writing it.
func TestStaleFiles(t *testing.T) {
	dir := t.TempDir()
	old, young := filepath.Join(dir, "a/.tmp~old"), filepath.Join(dir, "a/.tmp~young")
	write(t, old, "x")
	write(t, young, "x")
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-2*staleAge)); err != nil {
		t.Fatal(err)
	}
	if _, err := mustOpen(t, dir, Options{}).Create(t.Context(), "a/b", nil, worm.Lock{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("old file: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("young file: %v", err)
	}
}

// TestRootIsNotMadeAnew: where the disk of a store is gone nothing is written in its place, and all goes on when it is back.
func TestRootIsNotMadeAnew(t *testing.T) {
	dir, away := filepath.Join(t.TempDir(), "archive"), filepath.Join(t.TempDir(), "away")
	s := mustOpen(t, dir, Options{Create: true})
	write := func(key string) error {
		_, err := s.Create(t.Context(), key, []byte("data"), inAnHour)
		return err
	}
	refused := func(key string) {
		t.Helper()
		err := write(key)
		if err == nil || errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "mount its disk") {
			t.Errorf("create %s: %v", key, err)
		}
	}
	if err := errors.Join(write("a/b"), os.Rename(dir, away)); err != nil {
		t.Fatal(err)
	}
	refused("a/c")
	refused("b/c")
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the root was made anew: %v", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil { // as a mount point is when nothing is mounted
		t.Fatal(err)
	}
	refused("a/c")
	refused("b/c")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%v lie in the empty directory, %v", entries, err)
	}
	if err := errors.Join(os.Remove(dir), os.Rename(away, dir), write("a/c"), write("b/c")); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, ".stele")); err != nil { // a folder under it is, at the second try
		t.Fatal(err)
	}
	if first, second := write("a/d"), write("a/d"); !errors.Is(first, fs.ErrNotExist) || second != nil {
		t.Errorf("without the folder of locks: %v, then %v", first, second)
	}
}

// TestFailingSteps fails every system call of Create with a lock, before and after its effect. The error
// is never fs.ErrExist and names the step; the object is missing or whole and never without its lock; and
// trying again ends well.
func TestFailingSteps(t *testing.T) {
	ctx := t.Context()
	steps := 0
	count := durable.FS{Hook: func(_ durable.Step, _ string, done bool) error {
		if done {
			steps++
		}
		return nil
	}}
	if _, err := mustOpen(t, t.TempDir(), Options{fs: count}).Create(ctx, "a/b/c", []byte("data"), inAnHour); err != nil {
		t.Fatal(err)
	}
	for fail := range steps {
		for _, after := range []bool{false, true} {
			dir, n := t.TempDir(), -1
			var failed durable.Step
			faulty := durable.FS{Hook: func(step durable.Step, _ string, done bool) error {
				if !done {
					n++
				}
				if n == fail && done == after && failed == "" {
					failed = step
					return syscall.ENOSPC
				}
				return nil
			}}
			_, err := mustOpen(t, dir, Options{fs: faulty}).Create(ctx, "a/b/c", []byte("data"), inAnHour)
			name := fmt.Sprintf("step %d %q, after=%v", fail, failed, after)
			var pathErr *fs.PathError
			if !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &pathErr) || pathErr.Op != string(failed) ||
				!strings.HasPrefix(pathErr.Path, dir) && failed != durable.StepSyncDir && failed != durable.StepOpenDir {
				t.Errorf("%s: error %v", name, err)
			}
			if errors.Is(err, fs.ErrExist) {
				t.Errorf("%s: error %v passes for fs.ErrExist", name, err)
			}
			s := mustOpen(t, dir, Options{})
			data, err := s.Read(ctx, "a/b/c", "", worm.Range{})
			if err == nil {
				mustBeWhole(t, name, s, data)
			} else if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: then read: %v", name, err)
			}
			if _, again := s.Create(ctx, "a/b/c", []byte("data"), inAnHour); (err == nil) != errors.Is(again, fs.ErrExist) {
				t.Errorf("%s: then create: %v", name, again)
			}
			data, err = s.Read(ctx, "a/b/c", "", worm.Range{})
			if err != nil {
				t.Errorf("%s: in the end: %v", name, err)
			}
			mustBeWhole(t, name, s, data)
		}
	}
}

func mustBeWhole(t *testing.T, name string, s *Store, data []byte) {
	t.Helper()
	lock, err := s.ReadLock(t.Context(), "a/b/c", "")
	if string(data) != "data" || err != nil || !lock.Until.Equal(inAnHour.Until) {
		t.Errorf("%s: %q under lock %+v, %v", name, data, lock, err)
	}
}

func BenchmarkCreate(b *testing.B) {
	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 64<<10)
	for i := 0; b.Loop(); i++ {
		if _, err := s.Create(b.Context(), fmt.Sprintf("k/%d", i), data, inAnHour); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVersionsAfter(b *testing.B) {
	dir := b.TempDir()
	for i := range 20_000 {
		name := filepath.Join(dir, fmt.Sprintf("logs/%03d/%05d", i/1000, i))
		os.MkdirAll(filepath.Dir(name), 0o755)
		os.WriteFile(name, nil, 0o444)
	}
	s, err := Open(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		n := 0
		for range s.Versions(b.Context(), "logs/", "logs/019/19990") {
			n++
		}
		if n != 9 {
			b.Fatal(n)
		}
	}
}
