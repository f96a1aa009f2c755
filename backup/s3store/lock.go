package s3store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/stelelog/stele/backup/worm"
)

// Extend implements [worm.Store]. The mode of a version that has a lock stays as it is. Extend needs
// s3:PutObjectRetention, but never asks to bypass governance, so no service lets it shorten a lock.
func (s *Store) Extend(ctx context.Context, key, id string, lock worm.Lock) error {
	if err := s.extend(ctx, key, id, lock); err != nil {
		return s.wrap(ctx, "extend", key, id, err)
	}
	return nil
}

func (s *Store) extend(ctx context.Context, key, id string, lock worm.Lock) error {
	name, err := s.name(key)
	if err != nil {
		return err
	}
	mode, until, err := retention(lock)
	if err == nil && mode == "" {
		err = errors.New("lock without a mode")
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	v, now, err := s.stat(ctx, name, id)
	if err != nil {
		return err
	}
	if now.Mode != "" {
		if !until.After(now.Until) {
			return nil
		}
		mode = modes[now.Mode]
	}
	putErr := s.core.PutObjectRetention(ctx, s.bucket, name, minio.PutObjectRetentionOptions{
		Mode: &mode, RetainUntilDate: &until, VersionID: v.ID,
	})
	// Somebody may have extended it further between, which makes the service refuse: what counts is what
	// holds now.
	_, now, err = s.stat(ctx, name, v.ID)
	if err == nil {
		err = holds(now, mode, until)
	}
	if err != nil && putErr != nil {
		return putErr
	}
	return err
}

// ReadLock implements [worm.LockReader]. It needs s3:GetObjectRetention.
func (s *Store) ReadLock(ctx context.Context, key, id string) (worm.Lock, error) {
	name, err := s.name(key)
	if err == nil {
		err = ctx.Err()
	}
	var lock worm.Lock
	if err == nil {
		_, lock, err = s.stat(ctx, name, id)
	}
	if err != nil {
		return worm.Lock{}, s.wrap(ctx, "read lock", key, id, err)
	}
	return lock, nil
}

// lockOf returns the lock of one version from the header of its HEAD, or by a request of its own if the
// header is silent: a service leaves it out for who may not see it, and versitygw always.
func (s *Store) lockOf(ctx context.Context, name, id string, header http.Header) (worm.Lock, error) {
	mode, until := header.Get("X-Amz-Object-Lock-Mode"), header.Get("X-Amz-Object-Lock-Retain-Until-Date")
	if mode != "" && until != "" {
		end, err := time.Parse(time.RFC3339, until)
		if err != nil {
			return worm.Lock{}, fmt.Errorf("end of retention: %w", err)
		}
		return lockFrom(minio.RetentionMode(mode), end)
	}
	shown, end, err := s.core.GetObjectRetention(ctx, s.bucket, name, id)
	switch {
	case saysNoLock(err):
		return worm.Lock{}, nil
	case err != nil:
		return worm.Lock{}, err
	case shown == nil || *shown == "" || end == nil:
		return worm.Lock{}, nil
	}
	return lockFrom(*shown, *end)
}

func lockFrom(mode minio.RetentionMode, until time.Time) (worm.Lock, error) {
	for ours, theirs := range modes {
		if mode == theirs {
			// The part of a second, should there be one, is not ours to promise.
			return worm.Lock{Mode: ours, Until: until.UTC().Truncate(time.Second)}, nil
		}
	}
	return worm.Lock{}, fmt.Errorf("unknown retention mode %q", mode)
}

// modes maps the modes that S3 knows.
var modes = map[worm.LockMode]minio.RetentionMode{
	worm.LockGovernance: minio.Governance,
	worm.LockCompliance: minio.Compliance,
}

// retention returns lock as S3 wants it, the end rounded up to a whole second; no mode means no lock.
func retention(lock worm.Lock) (mode minio.RetentionMode, until time.Time, err error) {
	if lock.Mode == "" || lock.Mode == worm.LockNone {
		if !lock.Until.IsZero() {
			return "", time.Time{}, errors.New("lock with an end but without a mode")
		}
		return "", time.Time{}, nil
	}
	mode, ok := modes[lock.Mode]
	if !ok {
		return "", time.Time{}, fmt.Errorf("S3 has no lock mode %q", lock.Mode)
	}
	until = lock.Until.UTC().Truncate(time.Second)
	if until.Before(lock.Until) {
		until = until.Add(time.Second)
	}
	if until.Year() < 1970 || until.Year() > 9999 {
		return "", time.Time{}, fmt.Errorf("lock ends at %s", until)
	}
	return mode, until, nil
}

// holds returns an error unless lock is at least what was asked for.
func holds(lock worm.Lock, mode minio.RetentionMode, until time.Time) error {
	if mode == "" || modes[lock.Mode] == mode && !lock.Until.Before(until) {
		return nil
	}
	if lock.Mode == worm.LockCompliance && !lock.Until.Before(until) {
		return nil // stronger than asked for
	}
	return fmt.Errorf("asked for %s until %s, but %q until %s is in force: the service does not enforce object lock",
		mode, until.Format(time.RFC3339), lock.Mode, lock.Until.Format(time.RFC3339))
}
