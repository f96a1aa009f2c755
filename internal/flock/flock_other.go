//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package flock

import (
	"errors"
	"fmt"
	"os"
)

// Wait fails with [errors.ErrUnsupported].
func Wait(f *os.File) error { return fmt.Errorf("lock %s: %w", f.Name(), errors.ErrUnsupported) }

// Try fails with [errors.ErrUnsupported].
func Try(f *os.File) (bool, error) { return false, Wait(f) }
