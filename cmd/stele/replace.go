package main

import (
	"errors"
	"os"
	"path/filepath"
)

// replaceFile writes a secret file, whole or not at all. It stays that of its owner.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".stele-*") // mode 0600
	if err != nil {
		return err
	}
	if old, gone := os.Stat(path); gone == nil {
		err = giveTo(f.Name(), old)
	}
	if err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename survive a power failure, where directories can be synced.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return nil // a directory that may be written to but not read
	}
	_ = d.Sync() // some file systems refuse
	return d.Close()
}
