package dirstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/stelelog/stele/backup/worm"
)

// fail says which operation failed. Where somebody must act first it wraps worm.ErrPermanent and says what to do.
func fail(operation string, err error) error {
	if remedy := remedyFor(err); remedy != "" {
		return fmt.Errorf("dirstore: %s: %w (%w: %s)", operation, err, worm.ErrPermanent, remedy)
	}
	return fmt.Errorf("dirstore: %s: %w", operation, err)
}

// remedyFor is empty where trying again may help.
func remedyFor(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "this user may not do that here, change the owner or the mode of the directory"
	case errors.Is(err, syscall.EROFS):
		return "the file system is read-only, mount it writable or name another directory"
	case errors.Is(err, syscall.ENOTDIR):
		return inTheWay(err) + " is a file where a folder must be, move it away"
	case errors.Is(err, syscall.ENOSPC):
		return "the disk is full, make room"
	case errors.Is(err, syscall.EDQUOT):
		return "the quota is used up, make room or have it raised"
	}
	return ""
}

// inTheWay finds the part of a path that is no folder.
func inTheWay(err error) string {
	var at *fs.PathError
	if !errors.As(err, &at) {
		return "something"
	}
	path := at.Path
	for up := filepath.Dir(path); up != path; path, up = up, filepath.Dir(up) {
		if info, err := os.Lstat(path); err == nil && !info.IsDir() {
			return path
		}
	}
	return at.Path
}
