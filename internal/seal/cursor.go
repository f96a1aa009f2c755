package seal

import (
	"encoding/binary"
	"errors"
)

var (
	errShort  = errors.New("ends inside an item")
	errVarint = errors.New("number is longer than its shortest form or than 64 bits")
)

// cursor reads items one after the other. After the first error it returns zeros and keeps that error.
type cursor struct {
	what string
	data []byte
	off  int
	err  error
}

func (c *cursor) more() bool { return c.err == nil && c.off < len(c.data) }

func (c *cursor) fail(off int, err error) {
	if c.err == nil {
		c.err = &FormatError{What: c.what, Offset: off, Err: err}
	}
}

// take returns the next n bytes. n may be anything that a hostile length field can hold.
func (c *cursor) take(n uint64) []byte {
	if c.err != nil {
		return nil
	}
	if n > uint64(len(c.data)-c.off) {
		c.fail(c.off, errShort)
		return nil
	}
	end := c.off + int(n)
	b := c.data[c.off:end:end]
	c.off = end
	return b
}

func (c *cursor) u8() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uv() uint64 {
	if c.err != nil {
		return 0
	}
	v, n := binary.Uvarint(c.data[c.off:])
	switch {
	case n == 0:
		c.fail(c.off, errShort)
	case n < 0, n > 1 && c.data[c.off+n-1] == 0:
		c.fail(c.off, errVarint)
	default:
		c.off += n
		return v
	}
	return 0
}

func (c *cursor) b8() []byte { return c.take(uint64(c.u8())) }

func (c *cursor) b16() []byte {
	b := c.take(2)
	if b == nil {
		return nil
	}
	return c.take(uint64(binary.LittleEndian.Uint16(b)))
}

func (c *cursor) bv() []byte { return c.take(c.uv()) }
