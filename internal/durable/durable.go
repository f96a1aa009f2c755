// Package durable writes files so that they survive a power failure, and says exactly when they do.
//
// Every function returns nil only after the data and the directory entry that names it have been
// handed to the disk with fsync(2). The order of system calls is part of the contract:
//
//	Create     open(temp, O_EXCL) write fsync close   link(temp, path)   unlink(temp) open(dir) fsync close
//	WriteFile  open(temp, O_EXCL) write fsync close   rename(temp, path)              open(dir) fsync close
//	Append     open(path, O_APPEND) write fsync close                                 open(dir) fsync close
//	MkdirAll   top down, for each missing directory: mkdir, then open(parent) fsync close
//
// The temporary file lies in the directory of path, so link and rename never cross a file system. No
// name ever points to partial data, because the data is synced before it gets its name. An fsync that
// failed is never repeated on the same file: the kernel may have dropped the dirty pages and would then
// report success; the file is given up instead.
//
// Known limits. Nothing here survives a disk that acknowledges a flush it did not do. Create needs hard
// links (ext4, XFS, Btrfs, ZFS, tmpfs, APFS and NFS have them; exFAT and some FUSE and SMB mounts do not
// and give an error). Directories can be synced on Unix only. A crash between two steps can leave a
// temporary file behind; RemoveStale removes those. On NFS the reply to link or rename can be lost: the
// error is then returned although the file is there.
package durable

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Step names one system call in the error of a failed operation ([fs.PathError].Op) and for a [FS.Hook].
type Step string

// The steps, in the order in which they can happen.
const (
	StepMkdir   Step = "make folder"
	StepOpen    Step = "open"
	StepCreate  Step = "create temporary file"
	StepWrite   Step = "write"
	StepSync    Step = "sync"
	StepClose   Step = "close"
	StepLink    Step = "link"
	StepRename  Step = "rename"
	StepRemove  Step = "remove temporary file"
	StepOpenDir Step = "open folder"
	StepSyncDir Step = "sync folder"
)

// tempPrefix starts the name of every temporary file. '~' keeps it apart from names that callers use.
const tempPrefix = ".tmp~"

// FS runs the operations of this package. The zero FS is ready to use and is what the package functions
// use; its methods are safe for concurrent use.
//
// Errors are *fs.PathError with the Step as Op, the path concerned and the errno as Err. Apart from
// Create on an existing path, an operation that fails may or may not have taken effect if the step that
// failed is StepLink, StepRename or a later one; if it is an earlier one nothing is visible at path.
type FS struct {
	// Hook, if not nil, is called before (done false) and after (done true) every step that goes well.
	// An error that it returns is taken for the error of the step. It is there for crash tests.
	Hook func(step Step, path string, done bool) error
}

// Create makes the file path with data and permissions perm (before umask) if nothing has that name yet.
// The file appears at once and whole, for one of any number of racing callers. If path exists the error
// wraps fs.ErrExist, nothing was changed, and the existing name is durable. The directory must exist.
func (f FS) Create(path string, data []byte, perm fs.FileMode) error {
	temp, err := f.writeTemp(path, data, perm)
	if err != nil {
		return err
	}
	linkErr := f.step(StepLink, path, func() error { return os.Link(temp, path) })
	removeErr := f.step(StepRemove, temp, func() error { return os.Remove(temp) })
	if linkErr != nil && !errors.Is(linkErr, fs.ErrExist) {
		return errors.Join(linkErr, removeErr)
	}
	// Also for a name that was there before: whoever made it may not have got as far as this, and our
	// caller will rely on it.
	if err := f.SyncDir(filepath.Dir(path)); err != nil {
		return errors.Join(err, removeErr)
	}
	if removeErr != nil {
		return removeErr
	}
	return linkErr
}

// WriteFile makes or atomically replaces the file path: after a crash it holds the old or the new data.
// The directory must exist.
func (f FS) WriteFile(path string, data []byte, perm fs.FileMode) error {
	temp, err := f.writeTemp(path, data, perm)
	if err != nil {
		return err
	}
	if err := f.step(StepRename, path, func() error { return os.Rename(temp, path) }); err != nil {
		os.Remove(temp)
		return err
	}
	return f.SyncDir(filepath.Dir(path))
}

