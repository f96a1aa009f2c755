package segment

import (
	"bytes"
	"slices"

	"github.com/stelelog/stele/internal/record"
)

// leafFixed is how much of leafdata has one length.
const leafFixed = 138

// appendFixed appends that part of the leafdata of row i.
func (b *Batch) appendFixed(dst []byte, i int) []byte {
	col, ids := b.column, &b.head.ids
	n := len(dst)
	dst = slices.Grow(dst, 2*leafFixed)[:n+leafFixed]
	d := (*[leafFixed]byte)(dst[n:])
	d[0], d[1], d[2], d[3] = record.LeafVersion, col[colType][i], col[colKind][i], col[colFlags][i]
	*(*[16]byte)(d[4:]) = ids[colStream][le.Uint16(col[colStream][2*i:])]
	*(*[8]byte)(d[20:]) = [8]byte(col[colSeq][8*i:])
	*(*[16]byte)(d[28:]) = [16]byte(col[colID][16*i:])
	*(*[8]byte)(d[44:]) = [8]byte(col[colTime][8*i:])
	*(*[16]byte)(d[52:]) = ids[colScope][le.Uint32(col[colScope][4*i:])]
	*(*[32]byte)(d[68:]) = [32]byte(col[colDigest][32*i:])
	*(*[2]byte)(d[100:]) = [2]byte(col[colSlot][2*i:])
	*(*[32]byte)(d[102:]) = [32]byte(col[colCommitment][32*i:])
	d[134], d[135], d[136], d[137] = col[colBuckets][i], col[colBuckets+1][i], col[colBuckets+2][i], col[colBuckets+3][i]
	return dst
}

// appendRest appends what follows: the texts and the detail.
func (b *Batch) appendRest(dst []byte, i int) []byte {
	col := b.column
	for k := range texts {
		dst = append(dst, b.head.b8[colClass+k][le.Uint16(col[colClass+k][2*i:])]...)
	}
	from, to := le.Uint32(col[colDetail][4*i:]), le.Uint32(col[colDetail][4*i+4:])
	dst = le.AppendUint16(dst, uint16(to-from))
	return append(dst, b.values[colDetail][from:to]...)
}

// Follows reports whether row i, not the first of its batch, is of the stream of the row before and has the next seq.
func (b *Batch) Follows(i int) bool {
	stream := b.column[colStream]
	return le.Uint16(stream[2*i:]) == le.Uint16(stream[2*i-2:]) && b.Seq(i) == b.Seq(i-1)+1
}

// NextSlot reports whether row i, not the first of its batch, has a block, and is in the slot behind that of the row
// before in the same block: as far as stream, scope, class, place and digest tell.
func (b *Batch) NextSlot(i int) bool {
	c := b.column
	same := func(column, width int) bool {
		return bytes.Equal(c[column][width*i:][:width], c[column][width*(i-1):][:width])
	}
	next := func(column int) bool { return le.Uint16(c[column][2*i:]) == le.Uint16(c[column][2*i-2:])+1 }
	return hasBlock(b.Type(i)) && hasBlock(b.Type(i-1)) && b.Follows(i) && next(colSlot) && next(colBack) &&
		le.Uint32(c[colOffset][4*i:]) == le.Uint32(c[colOffset][4*i-4:]) && le.Uint32(c[colLength][4*i:]) == le.Uint32(c[colLength][4*i-4:]) &&
		same(colScope, 4) && same(colClass, 2) && same(colDigest, 32)
}

// Checker checks rows and makes leafdata of them, and remembers what neighbours have in common. The zero Checker is ready;
// one serves one index.
type Checker struct {
	good  [4]byte // type, kind, flags of a record that was found good
	class uint16
	leaf  record.Leaf

	codes [texts]uint16 // of the row that rest was made of
	rest  []byte        // of leafdata without a detail
}

// AppendLeafdata appends the leafdata of row i: what [record.Leaf.Append] would of [Batch.Leaf], without the leaf.
func (c *Checker) AppendLeafdata(dst []byte, b *Batch, i int) []byte {
	dst = b.appendFixed(dst, i)
	col := b.column
	var codes [texts]uint16
	for k := range codes {
		codes[k] = le.Uint16(col[colClass+k][2*i:])
	}
	if le.Uint32(col[colDetail][4*i:]) != le.Uint32(col[colDetail][4*i+4:]) {
		return b.appendRest(dst, i)
	}
	if codes != c.codes || c.rest == nil {
		c.codes, c.rest = codes, b.appendRest(c.rest[:0], i)
	}
	return append(dst, c.rest...)
}

// Check reports whether the fields of row i fit its type.
func (c *Checker) Check(b *Batch, i int) error {
	col := b.column
	now, class := [4]byte{col[colType][i], col[colKind][i], col[colFlags][i], 1}, le.Uint16(col[colClass][2*i:])
	if now == c.good && class == c.class && le.Uint32(col[colDetail][4*i:]) == le.Uint32(col[colDetail][4*i+4:]) {
		return nil
	}
	b.Leaf(i, &c.leaf)
	err := c.leaf.Check()
	if err == nil && hasBlock(c.leaf.Type) {
		c.good, c.class = now, class
	}
	return err
}
