package e2e_test

import (
	"fmt"
	"syscall"
)

// mountMemory mounts a file system in memory, or changes the one that is mounted.
func mountMemory(dir string, bytes int64, again, readOnly bool) error {
	var flags uintptr
	if again {
		flags |= syscall.MS_REMOUNT
	}
	if readOnly {
		flags |= syscall.MS_RDONLY
	}
	return syscall.Mount("tmpfs", dir, "tmpfs", flags, fmt.Sprintf("size=%d", bytes))
}

// unmount takes it away once nobody uses it.
func unmount(dir string) error { return syscall.Unmount(dir, syscall.MNT_DETACH) }
