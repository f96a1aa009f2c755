package file

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/stelelog/stele/internal/flock"
)

// lock takes the lock of a directory: it excludes other processes and other calls, and ends with the process. It waits
// until ctx ends, because who holds it may wait for a slow disk. Without it two processes could create one generation with two
// keys, so where there is no such lock there is no such custodian.
func lock(ctx context.Context, path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, keyPerm)
	if err != nil {
		return nil, err
	}
	for {
		held, err := flock.Try(f)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if held {
			return f.Close, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(2 * time.Millisecond):
		}
	}
}
