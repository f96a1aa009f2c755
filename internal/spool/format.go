package spool

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"
)

// Limits and sizes of format version 1, see docs/formats/spool.md.
const (
	// MaxMessage is the size of the largest message in bytes. The smallest has one byte.
	MaxMessage = 1 << 20

	magic        = "STLS"
	version      = 1
	fileHeader   = 36 // bytes before the first record of a file
	recordHeader = 20 // bytes before the message of a record
	sector       = 512
)

// Kind names one of the two logs of a lane.
type Kind uint8

// The logs of a lane.
const (
	Frames Kind = 1
	Grants Kind = 2
)

// kinds in the order in which they are synced: a grant must not be missing where a frame that needs it
// is on disk.
var kinds = [...]Kind{Grants, Frames}

// String returns the name of the log as it is used in file names.
func (k Kind) String() string {
	switch k {
	case Frames:
		return "frames"
	case Grants:
		return "grants"
	}
	return fmt.Sprintf("log %d", uint8(k))
}

func (k Kind) valid() bool { return k == Frames || k == Grants }

// Message is one message of a log.
type Message struct {
	Pos     uint64    // position in the log, from 0 without gaps
	Time    time.Time // arrival at the spool, by the clock of the writing process
	Payload []byte
}

// codec encodes and checks the records of one log. It is not safe for concurrent use.
type codec struct {
	lane    [16]byte
	kind    Kind
	table   *crc32.Table
	base    uint32  // CRC of lane and kind
	scratch [8]byte // here, because arguments of crc32.Update escape
}

func newCodec(lane [16]byte, kind Kind) codec {
	table := crc32.MakeTable(crc32.Castagnoli)
	return codec{lane: lane, kind: kind, table: table, base: crc32.Checksum(append(lane[:], byte(kind)), table)}
}

// seed returns the CRC of what ties a record to its place.
func (c *codec) seed(pos uint64) uint32 {
	binary.LittleEndian.PutUint64(c.scratch[:], pos)
	return crc32.Update(c.base, c.table, c.scratch[:])
}

// appendRecord appends the record of message at pos to b.
func (c *codec) appendRecord(b []byte, pos uint64, at int64, message []byte) []byte {
	seed := c.seed(pos)
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(message)))
	b = binary.LittleEndian.AppendUint64(b, uint64(at))
	b = binary.LittleEndian.AppendUint32(b, crc32.Update(seed, c.table, message))
	b = binary.LittleEndian.AppendUint32(b, crc32.Update(seed, c.table, b[start:]))
	return append(b, message...)
}

// check is what codec.record found at the start of a byte slice.
type check uint8

const (
	whole      check = iota // a record that checks
	nothing                 // no bytes
	short                   // too few bytes, those that are there may be right
	badHeader               // the record's header does not check
	badMessage              // the header checks, the message does not
)

func (c check) String() string {
	return [...]string{"a record", "no record", "a record that is cut short", "a record header that does not check",
		"a message that does not check"}[c]
}

// record checks the record of position pos at the start of b. n is its size, or the size of a record's
// header if that much is all that can be said.
func (c *codec) record(b []byte, pos uint64) (n int, found check) {
	if len(b) == 0 {
		return recordHeader, nothing
	}
	if len(b) < recordHeader {
		return recordHeader, short
	}
	seed := c.seed(pos)
	length := binary.LittleEndian.Uint32(b)
	if binary.LittleEndian.Uint32(b[16:]) != crc32.Update(seed, c.table, b[:16]) || length == 0 || length > MaxMessage {
		return recordHeader, badHeader
	}
	n = recordHeader + int(length)
	if len(b) < n {
		return n, short
	}
	if binary.LittleEndian.Uint32(b[12:]) != crc32.Update(seed, c.table, b[recordHeader:n]) {
		return n, badMessage
	}
	return n, whole
}

// message returns the message of a record that checked. Its payload is a part of record.
func message(record []byte, pos uint64) Message {
	at := int64(binary.LittleEndian.Uint64(record[4:]))
	return Message{Pos: pos, Time: time.Unix(0, at).UTC(), Payload: record[recordHeader:len(record):len(record)]}
}

// header returns the header of the file whose first record has position first.
func (c *codec) header(first uint64) []byte {
	b := make([]byte, 0, fileHeader)
	b = append(b, magic...)
	b = append(b, version, byte(c.kind), 0, 0)
	b = append(b, c.lane[:]...)
	b = binary.LittleEndian.AppendUint64(b, first)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, c.table))
}

// checkHeader returns what is wrong with b as the header of the file that begins at first.
func (c *codec) checkHeader(b []byte, first uint64) error {
	switch {
	case len(b) < fileHeader:
		return fmt.Errorf("%w: file header is cut short", ErrDamaged)
	case string(b[:4]) != magic:
		return fmt.Errorf("%w: no spool log file", ErrDamaged)
	case b[4] != version && binary.LittleEndian.Uint32(b[32:]) == crc32.Checksum(b[:32], c.table):
		return fmt.Errorf("format version %d, this version reads %d", b[4], version)
	case string(b[:fileHeader]) != string(c.header(first)):
		return fmt.Errorf("%w: file header does not check or belongs elsewhere", ErrDamaged)
	}
	return nil
}