// Append adds data to the end of the file path in one write, making the file first if it is missing.
// Appends by several processes do not mix on a local file system; a crash can leave a part of data.
func (f FS) Append(path string, data []byte, perm fs.FileMode) error {
	var file *os.File
	err := f.step(StepOpen, path, func() (err error) {
		file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, perm)
		return err
	})
	if file == nil {
		return err
	}
	if err == nil {
		err = f.fill(file, data)
	}
	if closeErr := f.step(StepClose, path, file.Close); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return f.SyncDir(filepath.Dir(path))
}

// MkdirAll makes the directory dir and all missing parents, and makes their names durable. A directory
// that exists is enough only if it was made by MkdirAll: an interrupted call may have left its name
// unsynced, so the parent of the deepest existing directory is synced as well (unless we may not read it).
func (f FS) MkdirAll(dir string, perm fs.FileMode) error {
	dir = filepath.Clean(dir)
	parent := filepath.Dir(dir)
	info, err := os.Stat(dir)
	switch {
	case err == nil && !info.IsDir():
		return &fs.PathError{Op: string(StepMkdir), Path: dir, Err: errors.New("exists and is not a folder")}
	case err == nil && parent == dir:
		return nil
	case err == nil:
		if err := f.SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := f.MkdirAll(parent, perm); err != nil {
		return err
	}
	err = f.step(StepMkdir, dir, func() error { return os.Mkdir(dir, perm) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return f.SyncDir(parent)
}

// SyncDir makes the names in the directory dir durable.
func (f FS) SyncDir(dir string) error {
	var d *os.File
	err := f.step(StepOpenDir, dir, func() (err error) {
		d, err = os.Open(dir)
		return err
	})
	if d == nil {
		return err
	}
	defer d.Close()
	if err != nil {
		return err
	}
	return f.step(StepSyncDir, dir, d.Sync)
}

// writeTemp writes and syncs a temporary file beside path and returns its name. It leaves nothing behind
// if it fails.
func (f FS) writeTemp(path string, data []byte, perm fs.FileMode) (temp string, err error) {
	var random [8]byte
	rand.Read(random[:]) // never fails
	temp = filepath.Join(filepath.Dir(path), tempPrefix+hex.EncodeToString(random[:]))
	var file *os.File
	err = f.step(StepCreate, temp, func() (err error) {
		file, err = os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
		return err
	})
	if file == nil {
		return "", err
	}
	if err == nil {
		err = f.fill(file, data)
	}
	if closeErr := f.step(StepClose, temp, file.Close); err == nil {
		err = closeErr
	}
	if err != nil {
		file.Close()
		return "", errors.Join(err, os.Remove(temp))
	}
	return temp, nil
}

func (f FS) fill(file *os.File, data []byte) error {
	err := f.step(StepWrite, file.Name(), func() error {
		_, err := file.Write(data)
		return err
	})
	if err != nil {
		return err
	}
	return f.step(StepSync, file.Name(), file.Sync)
}

// step runs do between the two calls of the hook and gives its error the one shape that callers see.
func (f FS) step(name Step, path string, do func() error) error {
	err := f.hook(name, path, false)
	if err == nil {
		err = do()
	}
	if err == nil {
		err = f.hook(name, path, true)
	}
	if err == nil {
		return nil
	}
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	} else if errors.As(err, &linkErr) {
		err = linkErr.Err
	}
	return &fs.PathError{Op: string(name), Path: path, Err: err}
}

func (f FS) hook(name Step, path string, done bool) error {
	if f.Hook == nil {
		return nil
	}
	return f.Hook(name, path, done)
}

// Create is [FS.Create] of the zero FS.
func Create(path string, data []byte, perm fs.FileMode) error { return FS{}.Create(path, data, perm) }

// WriteFile is [FS.WriteFile] of the zero FS.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return FS{}.WriteFile(path, data, perm)
}

// MkdirAll is [FS.MkdirAll] of the zero FS.
func MkdirAll(dir string, perm fs.FileMode) error { return FS{}.MkdirAll(dir, perm) }

// RemoveStale removes the temporary files in dir that were last written more than age ago, which a crash
// left there. It is a cleaning, not a promise: a file that cannot be removed is left, without an error.
func RemoveStale(dir string, age time.Duration) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	limit := time.Now().Add(-age)
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), tempPrefix) {
			continue
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && info.ModTime().Before(limit) {
			os.Remove(filepath.Join(dir, entry.Name()))
		}
	}
}
