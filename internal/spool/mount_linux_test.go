package spool

import (
	"fmt"
	"syscall"
)

// mountSmall mounts a file system of size bytes at dir, if we may.
func mountSmall(dir string, size int) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size))
}

func unmount(dir string) error { return syscall.Unmount(dir, 0) }
