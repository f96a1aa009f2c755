package spool

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
)

var (
	// ErrFull says that an append found no room. If the error also wraps syscall.ENOSPC or EDQUOT the disk
	// is full and the Writer is at its end; otherwise [Options.MaxBytes] was reached, nothing was written,
	// and the same append may pass after a trim.
	ErrFull = errors.New("spool is full")

	// ErrDamaged says that bytes in the middle of a log are not what was written there, are missing, or cannot be read.
	// The [Error] around it names file and offset.
	ErrDamaged = errors.New("damaged")

	// ErrPosition says that a log does not hold the wanted position: it was trimmed, or the log ends
	// before it. The [Error] around it has the first position that is still there.
	ErrPosition = errors.New("position is not in the log")

	// ErrBusy says that a lane cannot be claimed or removed: somebody holds its lock, or it still has
	// messages, or it was not ended.
	ErrBusy = errors.New("lane is in use")
)

// unreadable makes damage of what an error says of one lane: that its disk, or somebody, does not let it be read.
func unreadable(err error) error {
	if Unreadable(err) && !errors.Is(err, ErrDamaged) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// Unreadable reports whether an error with ErrDamaged is not of bytes, but of the disk or of rights, which may mend.
func Unreadable(err error) bool {
	for _, why := range []error{syscall.EIO, syscall.EISDIR, syscall.ENOTDIR, fs.ErrPermission} {
		if errors.Is(err, why) {
			return true
		}
	}
	return false
}

// Error says where in a spool something went wrong.
type Error struct {
	Lane   [16]byte
	Kind   Kind   // zero if the error is not about one of the logs
	File   string // path; empty if the error is not about one file
	Offset int64  // of the first record in File that could not be used
	Pos    uint64 // position concerned
	First  uint64 // with ErrPosition: first position that the log still holds, or its end if that is all
	Err    error
}

// Error returns one line that names what the fields say.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "spool: lane %s", hex.EncodeToString(e.Lane[:]))
	if e.Kind != 0 {
		fmt.Fprintf(&b, " %s, position %d", e.Kind, e.Pos)
	}
	if e.File != "" {
		fmt.Fprintf(&b, " (%s, offset %d)", filepath.Base(e.File), e.Offset)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	if errors.Is(e.Err, ErrPosition) {
		fmt.Fprintf(&b, ", which begins at %d", e.First)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
