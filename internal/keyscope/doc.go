// Package keyscope carries the keys of scopes from the writer to those who may open them: identifiers, the two wraps, the
// messages to the key service, and the certificate of the stream that signs these. The bytes are those of
// docs/formats/grant.md and of the pages that refer to it (frame.md, control.md, segment.md), version 1.
//
// A writer makes a [Cert] when it opens a stream, one [ReadWrap] and one [IntakeWrap] a day, and a [Grant] for each scope.
// The key service parses messages and takes the outer wrap off; a reader takes off the inner one. Whether a service key
// may write is for the access policy to say, so it is the caller's question.
//
// There is no clock and no I/O in here. Functions are safe to call from several goroutines, and so are wraps, which do
// not change once made. Public and private keys are those of crypto/hpke with [KEM].
package keyscope

import (
	"errors"
	"fmt"
)

var (
	// ErrSignature says that bytes are not signed by the key that they name.
	ErrSignature = errors.New("keyscope: signature does not verify")

	// ErrUnwrap says that a wrapped key or sealed message does not open: the key is another one, it lies where it does not
	// belong, or its bytes were changed.
	ErrUnwrap = errors.New("keyscope: does not unwrap")

	// ErrVersion says that the bytes are of a format version that this program does not know.
	ErrVersion = errors.New("version is unknown (this program reads 1)")
)

// FormatError says where bytes break their format.
type FormatError struct {
	What   string // what was read: "certificate", "grants", "session end"
	Offset int    // byte at which the broken item starts
	Err    error
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("keyscope: %s at byte %d: %v", e.What, e.Offset, e.Err)
}

func (e *FormatError) Unwrap() error { return e.Err }
