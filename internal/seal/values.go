package seal

import (
	"encoding/binary"
	"errors"
)

// AppendTrace appends the value of field 3 to dst: nothing if all three ids are empty. An id has at most 255 bytes; what
// is longer is cut.
func AppendTrace(dst, trace, span, parent []byte) []byte {
	if len(trace)+len(span)+len(parent) == 0 {
		return dst
	}
	for _, id := range [...][]byte{trace, span, parent} {
		id = id[:min(len(id), 255)]
		dst = append(dst, byte(len(id)))
		dst = append(dst, id...)
	}
	return dst
}

// ParseTrace reads the value of field 3. The ids lie inside value.
func ParseTrace(value []byte) (trace, span, parent []byte, err error) {
	if len(value) == 0 {
		return nil, nil, nil, nil
	}
	c := cursor{what: "trace", data: value}
	trace, span, parent = c.b8(), c.b8(), c.b8()
	if c.err == nil && c.more() {
		c.fail(c.off, errors.New("bytes after the end"))
	}
	if c.err == nil && len(value) == 3 {
		c.fail(0, errors.New("three empty ids, which the empty value stands for"))
	}
	return trace, span, parent, c.err
}

// A zone offset lies strictly between minus and plus a day.
const dayMinutes = 24 * 60

// AppendZone appends the value of field 6 to dst for a time that was given with an offset from UTC in minutes. A time
// given as Z has the empty value, so nothing is to be appended for it. The offset must be between -1,439 and 1,439.
func AppendZone(dst []byte, minutes int) []byte {
	return binary.AppendUvarint(dst, uint64(minutes+dayMinutes))
}

// ParseZone reads the value of field 6: the offset from UTC in minutes, and whether there is one (else the time was
// given as Z).
func ParseZone(value []byte) (minutes int, ok bool, err error) {
	if len(value) == 0 {
		return 0, false, nil
	}
	c := cursor{what: "more", data: value}
	v := c.uv()
	if c.err == nil && (v == 0 || v >= 2*dayMinutes) {
		c.fail(0, errors.New("zone offset of a day or more"))
	}
	if c.err == nil && c.more() {
		c.fail(c.off, errors.New("bytes after the end"))
	}
	if c.err != nil {
		return 0, false, c.err
	}
	return int(v) - dayMinutes, true, nil
}
