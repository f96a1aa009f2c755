//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package spool

import (
	"errors"
	"fmt"
	"os"
)

// Without flock nobody could tell a live writer from a dead one, so there is no spool on these systems.

func flockWait(f *os.File) error { return fmt.Errorf("lock %s: %w", f.Name(), errors.ErrUnsupported) }

func flockTry(f *os.File) (bool, error) { return false, flockWait(f) }

func diskFull(error) bool { return false }
