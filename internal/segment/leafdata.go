package segment

import (
	"github.com/stelelog/stele/internal/record"
)

// AppendLeafdata appends the leafdata of row i: what [record.Leaf.Append] would of [Batch.Leaf], without the leaf.
func (b *Batch) AppendLeafdata(dst []byte, i int) []byte {
	col, ids := b.column, &b.head.ids
	dst = append(dst, record.LeafVersion, col[colType][i], col[colKind][i], col[colFlags][i])
	dst = append(dst, ids[colStream][le.Uint16(col[colStream][2*i:])][:]...)
	dst = append(dst, col[colSeq][8*i:][:8]...)
	dst = append(dst, col[colID][16*i:][:16]...)
	dst = append(dst, col[colTime][8*i:][:8]...)
	dst = append(dst, ids[colScope][le.Uint32(col[colScope][4*i:])][:]...)
	dst = append(dst, col[colDigest][32*i:][:32]...)
	dst = append(dst, col[colSlot][2*i:][:2]...)
	dst = append(dst, col[colCommitment][32*i:][:32]...)
	dst = append(dst, col[colBuckets][i], col[colBuckets+1][i], col[colBuckets+2][i], col[colBuckets+3][i])
	for k := range texts {
		dst = append(dst, b.head.b8[colClass+k][le.Uint16(col[colClass+k][2*i:])]...)
	}
	from, to := le.Uint32(col[colDetail][4*i:]), le.Uint32(col[colDetail][4*i+4:])
	dst = le.AppendUint16(dst, uint16(to-from))
	return append(dst, b.values[colDetail][from:to]...)
}

// Checker checks rows as [record.Leaf.Check] does. The zero Checker is ready; one serves one index.
type Checker struct {
	good  [4]byte // type, kind, flags of a record that was found good
	class uint16
	leaf  record.Leaf
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
