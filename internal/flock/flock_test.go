//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package flock

import (
	"os"
	"path/filepath"
	"testing"
)

// TestOneHolder: the lock excludes another open file of the same process, and ends when its file is closed.
func TestOneHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	first, second := open(), open()
	if held, err := Try(first); !held || err != nil {
		t.Fatalf("a free lock: %v, %v", held, err)
	}
	if held, err := Try(second); held || err != nil {
		t.Fatalf("a held lock: %v, %v", held, err)
	}
	waited := make(chan error, 1)
	go func() { waited <- Wait(second) }()
	first.Close()
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if held, err := Try(open()); held || err != nil {
		t.Fatalf("after the wait: %v, %v", held, err)
	}
	if _, err := Try(first); err == nil {
		t.Error("the lock of a closed file was taken")
	}
}
