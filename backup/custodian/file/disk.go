package file

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/internal/durable"
)

// disk writes and removes files. Tests stop it between any two steps.
type disk struct {
	fs  durable.FS
	now func() time.Time
}

// keyFile is a key on disk (docs/formats/custodian.md).
type keyFile struct {
	Stele      string `json:"stele"`
	Archive    string `json:"archive"`
	Name       string `json:"name"`
	Generation uint64 `json:"generation"`
	Key        []byte `json:"key"`
}

const keyFormat = "generation-key/v1"

func marshalKey(id custodian.Identity, generation uint64, key []byte) ([]byte, error) {
	data, err := json.Marshal(keyFile{keyFormat, hex.EncodeToString(id.Archive[:]), id.Name, generation, key})
	return append(data, '\n'), err
}

// maxFile bounds what is read: a key and its names have less than 300 bytes.
const maxFile = 1024

// load reads a key. The error wraps fs.ErrNotExist if there is no file.
func (c *Custodian) load(generation uint64) ([]byte, error) {
	path := c.keyPath(generation)
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is no regular file of mode 0600: somebody else changed it", path)
	}
	data, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	var f keyFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%s is damaged: restore it, or use the other custodians", path)
	}
	same := f.Stele == keyFormat && f.Archive == hex.EncodeToString(c.id.Archive[:]) && f.Name == c.id.Name && f.Generation == generation
	if !same || len(f.Key) != keySize {
		clear(f.Key)
		return nil, fmt.Errorf("%s holds not the key that its name says: restore it, or use the other custodians", path)
	}
	return f.Key, nil
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is too long to be a file of ours", path)
	}
	return data, err
}

// mark returns the time in a mark, or zero if there is none.
func (c *Custodian) mark(generation uint64, mark string) (time.Time, error) {
	path := c.markPath(generation, mark)
	data, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339Nano, string(bytes.TrimSpace(data)))
	if err != nil || t.IsZero() {
		return time.Time{}, fmt.Errorf("%s is damaged: it holds no time", path)
	}
	return t, nil
}

func (d disk) writeMark(path string) error {
	return d.fs.WriteFile(path, []byte(d.now().UTC().Format(time.RFC3339Nano)+"\n"), keyPerm)
}

// Steps of wipe, for the hook of tests.
const (
	stepOverwrite durable.Step = "overwrite"
	stepUnlink    durable.Step = "unlink"
)

// wipe overwrites a file in place, removes it, and makes both durable. A file that is gone only has its directory synced:
// whoever removed it may not have got as far.
func (d disk) wipe(path string) error {
	if err := d.step(stepOverwrite, path, func() error { return overwrite(path) }); err != nil {
		return err
	}
	err := d.step(stepUnlink, path, func() error {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	return d.fs.SyncDir(filepath.Dir(path))
}

func (d disk) step(step durable.Step, path string, do func() error) error {
	if d.fs.Hook == nil {
		return do()
	}
	if err := d.fs.Hook(step, path, false); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return d.fs.Hook(step, path, true)
}

// overwrite fills a regular file with random bytes, in place, and syncs it. A link to elsewhere is not followed.
func overwrite(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file: somebody moved the key, find it and put it back", path)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	noise := make([]byte, min(max(info.Size(), 1), maxFile))
	_, _ = rand.Read(noise) // never fails, by its documentation
	_, err = f.Write(noise)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// wipeTemp removes what a crash left while a key was written. The caller holds the directory's lock, so nobody is writing.
func (d disk) wipeTemp(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if !strings.HasPrefix(entry.Name(), ".tmp~") {
			continue
		}
		// A crash between link and remove leaves a second name of a live key: that one must not be overwritten.
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if linkedTwice(info) {
			err = errors.Join(os.Remove(path), d.fs.SyncDir(dir))
		} else {
			err = d.wipe(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refused marks what a disk refuses now, and need not later: until then its custodian is like one that is away.
func refused(err error) error {
	remedy := ""
	switch {
	case errors.Is(err, custodian.ErrUnavailable): // which says why
	case errors.Is(err, syscall.ENOSPC):
		remedy = "its disk is full, make room"
	case errors.Is(err, syscall.EDQUOT):
		remedy = "the quota is used up, make room or have it raised"
	case errors.Is(err, syscall.EROFS):
		remedy = "its disk is read-only, mount it writable"
	case errors.Is(err, syscall.EIO):
		remedy = "its disk fails, replace it and put the folder back from a backup"
	}
	if remedy == "" {
		return err
	}
	return fmt.Errorf("%w: %s: %w", custodian.ErrUnavailable, remedy, err)
}
