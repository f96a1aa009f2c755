package dirstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/worm"
)

func TestDelete(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(time.Hour)
	for _, key := range []string{"a/locked", "a/free"} {
		lock := worm.Lock{}
		if key == "a/locked" {
			lock = worm.Lock{Mode: worm.LockGovernance, Until: until}
		}
		if _, err := s.Create(t.Context(), key, []byte("x"), lock); err != nil {
			t.Fatal(err)
		}
	}
	d, err := OpenDeleter(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Delete(t.Context(), "a/locked", ""); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("locked: %v", err)
	}
	if err := d.Delete(t.Context(), "a/free", "v1"); err != nil {
		t.Errorf("a version that is not there: %v", err)
	}
	for range 2 {
		if err := d.Delete(t.Context(), "a/free", ""); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Read(t.Context(), "a/free", "", worm.Range{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read: %v", err)
	}
	d.now = func() time.Time { return until.Add(time.Second) }
	for range 2 {
		if err := d.Delete(t.Context(), "a/locked", ""); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, lockDir, "a", "locked")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("lock file: %v", err)
	}
	if err := d.Delete(t.Context(), "../x", ""); err == nil {
		t.Error("a key outside")
	}
}
