package s3store

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/stelelog/stele/backup/probe"
	"github.com/stelelog/stele/backup/worm"
)

// What this file can do to a bucket it does under probe.Prefix only: no object of an archive is within its reach.

var (
	_ probe.Attacker  = (*Store)(nil)
	_ probe.Describer = (*Store)(nil)
)

// TryDelete implements [probe.Attacker]. It needs s3:DeleteObjectVersion, and s3:BypassGovernanceRetention for bypass.
func (s *Store) TryDelete(ctx context.Context, key, id string, bypass bool) error {
	name, err := s.canary(key, id)
	if err == nil {
		err = s.core.RemoveObject(ctx, s.bucket, name, minio.RemoveObjectOptions{VersionID: id, GovernanceBypass: bypass})
	}
	return s.answered(ctx, "try to delete", key, id, err)
}

// TryLock implements [probe.Attacker]. It needs s3:PutObjectRetention.
func (s *Store) TryLock(ctx context.Context, key, id string, lock worm.Lock, bypass bool) error {
	name, err := s.canary(key, id)
	if err != nil {
		return s.answered(ctx, "try to lock", key, id, err)
	}
	mode, until, err := retention(lock)
	if err == nil {
		err = s.core.PutObjectRetention(ctx, s.bucket, name, minio.PutObjectRetentionOptions{
			Mode: &mode, RetainUntilDate: &until, VersionID: id, GovernanceBypass: bypass,
		})
	}
	return s.answered(ctx, "try to lock", key, id, err)
}

// TryMark implements [probe.Attacker]. It needs s3:DeleteObject.
func (s *Store) TryMark(ctx context.Context, key string) error {
	name, err := s.canary(key, "newest")
	if err == nil {
		err = s.core.RemoveObject(ctx, s.bucket, name, minio.RemoveObjectOptions{})
	}
	return s.answered(ctx, "try to mark", key, "", err)
}

// TryOverwrite implements [probe.Attacker]. It needs s3:PutObject.
func (s *Store) TryOverwrite(ctx context.Context, key string, data []byte) error {
	name, err := s.canary(key, "newest")
	if err == nil {
		sha, sum := sha256.Sum256(data), md5.Sum(data)
		_, err = s.core.PutObject(ctx, s.bucket, name, bytes.NewReader(data), int64(len(data)),
			base64.StdEncoding.EncodeToString(sum[:]), hex.EncodeToString(sha[:]), minio.PutObjectOptions{DisableContentSha256: true})
	}
	return s.answered(ctx, "try to overwrite", key, "", err)
}

// canary returns the name of a canary in the bucket.
func (s *Store) canary(key, id string) (string, error) {
	if !strings.HasPrefix(key, probe.Prefix) {
		return "", fmt.Errorf("only keys under %s may be tried out", probe.Prefix)
	}
	if id == "" {
		return "", errors.New("no version is named")
	}
	return s.name(key)
}

// answered wraps fs.ErrPermission if the service has refused, whatever it calls that.
func (s *Store) answered(ctx context.Context, op, key, id string, err error) error {
	if err == nil {
		return nil
	}
	var answer minio.ErrorResponse
	if errors.As(err, &answer) {
		switch answer.StatusCode {
		case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusPreconditionFailed:
			return &Error{Op: op, Bucket: s.bucket, Key: key, Code: answer.Code,
				Err: fmt.Errorf("%w: %s", fs.ErrPermission, strings.TrimSpace(answer.Message))}
		}
	}
	return s.wrap(ctx, op, key, id, err)
}

// Describe implements [probe.Describer]. It needs s3:GetBucketVersioning and s3:GetBucketObjectLockConfiguration.
func (s *Store) Describe(ctx context.Context) (probe.Bucket, error) {
	var b probe.Bucket
	versioning, err := s.core.GetBucketVersioning(ctx, s.bucket)
	if err != nil {
		return b, s.wrap(ctx, "describe", "", "", err)
	}
	b.Versions = versioning.Enabled()
	lock, mode, validity, unit, err := s.core.GetObjectLockConfig(ctx, s.bucket)
	var answer minio.ErrorResponse
	if errors.As(err, &answer) && (answer.Code == "ObjectLockConfigurationNotFoundError" || answer.StatusCode == http.StatusNotFound) {
		return b, nil
	}
	if err != nil {
		return b, s.wrap(ctx, "describe", "", "", err)
	}
	b.Locks = lock == "Enabled"
	if mode != nil && validity != nil && unit != nil && *validity > 0 {
		rule, err := lockFrom(*mode, time.Time{})
		if err != nil {
			return b, s.wrap(ctx, "describe", "", "", err)
		}
		days := time.Duration(*validity)
		if *unit == minio.Years {
			days *= 365
		}
		b.Rule, b.RuleKeep = rule.Mode, days*24*time.Hour
	}
	return b, nil
}
