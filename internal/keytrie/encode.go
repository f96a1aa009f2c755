package keytrie

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
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
	c, n := cursor{data: data}, node{}
	c.entries(&n, limit)
	for _, e := range n.entries {
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

// entries reads at most limit paths, a sorted set in which none is a prefix of another, into n.
func (c *cursor) entries(n *node, limit int) {
	count := c.uv()
	if count > uint64(limit) || count > uint64(len(c.data)/2) { // a path takes two bytes at least
		c.fail(fmt.Errorf("%d paths", count))
		return
	}
	n.entries = slices.Grow(n.entries, int(min(count, 1024)))
	var last []byte
	for range count {
		s, tail := c.next(last)
		if c.err != nil {
			n.entries = n.entries[:0]
			return
		}
		length, begin := s+len(tail), len(n.text)
		if cap(n.text)-begin < length { // what it had stays where it is
			n.text, begin = make([]byte, 0, max(1, min(int(count)-len(n.entries), 256))*length), 0
		}
		n.text = n.text[:begin+length]
		path := n.text[begin : begin+length : begin+length]
		copy(path, last[:s])
		copy(path[s:], tail)
		n.entries, last = append(n.entries, Entry{Path: path}), path
	}
}

// next reads a path: the first s bytes of last, and what follows.
func (c *cursor) next(last []byte) (s int, tail []byte) {
	if d := c.data; len(d) > 1 && d[0]&1 == 0 { // as nearly all are: as long as the last one, and behind it
		if s = int(d[0] >> 1); s < len(last) && len(d) > len(last)-s && d[1] > last[s] {
			n := 1 + len(last) - s
			c.data = d[n:]
			return s, d[1:n]
		}
	}
	s, length := c.head(last)
	tail = c.take(length - s)
	// Sharing exactly s bytes and going on with a larger one is what puts a path behind the one before it.
	if c.err == nil && (len(tail) == 0 || last != nil && (s == len(last) || tail[0] <= last[s])) {
		c.fail(errors.New("paths do not ascend, or one begins with another"))
	}
	return s, tail
}

// head reads how many bytes of last the next path begins with, and how long it is.
func (c *cursor) head(last []byte) (s, length int) {
	head := c.u8()
	s, length = int(head/2), len(last)
	if head%2 == 1 {
		if length = int(c.u8()); length == len(last) {
			c.fail(errors.New("a length that need not be said"))
		}
	}
	if s > len(last) || s > length || length > MaxPath {
		c.fail(fmt.Errorf("path of %d bytes that shares %d", length, s))
		return 0, 0
	}
	return s, length
}
