package dirstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stelelog/stele/backup/worm"
)

// asNobody runs f with the file permissions of an ordinary user, also where the tests run as root.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Setfsuid(65534); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

// TestPermissions: refused writes and reads are errors with path, step and errno, and a folder that may
// not be read makes a listing fail rather than look empty. It also shows that a listing by prefix, and one
// that goes on after a key, do not read folders that cannot matter.
func TestPermissions(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "a/1"), "x")
	write(t, filepath.Join(dir, "closed/1"), "x")
	write(t, filepath.Join(dir, "z/1"), "x")
	for name, mode := range map[string]fs.FileMode{"": 0o555, "a": 0o555, "z": 0o555, "closed": 0, "z/1": 0} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(filepath.Join(dir, name), 0o755) })
	}
	s := mustOpen(t, dir, Options{})
	asNobody(t, func() {
		var pathErr *fs.PathError
		_, err := s.Create(ctx, "a/2", nil, worm.Lock{})
		if !errors.Is(err, syscall.EACCES) || !errors.Is(err, fs.ErrPermission) || !errors.As(err, &pathErr) ||
			filepath.Dir(pathErr.Path) != filepath.Join(dir, "a") || pathErr.Op == "" {
			t.Errorf("create in a closed folder: %v", err)
		}
		if _, err := s.Create(ctx, "new/1", nil, worm.Lock{}); !errors.Is(err, syscall.EACCES) {
			t.Errorf("create a folder: %v", err)
		}
		if _, err := s.Create(ctx, "a/1", nil, worm.Lock{}); !errors.Is(err, fs.ErrExist) {
			t.Errorf("existing object: %v", err)
		}
		if err := s.Extend(ctx, "a/1", "", inAnHour); !errors.Is(err, syscall.EACCES) {
			t.Errorf("extend: %v", err)
		}
		if _, err := s.Read(ctx, "z/1", "", worm.Range{}); !errors.Is(err, syscall.EACCES) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read: %v", err)
		}
		var listErr error
		for _, err := range s.Versions(ctx, "", "") {
			listErr = err
		}
		if !errors.Is(listErr, syscall.EACCES) {
			t.Errorf("listing over a closed folder: %v", listErr)
		}
		for _, at := range []struct{ prefix, after string }{{"a/", ""}, {"z", ""}, {"", "d"}, {"", "closed0"}} {
			n := 0
			for _, err := range s.Versions(ctx, at.prefix, at.after) {
				if err != nil {
					t.Errorf("listing %q after %q: %v", at.prefix, at.after, err)
				}
				n++
			}
			if n != 1 {
				t.Errorf("listing %q after %q: %d keys", at.prefix, at.after, n)
			}
		}
	})
}
