package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestWholeFolder(t *testing.T) {
	base := t.TempDir()
	there := func() (all []string) {
		_ = filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
			if rel, _ := filepath.Rel(base, path); rel != "." {
				all = append(all, filepath.ToSlash(rel))
			}
			return err
		})
		return all
	}
	dir := filepath.Join(base, "logs", "acme", "0")
	for n := range 3 { // the disk is full at each of the files
		err := wholeFolder(dir, func(write func(string, []byte) error) error {
			for i, name := range []string{"vkey", "tile/0/000", "checkpoint"} {
				if i == n {
					return &fs.PathError{Op: "write", Path: name, Err: syscall.ENOSPC}
				}
				if err := write(name, []byte(name)); err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "what was begun is removed") {
			t.Errorf("full at file %d: %v", n, err)
		}
		if left := there(); len(left) > 0 {
			t.Errorf("full at file %d: left behind are %v", n, left)
		}
	}
	if err := os.MkdirAll(filepath.Join(base, "logs", "other"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := wholeFolder(dir, func(func(string, []byte) error) error { return syscall.ENOSPC }); err == nil {
		t.Error("no error of a full disk")
	}
	if left := there(); !slices.Equal(left, []string{"logs", "logs/other"}) {
		t.Errorf("beside another's folder: %v", left)
	}
	err := wholeFolder(dir, func(write func(string, []byte) error) error {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the folder is there before it is whole: %v", err)
		}
		return errors.Join(write("vkey", []byte("key")), write("tile/0/000", nil))
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := there(); !slices.Equal(got, []string{"logs", "logs/acme", "logs/acme/0", "logs/acme/0/tile", "logs/acme/0/tile/0", "logs/acme/0/tile/0/000", "logs/acme/0/vkey", "logs/other"}) {
		t.Errorf("written: %v", got)
	}
	mode := func(path string) fs.FileMode {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode()
	}
	if got, want := mode(dir), mode(filepath.Dir(dir)); got != want {
		t.Errorf("its mode is %v, that of other folders %v", got, want)
	}
}

func TestExportSaysWhichLogsAreLeft(t *testing.T) {
	f := new(app).judge(othersLeft(&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, []string{"acme/1/2026Q4", "acme/2/2026Q4"}))
	if !strings.Contains(f.hint, "the disk is full: make room") || !strings.Contains(f.hint, "--log acme/1/2026Q4 --log acme/2/2026Q4") || !errors.Is(f, syscall.ENOSPC) {
		t.Errorf("%v, hint %q", f, f.hint)
	}
}
