package dirstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/stelelog/stele/backup/worm"
)

// Deleter is a worm.Deleter on a directory. It keeps to the recorded locks, though nothing forces it.
type Deleter struct {
	store *Store
	now   func() time.Time
}

var _ worm.Deleter = Deleter{}

// OpenDeleter opens the directory dir to remove what has expired.
func OpenDeleter(dir string) (Deleter, error) {
	s, err := Open(dir, Options{})
	return Deleter{s, time.Now}, err
}

// Delete implements worm.Deleter. The object goes before its lock, so that a crash leaves no object without one.
func (d Deleter) Delete(ctx context.Context, key, id string) error {
	if err := d.delete(ctx, key, id); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail("delete "+key, err)
	}
	return nil
}

func (d Deleter) delete(ctx context.Context, key, id string) error {
	path, _, err := d.store.object(ctx, key, id)
	if err != nil {
		return err
	}
	until, err := d.store.recorded(key)
	if err != nil {
		return err
	}
	if d.now().Before(until) {
		return fmt.Errorf("it is locked until %s: %w", until.Format(time.RFC3339), fs.ErrPermission)
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	if err := d.store.fs.SyncDir(filepath.Dir(path)); err != nil {
		return err
	}
	return os.Remove(d.store.lockPath(key))
}
