// Package dirstore keeps the objects of an archive as files in a local directory.
//
// The object with key a/b/c is the file a/b/c, mode 0444. Its lock is a line in .stele/locks/a/b/c. There
// is nothing else: a plain recursive copy of the directory is as good as the original, and so is a plain
// download of a bucket, which then has no recorded locks. docs/formats/stores.md has the details.
//
// A directory cannot stop its owner from deleting files, so locks are advisory: every lock is reported as
// [worm.LockAdvisory], whatever mode was asked for.
package dirstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/durable"
	"github.com/stelelog/stele/internal/durable/objkey"
)

const (
	filePerm   = 0o444
	folderPerm = 0o755
	lockPerm   = 0o644

	// staleAge is when a temporary file is taken for one that a crash left; nobody writes for so long.
	staleAge = time.Hour

	defaultMaxObject = 1 << 30
)

// Options configure [Open]. The zero Options open an existing directory.
type Options struct {
	// Create makes the directory, durably, if it is missing. Without it that is an error.
	Create bool

	// MaxObject is the size in bytes above which objects are neither stored nor read, so that a file
	// that somebody planted cannot exhaust the memory of its reader. 0 means 1 GiB.
	MaxObject int64

	fs durable.FS // for tests
}

// Store is a [worm.Store] and [worm.LockReader] on a directory. It is safe for concurrent use, also by
// several processes, and keeps no open files between calls. A Store has one version of every key, with
// the empty id, and no delete markers.
type Store struct {
	root      string
	opened    fs.FileInfo // of root
	maxObject int64
	fs        durable.FS

	ready sync.Map // folders (string) whose names this process has made durable
}

var (
	_ worm.Store      = (*Store)(nil)
	_ worm.LockReader = (*Store)(nil)
)

// Open returns the store in the directory dir. Nothing is written once another directory is in its place. Without Options.Create it only reads, so a directory on
// read-only media works. The error wraps fs.ErrNotExist if dir is missing.
func Open(dir string, options Options) (*Store, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("dirstore: %w", err)
	}
	if options.Create {
		if err := options.fs.MkdirAll(root, folderPerm); err != nil {
			return nil, fmt.Errorf("dirstore: %w", err)
		}
	}
	info, err := os.Stat(root)
	if err != nil {
		return nil, fmt.Errorf("dirstore: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("dirstore: %s is a file, not a folder", root)
	}
	s := &Store{root: root, opened: info, maxObject: options.MaxObject, fs: options.fs}
	if s.maxObject <= 0 {
		s.maxObject = defaultMaxObject
	}
	return s, nil
}

// Create implements [worm.Store]. The lock is recorded before the object appears, so that no crash
// leaves an object without its lock; hence of two callers that race for one key the loser, too, may have
// moved the recorded date, never to an earlier one. An error of the file system is an *fs.PathError with
// the path and the step that failed, and wraps the errno.
func (s *Store) Create(ctx context.Context, key string, data []byte, lock worm.Lock) (worm.Version, error) {
	v, err := s.create(ctx, key, data, lock)
	if err != nil {
		return worm.Version{}, fail("create "+key, err)
	}
	return v, nil
}

func (s *Store) create(ctx context.Context, key string, data []byte, lock worm.Lock) (worm.Version, error) {
	until, locked, err := endOf(lock)
	if err != nil {
		return worm.Version{}, err
	}
	if int64(len(data)) > s.maxObject {
		return worm.Version{}, fmt.Errorf("%d bytes are more than the limit of %d", len(data), s.maxObject)
	}
	path, info, err := s.find(ctx, key)
	if err == nil {
		return worm.Version{}, s.exists(path, info)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return worm.Version{}, err
	}
	if err := s.folder(filepath.Dir(path)); err != nil {
		return worm.Version{}, err
	}
	if locked {
		if err := s.record(key, until); err != nil {
			return worm.Version{}, err
		}
	}
	err = s.fs.Create(path, data, filePerm)
	if errors.Is(err, fs.ErrNotExist) {
		s.ready.Delete(filepath.Dir(path)) // somebody removed the folder: make it again next time
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return worm.Version{}, err
	}
	info, statErr := os.Lstat(path)
	switch {
	case statErr != nil:
		return worm.Version{}, statErr
	case err != nil:
		return worm.Version{}, s.exists(path, info)
	}
	return version(key, info), nil
}

