// Package seal turns the parts of a record that are nobody's business into a sealed block and a commitment, and back.
// The bytes are those of docs/formats/record.md, version 1.
//
// [Scope] holds what follows from one scope key: salts, commitments, block keys. [Block] collects the plaintext of one
// block, [Codec] packs and encrypts it and opens it again, [Plaintext] reads what was opened. [FieldHash] and
// [Commitment] need no key: with them anybody checks a field that was disclosed.
//
// The package does no I/O and knows no clock. It draws no random numbers: the nonce of a block follows from its content.
// No type of it may be used by two goroutines at once.
package seal

import (
	"errors"
	"fmt"
)

// Limits of the format.
const (
	maxPlaintext = 4 << 20 // bytes of an unpacked block
	maxRecords   = 65_535  // records of a block
	MaxParts     = 65_535  // parts of a record
)

var (
	// ErrFull says that a record does not fit into the block any more. The block is as it was before.
	ErrFull = errors.New("seal: block is full")

	// ErrOpen says that a block does not open: the key is another one, the block lies where it does not belong, or its
	// bytes were changed.
	ErrOpen = errors.New("seal: block does not open")

	// ErrVersion says that the bytes are of a format version that this program does not know.
	ErrVersion = errors.New("version is unknown (this program reads 1)")
)

// FormatError says where authentic bytes break the format, so a writer was faulty or hostile.
type FormatError struct {
	What   string // what was read: "plaintext", "inner", "trace", "more", "part"
	Offset int    // byte at which the broken item starts, from the start of What
	Err    error
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("seal: %s at byte %d: %v", e.What, e.Offset, e.Err)
}

func (e *FormatError) Unwrap() error { return e.Err }
