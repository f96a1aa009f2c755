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

// skip is the place behind nibbles.
func (p place) skip(nibbles []byte) (place, error) {
	for _, v := range nibbles {
		if err := p.push(v, 4); err != nil {
			return p, err
		}
	}
	return p, nil
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

// nibbles are the nibbles of a path from a to b.
func nibbles(path []byte, a, b int) []byte {
	out := make([]byte, 0, b-a)
	for ; a < b; a++ {
		out = append(out, nibble(path, a))
	}
	return out
}

// span is the range of nibbles that a slot covers.
func span(code byte) (from, to int) {
	l := bits.Len8(code) - 1
	from = int(code&^(1<<l)) << (4 - l)
	return from, from + 16>>l
}