// exists returns the error for a name that is taken, which is fs.ErrExist only for an object, and only
// after its name is durable.
func (s *Store) exists(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", path)
	}
	if err := s.fs.SyncDir(filepath.Dir(path)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fs.ErrExist
}

// Read implements [worm.Store]. A range is one pread(2).
func (s *Store) Read(ctx context.Context, key, id string, r worm.Range) ([]byte, error) {
	data, err := s.read(ctx, key, id, r)
	if err != nil {
		return nil, fail("read "+key, err)
	}
	return data, nil
}

func (s *Store) read(ctx context.Context, key, id string, r worm.Range) ([]byte, error) {
	path, _, err := s.object(ctx, key, id)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if r == (worm.Range{}) {
		r.Len = info.Size()
	} else if r.Off < 0 || r.Len <= 0 || r.Len > info.Size() || r.Off > info.Size()-r.Len {
		return nil, fmt.Errorf("range of %d bytes from %d is not inside the object of %d bytes", r.Len, r.Off, info.Size())
	}
	if r.Len > s.maxObject {
		return nil, fmt.Errorf("%d bytes are more than the limit of %d", r.Len, s.maxObject)
	}
	data := make([]byte, r.Len)
	if n, err := file.ReadAt(data, r.Off); n < len(data) {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // it was shortened under our hands
		}
		return nil, err
	}
	return data, nil
}

// object returns path and metadata of an object that is there.
func (s *Store) object(ctx context.Context, key, id string) (string, fs.FileInfo, error) {
	path, info, err := s.find(ctx, key)
	switch {
	case err != nil:
		return "", nil, err
	case id != "":
		return "", nil, fmt.Errorf("version %q: %w", id, fs.ErrNotExist)
	case info.IsDir():
		return "", nil, fs.ErrNotExist
	case !info.Mode().IsRegular():
		return "", nil, fmt.Errorf("%s is no regular file", path)
	}
	return path, info, nil
}

// find checks ctx and key and returns the path of key and what is there. No symbolic link below the root
// is followed: what lies behind it would be missing from a copy.
func (s *Store) find(ctx context.Context, key string) (path string, info fs.FileInfo, err error) {
	if err := ctx.Err(); err != nil {
		return "", nil, err
	}
	if err := objkey.Check(key); err != nil {
		return "", nil, err
	}
	path = s.root
	parts := strings.Split(key, "/")
	for i, part := range parts {
		path = filepath.Join(path, part)
		info, err = os.Lstat(path)
		if err != nil {
			break
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return "", nil, fmt.Errorf("%s is a symbolic link; archives are not read or written through links", path)
		}
		if i < len(parts)-1 && !info.IsDir() {
			err = fs.ErrNotExist
			break
		}
	}
	return filepath.Join(s.root, filepath.FromSlash(key)), info, err
}

// folder makes dir durable and, once in a process, clears it of what crashes left. It never makes the root: where that has
// gone, or its disk, what is written is missed when it comes back.
func (s *Store) folder(dir string) error {
	now, err := os.Stat(s.root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || !os.SameFile(now, s.opened) {
		return fmt.Errorf("%s is gone, or another directory than the one that was opened: mount its disk or put it back; if it is to be another one, start again", s.root)
	}
	if _, ok := s.ready.Load(dir); ok {
		return nil
	}
	if err := s.fs.MkdirAll(dir, folderPerm); err != nil {
		return err
	}
	durable.RemoveStale(dir, staleAge)
	s.ready.Store(dir, struct{}{})
	return nil
}

func version(key string, info fs.FileInfo) worm.Version {
	return worm.Version{Key: key, Size: info.Size(), Modified: info.ModTime().UTC()}
}

// Advisory says that nothing here holds an object by force: locks are dates that are written down.
func (s *Store) Advisory() bool { return true }
