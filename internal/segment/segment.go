package segment

import (
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/merkle"
)

// Segment is what one commit adds to a log, ready to be stored. Its bytes belong to the writer: they are valid until
// [Writer.Reset]. Without leaves there are no objects.
type Segment struct {
	First      uint64          // index of the first leaf in the log
	Size       uint64          // of the log with this segment
	After      merkle.Frontier // of the log with this segment
	Index      []byte          // index.arrow
	IndexHash  commit.Hex32    // of Index
	IndexSpans commit.Index
	Data       []ClassData // by class
	Proof      []byte
	ProofHash  commit.Hex32 // of Proof
	ProofSpans [sections]commit.Span
	Records    uint64 // leaves of type 1
	Pieces     uint64 // leaves of type 2
	From       int64  // least time of records and pieces in ns, 0 if there are none
	Until      int64  // greatest
}

// ClassData is the data object of a retention class.
type ClassData struct {
	Class string
	Bytes []byte
	Hash  commit.Hex32 // of Bytes
}

// Encap is an encapsulation under which a stream wrapped scope keys.
type Encap struct {
	Stream    [16]byte
	Day, Year uint16
	Enc       []byte // frame.EncapLen bytes
}
