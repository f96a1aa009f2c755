package s3store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/minio/minio-go/v7"

	"github.com/stelelog/stele/backup/worm"
)

// Deleter is a worm.Deleter on a bucket. It needs s3:DeleteObjectVersion, which no role has that writes, and never asks
// to bypass governance. It is safe for concurrent use.
type Deleter struct{ store *Store }

var _ worm.Deleter = Deleter{}

// OpenDeleter opens what [Open] opens, to remove what has expired.
func OpenDeleter(ctx context.Context, config Config) (Deleter, error) {
	s, err := Open(ctx, config)
	return Deleter{s}, err
}

// Delete implements worm.Deleter.
func (d Deleter) Delete(ctx context.Context, key, id string) error {
	s := d.store
	name, err := s.name(key)
	if err == nil && id == "" {
		err = errors.New("only a version can be removed for good")
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = s.core.RemoveObject(ctx, s.bucket, name, minio.RemoveObjectOptions{VersionID: id})
	}
	if err == nil {
		return nil
	}
	var answer minio.ErrorResponse
	held := errors.As(err, &answer) && (answer.StatusCode == http.StatusBadRequest || answer.StatusCode == http.StatusForbidden)
	err = s.wrap(ctx, "delete", key, id, err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case held: // services say with either that a lock holds it
		return fmt.Errorf("%w: %w", err, fs.ErrPermission)
	}
	return err
}
