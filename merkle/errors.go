package merkle

import (
	"errors"
	"fmt"
	"math"
)

// maxSize is the largest tree: sizes fit a signed 64-bit integer, so that every
// reader of checkpoints agrees and no sum of sizes overflows.
const maxSize = math.MaxInt64

var (
	// ErrInvalid is wrapped by every error about an input that cannot be what
	// it claims to be: bytes or text that do not parse, an index outside its
	// tree, a path of the wrong length.
	ErrInvalid = errors.New("invalid")

	// ErrOrigin is wrapped when a checkpoint is well signed but belongs to a
	// log other than the one that was asked for.
	ErrOrigin = errors.New("checkpoint of another log")
)

// A MismatchError says that a well-formed proof does not lead to the root that
// it was checked against.
type MismatchError struct {
	What string // what was checked: "inclusion of leaf 7", "consistency: old root", "consistency: new root"
	Size uint64 // size of the tree whose root was compared, in leaves
	Got  Hash   // the root that the proof leads to
	Want Hash   // the root that was given
}

// Error names the check, the tree size and both roots.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("merkle: %s: tree of size %d: proof leads to root %v, want %v", e.What, e.Size, e.Got, e.Want)
}

// invalidf returns an error that wraps ErrInvalid.
func invalidf(format string, args ...any) error {
	return fmt.Errorf("merkle: %w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

// checkSize refuses the size of a tree that is over the limit.
func checkSize(what string, size uint64) error {
	if size > maxSize {
		return invalidf("%s: size %d is over the limit of 2^63-1", what, size)
	}
	return nil
}
