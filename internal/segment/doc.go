// Package segment writes and reads the objects of a segment: the index and the data objects, which are Arrow IPC files,
// and the proof object. The format is docs/formats/segment.md.
//
// A [Writer] takes frames and gives a [Segment], the bytes of its objects. Whoever stores those names their digests in
// a commit, and whoever reads them compares the digests before anything here parses a byte. The readers nevertheless
// trust nothing: they check every length and number once, share the memory that they are given, and allocate no more
// than that memory calls for.
//
// Arrow is used to write. To read, where the schema is known and bytes may be damaged, the package has its own small
// parser: that of Arrow v17 asks for as much memory as a damaged length says.
//
// Pure: no I/O, no clock, no goroutines. Values that were read may be used concurrently, a Writer may not.
package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrFull says that a frame was added to a segment that takes no more.
var ErrFull = errors.New("segment: full")

// Error says what is wrong with an object, and at which of the bytes that were given.
type Error struct {
	Object string // "index", "data" or "proof"
	Offset int64
	Reason string
}

func (e *Error) Error() string {
	return fmt.Sprintf("segment: %s object, byte %d: %s", e.Object, e.Offset, e.Reason)
}

func bad(object string, offset int, format string, args ...any) error {
	return &Error{object, int64(offset), fmt.Sprintf(format, args...)}
}

// Objects as errors name them.
const (
	objIndex = "index"
	objData  = "data"
	objProof = "proof"
)

// batchRows is the greatest number of rows in a batch of the index.
const batchRows = 4096

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)
