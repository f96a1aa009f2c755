package keyscope

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

const version = 1

var (
	errShort = errors.New("ends inside an item")
	errAfter = errors.New("bytes after the end")
	errText  = errors.New("text is not UTF-8")
)

// cursor reads items one after the other. After the first error it returns zeros and keeps that error.
type cursor struct {
	what string
	data []byte
	off  int
	err  error
}

func (c *cursor) fail(off int, err error) {
	if c.err == nil {
		c.err = &FormatError{What: c.what, Offset: off, Err: err}
	}
}

// end reports the first error, or bytes that nothing has read.
func (c *cursor) end() error {
	if c.err == nil && c.off < len(c.data) {
		c.fail(c.off, errAfter)
	}
	return c.err
}

func (c *cursor) take(n int) []byte {
	if c.err != nil {
		return nil
	}
	if n > len(c.data)-c.off {
		c.fail(c.off, errShort)
		return nil
	}
	b := c.data[c.off : c.off+n : c.off+n]
	c.off += n
	return b
}

func (c *cursor) fixed(dst []byte) { copy(dst, c.take(len(dst))) }

func (c *cursor) id() (id [16]byte) {
	c.fixed(id[:])
	return id
}

func (c *cursor) hash() (h [32]byte) {
	c.fixed(h[:])
	return h
}

func (c *cursor) u8() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if b := c.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (c *cursor) text8() string {
	at := c.off
	b := c.take(int(c.u8()))
	if !utf8.Valid(b) {
		c.fail(at, errText)
	}
	return string(b)
}

func (c *cursor) class() string {
	at := c.off
	s := c.text8()
	if c.err == nil && !validClass(s) {
		c.fail(at, fmt.Errorf("%q is no class name", s))
	}
	return s
}

func (c *cursor) tags() Tags { return Tags{c.id(), c.id(), c.id()} }

// head reads magic, version and three zero bytes.
func (c *cursor) head(magic string) {
	if m := c.take(4); c.err == nil && string(m) != magic {
		c.fail(0, fmt.Errorf("does not start with %q", magic))
	}
	c.version()
	at := c.off
	if z := c.take(3); c.err == nil && (z[0]|z[1]|z[2]) != 0 {
		c.fail(at, errors.New("bytes that must be zero are not"))
	}
}

func (c *cursor) version() {
	at := c.off
	if v := c.u8(); c.err == nil && v != version {
		c.fail(at, fmt.Errorf("%w: %d", ErrVersion, v))
	}
}

func appendHead(dst []byte, magic string) []byte {
	return append(append(dst, magic...), version, 0, 0, 0)
}

func appendString8(dst []byte, s string) []byte {
	return append(append(dst, byte(len(s))), s...)
}
