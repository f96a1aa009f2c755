//go:build unix

package backup_test

import (
	"syscall"
	"testing"
	"time"
)

// cpuTime is the CPU time that the process has used, in user and kernel.
func cpuTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
