// Package record is the leaf of one record: the bytes that the tree commits to, and the clear fields inside.
// The format is docs/formats/record.md. Pure: no I/O, no clock.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Type says what a leaf stands for.
type Type uint8

// The types of leaves.
const (
	Plain     Type = 1 + iota // a captured record
	Piece                     // a part of a large body; the record that refers to it follows
	Open                      // the stream opens; detail is its certificate
	Loss                      // records that could not be kept
	Close                     // the stream ends
	Sampled                   // calls that sampling left out
	Recovered                 // the predecessor ended without close; drained up to here
)

var typeNames = [...]string{"", "record", "piece", "open", "loss", "close", "sampled", "recovered"}

// TypeNames are the names in the order of the codes, as the index's dictionary has them.
func TypeNames() []string { return typeNames[:] }

func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// KindNames are the names of kinds in the order of the codes.
func KindNames() []string { return []string{"", "input", "output", "state", "error"} }

// Flags of a leaf.
const (
	Withheld    = 1 << iota // redaction failed, the body was not kept
	BeforeEpoch             // the time lies before 1970
	PipeTime                // the caller gave no time
	ClosesCall              // the last record of a call
	CutAtSource             // the body was longer where it came from
	NamedClass              // the caller wrote out the class "default", which is also meant by none

	flagsDefined = 1<<iota - 1
)

// None marks the absence of a seq.
const None = ^uint64(0)

// Leaf is the clear half of a record.
type Leaf struct {
	Type       Type
	Kind       uint8
	Flags      uint8
	Stream     [16]byte
	Seq        uint64
	ID         [16]byte
	Time       int64 // ns since 1970
	Scope      [16]byte
	Digest     [32]byte // of the sealed block
	Slot       uint16
	Commitment [32]byte
	Buckets    [4]uint8 // body bytes, input tokens, output tokens, duration in µs
	Class      string
	Clear      Clear
	Detail     []byte
}

// Clear are the operational values that stay readable.
type Clear [6]string

// Places in Clear.
const (
	Operation = iota
	Provider
	Model
	Finish
	ErrorType
	Release
)

const (
	// LeafVersion is the first byte of leafdata.
	LeafVersion = 1

	fixedLen = 138
	// MaxLeaf is the largest leafdata in bytes, the limit of tlog-tiles entries.
	MaxLeaf = 65535
)

// Append appends the leafdata.
func (l *Leaf) Append(dst []byte) []byte {
	dst = append(dst, LeafVersion, byte(l.Type), l.Kind, l.Flags)
	dst = append(dst, l.Stream[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, l.Seq)
	dst = append(dst, l.ID[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(l.Time))
	dst = append(dst, l.Scope[:]...)
	dst = append(dst, l.Digest[:]...)
	dst = binary.LittleEndian.AppendUint16(dst, l.Slot)
	dst = append(dst, l.Commitment[:]...)
	dst = append(dst, l.Buckets[:]...)
	dst = appendString(dst, l.Class)
	for i := range l.Clear {
		dst = appendString(dst, l.Clear[i])
	}
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(l.Detail)))
	return append(dst, l.Detail...)
}

func appendString(dst []byte, s string) []byte {
	return append(append(dst, byte(len(s))), s...)
}

var errShort = errors.New("record: leaf ends early")

// Parse reads leafdata. The result shares Detail with data.
func Parse(data []byte) (l Leaf, err error) {
	if len(data) < fixedLen {
		return l, errShort
	}
	if data[0] != LeafVersion {
		return l, fmt.Errorf("record: leaf version %d is not known here, update stele", data[0])
	}
	l.Type, l.Kind, l.Flags = Type(data[1]), data[2], data[3]
	copy(l.Stream[:], data[4:])
	l.Seq = binary.LittleEndian.Uint64(data[20:])
	copy(l.ID[:], data[28:])
	l.Time = int64(binary.LittleEndian.Uint64(data[44:]))
	copy(l.Scope[:], data[52:])
	copy(l.Digest[:], data[68:])
	l.Slot = binary.LittleEndian.Uint16(data[100:])
	copy(l.Commitment[:], data[102:])
	copy(l.Buckets[:], data[134:])
	rest := data[fixedLen:]
	for i := -1; i < len(l.Clear); i++ {
		if len(rest) < 1 || len(rest) < 1+int(rest[0]) {
			return l, errShort
		}
		end := 1 + int(rest[0])
		s := string(rest[1:end])
		rest = rest[end:]
		if i < 0 {
			l.Class = s
		} else {
			l.Clear[i] = s
		}
	}
	if len(rest) < 2 || len(rest)-2 != int(binary.LittleEndian.Uint16(rest)) {
		return l, errors.New("record: leaf has a wrong length")
	}
	if len(rest) > 2 {
		l.Detail = rest[2:]
	}
	return l, l.Check()
}

// Check reports whether the fields of the leaf fit its type.
func (l *Leaf) Check() error {
	switch {
	case l.Type < Plain || l.Type > Recovered:
		return fmt.Errorf("record: no such leaf type %d", l.Type)
	case l.Flags&^flagsDefined != 0:
		return fmt.Errorf("record: unknown flags %#x", l.Flags)
	case !ValidClass(l.Class):
		return fmt.Errorf("record: %q is no class name", l.Class)
	case l.Flags&NamedClass != 0 && (l.Class != "default" || l.Type != Plain):
		return errors.New("record: only a record of the class default has the flag that says that it was written out")
	}
	if l.Type == Plain || l.Type == Piece {
		if l.Kind < 1 || l.Kind > 4 {
			return fmt.Errorf("record: no such kind %d", l.Kind)
		}
		if len(l.Detail) != 0 {
			return errors.New("record: a record has no detail")
		}
		return nil
	}
	if l.Kind != 0 || l.Scope != [16]byte{} || l.Digest != [32]byte{} || l.Commitment != [32]byte{} || l.ID != [16]byte{} || l.Slot != 0 {
		return fmt.Errorf("record: a leaf of type %v has no body", l.Type)
	}
	if l.Type == Open && l.Seq != 0 {
		return errors.New("record: open is not the first leaf of its stream")
	}
	return nil
}

// ValidClass reports whether name can be a retention class: 1 to 32 of a–z 0–9 -.
func ValidClass(name string) bool {
	if len(name) < 1 || len(name) > 32 {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}
