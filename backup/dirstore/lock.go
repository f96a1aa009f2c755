package dirstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/stelelog/stele/backup/worm"
)

// lockDir mirrors the objects: the file lockDir/key has one line for every date to which the lock of key
// was set, and the latest one counts. Appending cannot shorten a lock, needs no lock among processes, and
// a torn line is simply not a date.
const lockDir = ".stele/locks"

// lockLine is one line of such a file, always in UTC.
const lockLine = "2006-01-02T15:04:05Z\n"

// maxLockFile bounds what is read of a lock file: 48,000 dates, and what fits beyond is not ours.
const maxLockFile = 1 << 20

// ReadLock implements [worm.LockReader]. It returns the zero Lock for an object without a recorded lock.
func (s *Store) ReadLock(ctx context.Context, key, id string) (worm.Lock, error) {
	if _, _, err := s.object(ctx, key, id); err != nil {
		return worm.Lock{}, fail("read lock "+key, err)
	}
	until, err := s.recorded(key)
	if err != nil {
		return worm.Lock{}, fail("read lock "+key, err)
	}
	if until.IsZero() {
		return worm.Lock{}, nil
	}
	return worm.Lock{Mode: worm.LockAdvisory, Until: until}, nil
}

// Extend implements [worm.Store]. The mode of lock must not be none; it is recorded as advisory.
func (s *Store) Extend(ctx context.Context, key, id string, lock worm.Lock) error {
	if err := s.extend(ctx, key, id, lock); err != nil {
		return fail("extend "+key, err)
	}
	return nil
}

func (s *Store) extend(ctx context.Context, key, id string, lock worm.Lock) error {
	until, locked, err := endOf(lock)
	if err != nil {
		return err
	}
	if !locked {
		return errors.New("lock without a mode")
	}
	if _, _, err := s.object(ctx, key, id); err != nil {
		return err
	}
	return s.record(key, until)
}

// record makes sure that the recorded end of the lock of key is not before until, and reads it back.
func (s *Store) record(key string, until time.Time) error {
	now, err := s.recorded(key)
	if err != nil {
		return err
	}
	path := s.lockPath(key)
	if err := s.folder(filepath.Dir(path)); err != nil {
		return err
	}
	if !now.IsZero() && !until.After(now) {
		// It is there, but whoever wrote it may have stopped before it was durable.
		return s.fs.Append(path, nil, lockPerm)
	}
	// The first line break ends a line that a crash tore, so that it cannot swallow ours.
	line := until.Format("\n" + lockLine)
	if err := s.fs.Append(path, []byte(line), lockPerm); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			s.ready.Delete(filepath.Dir(path)) // as in create
		}
		return err
	}
	now, err = s.recorded(key)
	if err == nil && now.Before(until) {
		err = fmt.Errorf("lock until %s was written to %s but read back as %s", until, path, now)
	}
	return err
}

// recorded returns the end of the recorded lock of key, the zero time if there is none.
func (s *Store) recorded(key string) (time.Time, error) {
	var latest time.Time
	path := s.lockPath(key)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return latest, nil
	case err != nil:
		return latest, err
	case !info.Mode().IsRegular() || info.Size() > maxLockFile:
		return latest, fmt.Errorf("%s is no lock file", path)
	}
	lines, err := os.ReadFile(path)
	if err != nil {
		return latest, err
	}
	for line := range bytes.Lines(lines) {
		if until, err := time.Parse(lockLine, string(line)); err == nil && until.After(latest) {
			latest = until
		}
	}
	return latest, nil
}

func (s *Store) lockPath(key string) string {
	return filepath.Join(s.root, filepath.FromSlash(lockDir), filepath.FromSlash(key))
}

// endOf returns the end of lock in whole seconds, rounded up, and whether it asks for a lock at all.
func endOf(lock worm.Lock) (until time.Time, locked bool, err error) {
	switch lock.Mode {
	case "", worm.LockNone:
		if !lock.Until.IsZero() {
			return until, false, errors.New("lock with an end but without a mode")
		}
		return until, false, nil
	case worm.LockAdvisory, worm.LockGovernance, worm.LockCompliance:
	default:
		return until, false, fmt.Errorf("unknown lock mode %q", lock.Mode)
	}
	until = lock.Until.UTC().Truncate(time.Second)
	if until.Before(lock.Until) {
		until = until.Add(time.Second)
	}
	if until.Year() < 1970 || until.Year() > 9999 {
		return until, false, fmt.Errorf("lock ends at %s", until)
	}
	return until, true, nil
}
