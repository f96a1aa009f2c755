package rangeproof

import "encoding/binary"

var le = binary.LittleEndian

// cursor reads bytes. What lies outside is zero and sets broken.
type cursor struct {
	b      []byte
	broken bool
}

func (c *cursor) bytes(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.broken, c.b = true, nil
		return make([]byte, min(n, 64))
	}
	out := c.b[:n:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) u8() byte    { return c.bytes(1)[0] }
func (c *cursor) u16() uint16 { return le.Uint16(c.bytes(2)) }

// uv reads a number in its shortest form.
func (c *cursor) uv() uint64 {
	v, size := binary.Uvarint(c.b)
	if size <= 0 || size > 1 && c.b[size-1] == 0 {
		c.broken = true
		return 0
	}
	c.b = c.b[size:]
	return v
}

// bv reads a byte string behind its length.
func (c *cursor) bv() []byte {
	n := c.uv()
	if n > uint64(len(c.b)) {
		c.broken = true
		return nil
	}
	return c.bytes(n)
}
