package custodian

import (
	"errors"
	"fmt"
)

var (
	// ErrUnknown means that the device has no key of this generation and does not remember one.
	ErrUnknown = errors.New("no key of this generation")
	// ErrDestroyed means that the key of this generation was destroyed.
	ErrDestroyed = errors.New("the key of this generation was destroyed")
	// ErrBlob means that a blob does not open: it is another generation's, archive's or custodian's, or was changed.
	ErrBlob = errors.New("the blob does not open under this generation's key")
	// ErrUnavailable means that the device did not answer, or is not ready. Try again later.
	ErrUnavailable = errors.New("the custodian is not available")
)

// Error says which custodian failed, at what.
type Error struct {
	Custodian  string // its name
	Op         string // create, wrap, unwrap, destroy, status, open
	Generation uint64 // not for open
	Err        error  // what, and what to do about it
}

func (e *Error) Error() string {
	if e.Op == "open" {
		return fmt.Sprintf("custodian %s: open: %v", e.Custodian, e.Err)
	}
	return fmt.Sprintf("custodian %s: %s generation %d: %v", e.Custodian, e.Op, e.Generation, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }
