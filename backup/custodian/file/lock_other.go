//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// Without flock two processes could create one generation with two keys, so there is no such custodian on these systems.
func lock(_ context.Context, path string) (func() error, error) {
	return nil, fmt.Errorf("lock %s: %w", path, errors.ErrUnsupported)
}

func linkedTwice(fs.FileInfo) bool { return true }
