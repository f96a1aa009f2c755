package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// wholeFolder makes a folder of the files that fill writes, all of them or none: they are written beside it, under a name that
// begins with a dot, and what was begun is removed if that fails.
func wholeFolder(dir string, fill func(write func(path string, data []byte) error) error) error {
	parent, made, err := makeFolders(filepath.Dir(dir))
	if err != nil {
		return removed(err, "", made)
	}
	temp, err := os.MkdirTemp(parent, ".begun-")
	if err != nil {
		return removed(err, "", made)
	}
	whole := filepath.Join(temp, filepath.Base(dir)) // temp is for its owner alone
	if err = os.Mkdir(whole, 0o755); err == nil {
		err = fill(func(path string, data []byte) error {
			name := filepath.Join(whole, filepath.FromSlash(path))
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				return err
			}
			return os.WriteFile(name, data, 0o644)
		})
	}
	if err == nil {
		err = os.Rename(whole, dir)
	}
	if err != nil {
		return removed(err, temp, made)
	}
	return os.Remove(temp)
}

// makeFolders makes a folder with those above it, and returns which of them were missing, the innermost first.
func makeFolders(dir string) (path string, made []string, err error) {
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(at); !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			break
		}
		made = append(made, at)
	}
	return dir, made, os.MkdirAll(dir, 0o755)
}

// removed takes away a folder that was begun, and those that were made for it and are empty, and adds to the error what became
// of it.
func removed(err error, begun string, made []string) error {
	if begun != "" {
		if left := os.RemoveAll(begun); left != nil {
			return fmt.Errorf("%w; remove what was begun, %s: %w", err, begun, left)
		}
		err = fmt.Errorf("%w; what was begun is removed", err)
	}
	for _, dir := range made {
		_ = os.Remove(dir) // not empty: somebody else's
	}
	return err
}
