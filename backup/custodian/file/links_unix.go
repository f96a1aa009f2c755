//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package file

import (
	"io/fs"
	"syscall"
)

// linkedTwice reports whether a file has a second name.
func linkedTwice(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Nlink > 1
}
