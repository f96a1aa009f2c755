package keytrie

import (
	"bytes"
	"fmt"
	"math/bits"
	"slices"
	"sort"
)

// place is the bits that all paths below some point begin with.
type place struct {
	buf  [MaxPath]byte
	bits int
}

// push appends n bits of v.
func (p *place) push(v byte, n int) error {
	if p.bits+n > 8*MaxPath {
		return fmt.Errorf("%w: deeper than a path is long", ErrCorrupt)
	}
	for n--; n >= 0; n-- {
		if v>>n&1 == 1 {
			p.buf[p.bits/8] |= 0x80 >> (p.bits % 8)
		}
		p.bits++
	}
	return nil
}

// slot is the place behind a slot with the given code.
func (p place) slot(code byte) (place, error) {
	l := bits.Len8(code) - 1
	return p, p.push(code&^(1<<l), l)
}

// skip moves the place behind nibbles.
func (p *place) skip(nibbles []byte) error {
	for _, v := range nibbles {
		if err := p.push(v, 4); err != nil {
			return err
		}
	}
	return nil
}

// known is the bits as bytes, the last one filled with zeros.
func (p *place) known() []byte { return slices.Clone(p.buf[:(p.bits+7)/8]) }

// compare orders a path or prefix against the place: 0 means that one of them begins with the other.
func (p *place) compare(path []byte) int {
	n := min(8*len(path), p.bits)
	if c := bytes.Compare(path[:n/8], p.buf[:n/8]); c != 0 || n%8 == 0 {
		return c
	}
	mask := byte(0xff) << (8 - n%8)
	return int(path[n/8]&mask) - int(p.buf[n/8]&mask)
}

// has reports whether path begins with the place.
func (p *place) has(path []byte) bool { return 8*len(path) >= p.bits && p.compare(path) == 0 }

// match says which of the sorted prefixes have to do with the place: those from i to n. covered says that all paths below
// begin with one of them.
func (p *place) match(prefixes [][]byte) (i, n int, covered bool) {
	i = sort.Search(len(prefixes), func(i int) bool { return p.compare(prefixes[i]) >= 0 })
	n = i + sort.Search(len(prefixes)-i, func(n int) bool { return p.compare(prefixes[i+n]) > 0 })
	return i, n, n == i+1 && 8*len(prefixes[i]) <= p.bits
}

// router deals prefixes out to the slots of a node, which come in their order.
type router struct {
	prefixes [][]byte
	from, to int // those that have to do with the node and are left
	bits     int // where its slots begin
	covered  bool
}

func route(prefixes [][]byte, at *place) (r router) {
	r.prefixes, r.bits = prefixes, at.bits
	r.from, r.to, r.covered = at.match(prefixes)
	return r
}

// next returns which prefixes have to do with the next slot. covered says that all paths below it begin with one of them.
func (r *router) next(code byte) (from, to int, covered bool) {
	if r.covered {
		return r.from, r.to, true
	}
	// Each goes on behind r.bits, by a nibble at least: it is made of bytes, and a node begins at a nibble.
	begin, end := span(code)
	r.until(begin) // those lead nowhere
	from = r.from
	r.until(end)
	return from, r.from, r.from == from+1 && code >= 16 && 8*len(r.prefixes[from]) == r.bits+4
}

// until steps over the prefixes that go on with less than a nibble.
func (r *router) until(end int) {
	for r.from < r.to && int(nibble(r.prefixes[r.from], r.bits/4)) < end {
		r.from++
	}
}

// find returns the prefix that path begins with, or -1.
func find(prefixes [][]byte, path []byte) int {
	i := sort.Search(len(prefixes), func(i int) bool { return bytes.Compare(prefixes[i], path) > 0 }) - 1
	if i >= 0 && bytes.HasPrefix(path, prefixes[i]) {
		return i
	}
	return -1
}

// checkSet refuses paths that are not a sorted set in which none is a prefix of another.
func checkSet(paths [][]byte) error {
	for i, p := range paths {
		if len(p) == 0 || len(p) > MaxPath {
			return fmt.Errorf("%w: one of %d bytes", ErrPaths, len(p))
		}
		if i > 0 && (bytes.Compare(paths[i-1], p) >= 0 || bytes.HasPrefix(p, paths[i-1])) {
			return fmt.Errorf("%w: %x and %x", ErrPaths, paths[i-1], p)
		}
	}
	return nil
}

// common is how many bits two different paths share; each may end after its known bits.
func common(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	if n == len(a) || n == len(b) {
		return 8 * n
	}
	return 8*n + bits.LeadingZeros8(a[n]^b[n])
}

func nibble(path []byte, i int) byte {
	if i%2 == 0 {
		return path[i/2] >> 4
	}
	return path[i/2] & 15
}

// appendNibbles appends the nibbles of a path from a to b.
func appendNibbles(dst, path []byte, a, b int) []byte {
	for ; a < b; a++ {
		dst = append(dst, nibble(path, a))
	}
	return dst
}

// span is the range of nibbles that a slot covers.
func span(code byte) (from, to int) {
	l := bits.Len8(code) - 1
	from = int(code&^(1<<l)) << (4 - l)
	return from, from + 16>>l
}
