package logpipe

import (
	"errors"
	"fmt"
)

// Sentinels for errors.Is.
var (
	// ErrClosed says that the pipe was closed; the record was not taken. In an OpError it says that Close came before the
	// record was durable: it may still arrive.
	ErrClosed = errors.New("pipe is closed")

	// ErrFull says that the pipe had no room for the record within the wait of its class; it was not taken. The caller
	// may try again. Records of a [Call], which nobody tries again, are besides declared as lost.
	ErrFull = errors.New("pipe is full")

	// ErrTooLarge says that the record is over a limit and can never be taken.
	ErrTooLarge = errors.New("record is too large")
)

// OpError says what failed and for which part of the configuration or record. Its text never holds content of a record
// or a secret.
type OpError struct {
	Op   string // "open", "capture", "flush", "close", "end session", "drain"
	What string // field, path or setting concerned; may be empty
	Err  error
}

func (e *OpError) Error() string {
	if e.What == "" {
		return fmt.Sprintf("logpipe: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("logpipe: %s: %s: %v", e.Op, e.What, e.Err)
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

// invalid makes the error for a field of a record.
func invalid(field, format string, args ...any) error {
	return &OpError{"capture", field, fmt.Errorf(format, args...)}
}
