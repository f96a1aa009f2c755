package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/seal"
	"github.com/stelelog/stele/merkle"
)

var le = binary.LittleEndian

// leavesRoot is where the root over leaf hashes stands in the header of a frame.
const leavesRoot = 88

// Step is one step of a path from a leaf to a root whose size is not known: the sibling, and on which side it stands.
type Step struct {
	Right bool // the sibling is on the right
	Hash  merkle.Hash
}

// Value is a sealed field that is disclosed, or not: then Hash stands for it.
type Value struct {
	Shown bool
	Salt  [seal.SaltSize]byte
	Value []byte
	Hash  merkle.Hash
}

// RecordPart makes the part of a leaf: leafdata, the signed header of its frame (216 bytes), and its path there. The root
// over leaf hashes in the header is left out, as the path leads to it.
func RecordPart(leafdata, signed []byte, path []merkle.Hash) Part {
	data := slices.Concat(signed[:leavesRoot], signed[leavesRoot+wordLen:])
	data = appendPath(data, path)
	return Part{KindRecord, append(data, leafdata...)}
}

// FieldsPart makes the part of the six sealed fields of a record, in the order of docs/formats/record.md.
func FieldsPart(fields [seal.FieldCount]Value) Part {
	var data []byte
	for _, f := range fields {
		if f.Shown {
			data = appendValue(append(data, 1), f)
		} else {
			data = append(append(data, 0), f.Hash[:]...)
		}
	}
	return Part{KindFields, data}
}

// ScopePart makes the part of a scope entry: the signed header of the frame that has it, its way to the root of entries
// there, and tenant, subject and session, those that are shown.
func ScopePart(entry, signed []byte, path []Step, names [3]Value) Part {
	data := append(append([]byte(nil), signed...), byte(len(path)))
	for _, s := range path {
		side := byte(0)
		if s.Right {
			side = 1
		}
		data = append(append(data, side), s.Hash[:]...)
	}
	data = append(le.AppendUint16(data, uint16(len(entry))), entry...)
	for _, v := range names {
		if v.Shown {
			data = appendValue(append(data, 1), v)
		} else {
			data = append(data, 0)
		}
	}
	return Part{KindScope, data}
}

func appendPath(data []byte, path []merkle.Hash) []byte {
	data = append(data, byte(len(path)))
	for _, h := range path {
		data = append(data, h[:]...)
	}
	return data
}

func appendValue(data []byte, v Value) []byte {
	data = append(data, v.Salt[:]...)
	return append(binary.AppendUvarint(data, uint64(len(v.Value))), v.Value...)
}

// cursor reads a part. What lies outside is zero and sets broken.
type cursor struct {
	b      []byte
	broken bool
}

func (c *cursor) bytes(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.broken, c.b = true, nil
		return make([]byte, min(n, frame.SignedLen))
	}
	out := c.b[:n:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) u8() byte    { return c.bytes(1)[0] }
func (c *cursor) u16() uint16 { return le.Uint16(c.bytes(2)) }

func (c *cursor) hash() merkle.Hash { return merkle.Hash(c.bytes(uint64(len(merkle.Hash{})))) }

func (c *cursor) path() (path []merkle.Hash) {
	for range c.u8() {
		path = append(path, c.hash())
	}
	return path
}

func (c *cursor) value() (v Value) {
	v.Shown = true
	copy(v.Salt[:], c.bytes(seal.SaltSize))
	n, size := uvarint(c.b)
	c.broken = c.broken || size == 0
	c.bytes(uint64(size))
	if n > uint64(len(c.b)) {
		c.broken = true
		return v
	}
	v.Value = c.bytes(n)
	return v
}

var errPart = errors.New("it ends early, or has bytes that mean nothing")

func (c *cursor) end() error {
	if c.broken || len(c.b) > 0 {
		return errPart
	}
	return nil
}

// leafPart is a part of kind 1.
type leafPart struct {
	signed   []byte
	header   frame.Header
	path     []merkle.Hash
	leafdata []byte
	leaf     record.Leaf
}

func parseRecord(data []byte) (p leafPart, err error) {
	c := cursor{b: data}
	before, behind := c.bytes(leavesRoot), c.bytes(uint64(frame.SignedLen-leavesRoot-wordLen))
	p.path = c.path()
	p.leafdata = c.b
	if c.broken || len(p.leafdata) > record.MaxLeaf {
		return p, errPart
	}
	if p.leaf, err = record.Parse(p.leafdata); err != nil {
		return p, err
	}
	p.signed = slices.Concat(before, make([]byte, wordLen), behind)
	if p.header, err = frame.ParseHeader(p.signed); err != nil {
		return p, err
	}
	root, ok := climb(merkle.LeafHash(p.leafdata), p.leaf.Seq-p.header.First, uint64(p.header.Count), p.path)
	if !ok {
		return p, errors.New("its path does not fit a frame that holds it")
	}
	p.header.Leaves = root
	copy(p.signed[leavesRoot:], root[:])
	return p, nil
}

// climb follows an inclusion path to the root that it leads to.
func climb(leaf merkle.Hash, index, size uint64, path []merkle.Hash) (root merkle.Hash, ok bool) {
	if index >= size {
		return root, false
	}
	root = leaf
	for last := size - 1; last > 0; index, last = index>>1, last>>1 {
		if index&1 == 0 && index == last {
			continue
		}
		if len(path) == 0 {
			return root, false
		}
		if index&1 == 1 {
			root = merkle.NodeHash(path[0], root)
		} else {
			root = merkle.NodeHash(root, path[0])
		}
		path = path[1:]
	}
	return root, len(path) == 0
}

func parseFields(data []byte) (fields [seal.FieldCount]Value, err error) {
	c := cursor{b: data}
	for i := range fields {
		switch kind := c.u8(); kind {
		case 0:
			fields[i].Hash = c.hash()
		case 1:
			fields[i] = c.value()
			fields[i].Hash = seal.FieldHash(fields[i].Salt, seal.Field(i+1), fields[i].Value)
		default:
			return fields, fmt.Errorf("field %d is of kind %d", i+1, kind)
		}
	}
	return fields, c.end()
}

// scopePart is a part of kind 4.
type scopePart struct {
	signed []byte
	header frame.Header
	root   merkle.Hash // where the path leads
	entry  *frame.ScopeEntry
	names  [3]Value
}

func parseScope(data []byte) (p scopePart, err error) {
	c := cursor{b: data}
	p.signed = c.bytes(frame.SignedLen)
	path := make([]Step, 0, 16)
	for range c.u8() {
		side := c.u8()
		if side > 1 || len(path) == cap(path) {
			return p, errPart
		}
		path = append(path, Step{side == 1, c.hash()})
	}
	raw := c.bytes(uint64(c.u16()))
	for i := range p.names {
		switch c.u8() {
		case 0:
		case 1:
			p.names[i] = c.value()
		default:
			return p, errPart
		}
	}
	if err := c.end(); err != nil {
		return p, err
	}
	if p.header, err = frame.ParseHeader(p.signed); err != nil {
		return p, err
	}
	if p.entry, _, err = frame.ParseEntry(raw); err != nil || p.entry == nil {
		return p, errors.New("its entry is none of a scope")
	}
	p.root = merkle.LeafHash(raw)
	for _, s := range path {
		if s.Right {
			p.root = merkle.NodeHash(p.root, s.Hash)
		} else {
			p.root = merkle.NodeHash(s.Hash, p.root)
		}
	}
	return p, nil
}
