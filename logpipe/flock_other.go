//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package logpipe

import (
	"errors"
	"fmt"
	"os"
)

// flockTry fails: without flock nobody could tell a live stream from a dead one.
func flockTry(f *os.File) (bool, error) {
	return false, fmt.Errorf("lock %s: %w", f.Name(), errors.ErrUnsupported)
}
