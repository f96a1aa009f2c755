package segment

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/stelelog/stele/internal/frame"
)

// Blocks are written in batches of this many, or of one more than fits into so many bytes: they are kept twice only
// until then.
const (
	dataRows  = 4096
	dataBytes = 2 << 20
)

// classFile is the data object of one class in the making.
type classFile struct {
	class   string
	file    file
	rows    int
	blocks  []uint32 // numbers of the blocks that are not written yet
	columns [dataWidth][]byte
	offsets []byte // of the blocks in the last column, 8 bytes each
}

func (c *classFile) open(class string) error {
	c.class = class
	c.clear()
	return c.file.open(dataSchema(class))
}

func (c *classFile) clear() {
	c.rows, c.blocks = 0, c.blocks[:0]
	for i := range c.columns {
		c.columns[i] = c.columns[i][:0]
	}
	c.offsets = append(c.offsets[:0], 0, 0, 0, 0, 0, 0, 0, 0)
}

// add appends a block of a frame that starts at row first.
func (c *classFile) add(b *frame.Block, first, number uint32) {
	col := &c.columns
	col[dataLeaf] = le.AppendUint32(col[dataLeaf], first+uint32(b.First))
	col[dataBlock] = append(col[dataBlock], b.Data...)
	c.offsets = le.AppendUint64(c.offsets, uint64(len(col[dataBlock])))
	c.blocks = append(c.blocks, number)
	c.rows++
}

func (c *classFile) full() bool { return c.rows >= dataRows || len(c.columns[dataBlock]) >= dataBytes }

// flush writes the batch, and tells in places where each block has come to lie.
func (c *classFile) flush(places []uint32) error {
	if c.rows == 0 {
		return nil
	}
	columns := dataColumns()
	arrays := make([]arrow.Array, dataWidth)
	for i := range columns {
		if i == dataBlock {
			arrays[i] = wrap(columns[i].arrowType(), c.rows, nil, c.offsets, c.columns[i])
		} else {
			arrays[i] = wrap(columns[i].arrowType(), c.rows, nil, c.columns[i])
		}
	}
	_, end, err := c.file.write(array.NewRecord(c.file.schema, arrays, int64(c.rows)))
	if err != nil {
		return err
	}
	// The blocks are the last buffer of the body.
	base := end - padded(len(c.columns[dataBlock]))
	for i, number := range c.blocks {
		places[number] = uint32(base) + uint32(le.Uint64(c.offsets[8*i:]))
	}
	c.clear()
	return nil
}

// padded rounds up to the alignment of Arrow.
func padded(n int) int { return (n + 7) &^ 7 }
