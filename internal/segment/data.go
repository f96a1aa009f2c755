package segment

import (
	"iter"

	"github.com/stelelog/stele/internal/record"
)

// Data is a whole data object. It shares memory with its bytes.
type Data struct {
	Class   string
	batches []batch
}

// SealedBlock is a row of a data object.
type SealedBlock struct {
	Leaf   uint32 // of slot 0, counted from the segment's first
	Offset int64  // in the object
	Length int64
	Bytes  []byte // nil if some of the batch was left out
}

// OpenData reads a data object, of which the ranges in cuts may have been left out: sorted, and no two of them touch.
// They must lie in blocks, or in what pads a buffer. It also checks that other readers, which start from the footer of the file, see the same rows.
func OpenData(data []byte, cuts ...Cut) (*Data, error) {
	columns := dataColumns()
	a := &arrowFile{object: objData, format: dataFormat, columns: columns[:], b: data, cuts: cuts}
	if err := a.open(); err != nil {
		return nil, err
	}
	d := &Data{Class: a.metadata["class"]}
	if !record.ValidClass(d.Class) {
		return nil, a.bad("%q is no class", d.Class)
	}
	err := a.rest(func(m *message) error {
		b, err := a.readBatch(m.header, m, columns[:], false)
		d.batches = append(d.batches, b)
		return err
	})
	if err == nil && len(a.cuts) > 0 {
		err = a.bad("a part was left out that is in no block")
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Len is the number of blocks.
func (d *Data) Len() (n int) {
	for i := range d.batches {
		n += d.batches[i].rows
	}
	return n
}

// Blocks yields the blocks in their order.
func (d *Data) Blocks() iter.Seq[SealedBlock] {
	return func(yield func(SealedBlock) bool) {
		for k := range d.batches {
			b := &d.batches[k]
			for i := range b.rows {
				from, to := le.Uint64(b.column[dataBlock][8*i:]), le.Uint64(b.column[dataBlock][8*i+8:])
				block := SealedBlock{Leaf: le.Uint32(b.column[dataLeaf][4*i:]), Offset: int64(b.base) + int64(from), Length: int64(to - from)}
				if !b.cut {
					block.Bytes = b.values[dataBlock][from:to:to]
				}
				if !yield(block) {
					return
				}
			}
		}
	}
}
