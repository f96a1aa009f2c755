package keys_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stelelog/stele/backup/keys"
)

// At no moment has the socket another mode than 0600, in a folder that everybody may look into.
func TestKeySocketIsNeverOpen(t *testing.T) {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "keys.sock")
	var stop atomic.Bool
	seen := make(chan fs.FileMode)
	go func() {
		var worst fs.FileMode
		for !stop.Load() {
			entries, _ := os.ReadDir(dir)
			for _, e := range entries {
				if info, err := e.Info(); err == nil { // the socket, and the folder in which it is made
					worst |= info.Mode().Perm() & 0o077
				}
			}
			if info, err := os.Lstat(path); err == nil {
				worst |= info.Mode().Perm() & 0o077
			}
		}
		seen <- worst
	}()
	for range 500 {
		l, err := keys.Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 || info.Mode().Type() != fs.ModeSocket {
			t.Fatalf("%v, %v", info, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	if worst := <-seen; worst != 0 {
		t.Errorf("others could get in: mode %v was seen", worst)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// A socket that is served is not taken away, one that is left over is replaced, and what is no socket is left alone.
func TestKeySocketIsOne(t *testing.T) {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "new", "keys.sock")
	first, err := keys.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Listen(path); !errors.Is(err, keys.ErrBusy) {
		t.Errorf("a second one: %v", err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	left := filepath.Join(dir, "left")
	if err := os.Rename(path, left); err != nil { // as after a kill: the socket is there, and nobody serves it
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(left, path); err != nil {
		t.Fatal(err)
	}
	second, err := keys.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := second.Addr().String(); got != path {
		t.Errorf("it says that it is at %s", got)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("notes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Listen(path); err == nil {
		t.Error("a file was taken for a socket that is left over")
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "notes" {
		t.Errorf("the file holds %q, %v", data, err)
	}
}
