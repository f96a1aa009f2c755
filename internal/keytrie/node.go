package keytrie

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/stelelog/stele/merkle"
)

// node is a node in memory: a bucket with entries, or an inner node with slots. It belongs to who loaded it.
type node struct {
	skip    []byte // nibbles, one a byte
	slots   []slot
	entries []Entry
	shape   []byte // as it was read
	text    []byte // paths
	plain   []byte // what entries have their values in
}

// reset makes n ready to be read into.
func (n *node) reset() {
	n.skip, n.slots, n.entries, n.shape, n.text = n.skip[:0], n.slots[:0], n.entries[:0], nil, n.text[:0]
}

type slot struct {
	code byte
	Root
}

func (n *node) inner() bool { return len(n.slots) > 0 }

func (n *node) count() uint64 {
	total := uint64(len(n.entries))
	for i := range n.slots {
		total += n.slots[i].Count
	}
	return total
}

// commit is the commitment of a shape.
func commit(shape []byte) (h merkle.Hash) {
	d := sha256.New()
	d.Write([]byte("stele/keytrie/v1"))
	d.Write(shape)
	d.Sum(h[:0])
	return h
}

func (n *node) appendShape(dst []byte, hidden bool) []byte {
	if !n.inner() {
		dst = binary.AppendUvarint(append(dst, kindBucket), uint64(len(n.entries)))
		var last []byte
		for i := range n.entries {
			dst = appendPath(dst, last, n.entries[i].Path)
			last = n.entries[i].Path
		}
		return dst
	}
	dst = append(dst, kindInner, byte(len(n.skip)))
	for i, v := range n.skip {
		if i%2 == 0 {
			dst = append(dst, v<<4)
		} else {
			dst[len(dst)-1] |= v
		}
	}
	var codes uint32
	for i := range n.slots {
		codes |= 1 << n.slots[i].code
	}
	dst = binary.LittleEndian.AppendUint32(dst, codes)
	for i := range n.slots {
		if !hidden {
			dst = append(dst, n.slots[i].Hash[:]...)
		}
		dst = binary.AppendUvarint(dst, n.slots[i].Count)
	}
	return dst
}

func (n *node) appendLinks(dst []byte, hidden bool) []byte {
	for i := range n.slots {
		l := &n.slots[i].Link
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, l.Pack), l.Offset)
		if !hidden {
			dst = binary.AppendUvarint(dst, uint64(l.Clear))
		}
		dst = binary.AppendUvarint(dst, uint64(l.Sealed))
	}
	return dst
}

func (n *node) appendSecret(dst []byte, hidden bool) []byte {
	for i := range n.slots {
		dst = append(dst, n.slots[i].Key[:]...)
	}
	if hidden {
		return dst
	}
	for i := range n.entries {
		dst = binary.AppendUvarint(dst, uint64(len(n.entries[i].Value)))
		dst = append(dst, n.entries[i].Value...)
	}
	return dst
}

// shape reads a shape and keeps its bytes.
func (c *cursor) shape(n *node, hidden bool, bucket int) {
	start := c.data
	switch kind := c.u8(); {
	case kind == kindBucket:
		c.entries(n, bucket)
		if c.err == nil && len(n.entries) == 0 {
			c.fail(errors.New("a bucket without paths"))
		}
	case kind == kindInner:
		c.innerShape(n, hidden, uint64(bucket))
	case c.err == nil:
		c.fail(fmt.Errorf("no such kind of node: %d", kind))
	}
	if c.err == nil {
		n.shape = start[:len(start)-len(c.data)]
	}
}

func (c *cursor) innerShape(n *node, hidden bool, bucket uint64) {
	length := int(c.u8())
	if length > 2*MaxPath {
		c.fail(fmt.Errorf("skips %d nibbles", length))
	}
	packed := c.take((length + 1) / 2)
	if c.err != nil {
		return
	}
	if length%2 == 1 && packed[length/2]&15 != 0 {
		c.fail(errors.New("a half byte that must be zero is not"))
	}
	n.skip = appendNibbles(n.skip, packed, 0, length)
	codes := c.take(4)
	if c.err != nil {
		return
	}
	c.slots(n, binary.LittleEndian.Uint32(codes))
	var total uint64
	for i := range n.slots {
		s := &n.slots[i]
		if !hidden {
			s.Hash = c.hash()
		}
		s.Count = c.uv()
		if c.err == nil && (s.Count == 0 || s.Count > maxCount || s.code < 16 && s.Count > bucket) {
			c.fail(fmt.Errorf("slot %d with %d paths", s.code, s.Count))
		}
		total += min(s.Count, maxCount)
	}
	if c.err == nil && total <= bucket {
		c.fail(fmt.Errorf("an inner node with %d paths", total))
	}
	if c.err == nil && !n.canonical(bucket) {
		c.fail(errors.New("slots are not divided as they must be"))
	}
}

// slots orders the codes by the paths below them and refuses codes that overlap.
func (c *cursor) slots(n *node, codes uint32) {
	n.slots = slices.Grow(n.slots, bits.OnesCount32(codes))
	for from := 0; from < 16; {
		to := from + 1
		for l := range 4 {
			code := byte(2<<l) | byte(from>>(3-l))
			first, end := span(code)
			if codes&(1<<code) != 0 && first == from {
				n.slots = append(n.slots, slot{code: code})
				to = end
				break
			}
		}
		from = to
	}
	if len(n.slots) != bits.OnesCount32(codes) || len(n.slots) == 0 {
		c.fail(fmt.Errorf("slots %#x overlap, or are none", codes))
	}
}

// canonical reports whether halving the paths bit by bit leads to these slots: each half that was divided has more
// paths than a bucket takes, and paths lie on both sides of one bit at least.
func (n *node) canonical(bucket uint64) bool {
	var below [32]uint64
	for i := range n.slots {
		for code := n.slots[i].code; code > 1; code /= 2 {
			below[code] += n.slots[i].Count
		}
	}
	for i := range n.slots {
		if parent := n.slots[i].code / 2; parent > 1 && below[parent] <= bucket {
			return false
		}
	}
	return len(n.slots) > 1
}

// links and secrets stand behind a shape.
func (c *cursor) links(n *node, hidden bool) {
	for i := range n.slots {
		l := &n.slots[i].Link
		l.Pack, l.Offset = c.uv(), c.uv()
		open := uint64(0)
		if !hidden {
			open = c.uv()
		}
		sealed := c.uv()
		if c.err == nil && (open > maxNode || sealed > maxNode || sealed == 0 || (open == 0) != hidden || l.Offset > MaxPack) {
			c.fail(fmt.Errorf("a link to %d and %d bytes", open, sealed))
		}
		l.Clear, l.Sealed = uint32(open), uint32(sealed)
	}
}

func (c *cursor) secrets(n *node, hidden bool) {
	for i := range n.slots {
		n.slots[i].Key = c.hash()
	}
	for i := range n.entries {
		if hidden {
			break
		}
		length := c.uv()
		if length > MaxValue {
			c.fail(fmt.Errorf("a value of %d bytes", length))
		}
		n.entries[i].Value = c.take(int(min(length, MaxValue)))
	}
}

// end refuses bytes that nothing has read.
func (c *cursor) end() error {
	if c.err == nil && len(c.data) > 0 {
		c.fail(errors.New("bytes after the end"))
	}
	return c.err
}
