//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package logpipe

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// flockTry takes the exclusive lock of f if it is free. It ends when f is closed or the process dies.
func flockTry(f *os.File) (held bool, err error) {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
}
