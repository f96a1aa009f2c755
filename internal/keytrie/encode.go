package keytrie

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	kindInner  = 1
	kindBucket = 2
)

var errShort = errors.New("ends inside an item")

// AppendPaths appends a sorted set of paths in the form of a bucket: a count, and each path by what it does not share
// with the one before.
func AppendPaths(dst []byte, paths [][]byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(paths)))
	var last []byte
	for _, p := range paths {
		dst = appendPath(dst, last, p)
		last = p
	}
	return dst
}

func appendPath(dst, last, path []byte) []byte {
	s := shared(last, path)
	if len(last) == len(path) {
		dst = append(dst, byte(2*s))
	} else {
		dst = append(dst, byte(2*s+1), byte(len(path)))
	}
	return append(dst, path[s:]...)
}

func shared(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// ParsePaths reads what AppendPaths wrote, and returns the bytes behind it. It refuses every other spelling, and more
// than limit paths.
func ParsePaths(data []byte, limit int) (paths [][]byte, rest []byte, err error) {
	c := cursor{data: data}
	for _, e := range c.entries(limit) {
		paths = append(paths, e.Path)
	}
	if c.err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrPaths, c.err)
	}
	return paths, c.data, nil
}

// cursor reads items one after the other. After the first error it returns zeros and keeps that error.
type cursor struct {
	data []byte
	err  error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err, c.data = err, nil
	}
}

func (c *cursor) take(n int) []byte {
	if c.err != nil || n > len(c.data) {
		c.fail(errShort)
		return nil
	}
	b := c.data[:n:n]
	c.data = c.data[n:]
	return b
}

func (c *cursor) u8() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

// uv reads a varint in its shortest form.
func (c *cursor) uv() uint64 {
	v, n := binary.Uvarint(c.data)
	if n <= 0 || n > 1 && c.data[n-1] == 0 {
		c.fail(errors.New("not a varint in its shortest form"))
		return 0
	}
	c.data = c.data[n:]
	return v
}

func (c *cursor) hash() (h [32]byte) {
	copy(h[:], c.take(32))
	return h
}

// entries reads at most limit paths, a sorted set in which none is a prefix of another. They lie behind one another in
// few pieces of memory.
func (c *cursor) entries(limit int) []Entry {
	n := c.uv()
	if n > uint64(limit) || n > uint64(len(c.data)/2) { // a path takes two bytes at least
		c.fail(fmt.Errorf("%d paths", n))
		return nil
	}
	out := make([]Entry, 0, min(n, 1024))
	var last, room []byte
	for range n {
		if cap(room)-len(room) < MaxPath {
			room = make([]byte, 0, max(MaxPath, min(int(n)-len(out), 256)*max(len(last), 20)))
		}
		begin := len(room)
		room = c.path(room, last)
		if c.err != nil {
			return nil
		}
		last = room[begin:len(room):len(room)]
		out = append(out, Entry{Path: last})
	}
	return out
}

// path appends the path behind last to dst, which has room for it.
func (c *cursor) path(dst, last []byte) []byte {
	head := c.u8()
	s, length := int(head/2), len(last)
	if head%2 == 1 {
		if length = int(c.u8()); length == len(last) {
			c.fail(errors.New("a length that need not be said"))
		}
	}
	if s > len(last) || s > length || length > MaxPath {
		c.fail(fmt.Errorf("path of %d bytes that shares %d", length, s))
		return nil
	}
	tail := c.take(length - s)
	if c.err != nil {
		return nil
	}
	// Sharing exactly s bytes and going on with a larger one is what puts a path behind the one before it.
	if last != nil && (s == len(last) || len(tail) == 0 || tail[0] <= last[s]) || len(tail) == 0 {
		c.fail(errors.New("paths do not ascend, or one begins with another"))
		return nil
	}
	return append(append(dst, last[:s]...), tail...)
}
