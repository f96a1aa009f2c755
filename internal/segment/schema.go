package segment

import (
	"encoding/hex"
	"strconv"

	"github.com/apache/arrow/go/v17/arrow"
)

// Formats, as the metadata of the files names them.
const (
	indexFormat = "index/v1"
	dataFormat  = "data/v1"
)

// Logical types by their numbers in Arrow's Schema.fbs.
const (
	typeInt         = 2
	typeBinary      = 4
	typeText        = 5
	typeTimestamp   = 10
	typeFixed       = 15
	typeLargeBinary = 19
)

// column describes a column of an object.
type column struct {
	name  string
	kind  uint8 // logical type of the values
	width int   // of a value in bytes, 0 if it varies
	code  int   // width of a dictionary code in bytes, 0 without dictionary
}

// stride is how many bytes a row takes in the buffer that is indexed by rows.
func (c *column) stride() int {
	if c.code != 0 {
		return c.code
	}
	return c.width
}

// Columns of the index.
const (
	colType = iota
	colKind
	colFlags
	colStream
	colSeq
	colID
	colTime
	colScope
	colDigest
	colSlot
	colCommitment
	colBuckets            // four columns
	colClass   = iota + 3 // and the six of record.Clear
	colDetail  = iota + 9
	colBack
	colOffset
	colLength
	indexWidth
)

// texts is the number of text dictionaries beside type and kind: class and the clear values.
const texts = colDetail - colClass

// rowBytes is about how much a row takes in the index, its detail apart, and in the proof.
const rowBytes = 139 + 2*32 + 48

func indexColumns() [indexWidth]column {
	return [...]column{
		{"type", typeText, 0, 1},
		{"kind", typeText, 0, 1},
		{"flags", typeInt, 1, 0},
		{"stream", typeFixed, 16, 2},
		{"seq", typeInt, 8, 0},
		{"id", typeFixed, 16, 0},
		{"time", typeTimestamp, 8, 0},
		{"scope", typeFixed, 16, 4},
		{"digest", typeFixed, 32, 0},
		{"slot", typeInt, 2, 0},
		{"commitment", typeFixed, 32, 0},
		{"size", typeInt, 1, 0},
		{"input_tokens", typeInt, 1, 0},
		{"output_tokens", typeInt, 1, 0},
		{"duration", typeInt, 1, 0},
		{"class", typeText, 0, 2},
		{"operation", typeText, 0, 2},
		{"provider", typeText, 0, 2},
		{"model", typeText, 0, 2},
		{"finish_reason", typeText, 0, 2},
		{"error_type", typeText, 0, 2},
		{"release", typeText, 0, 2},
		{"detail", typeBinary, 0, 0},
		{"block_back", typeInt, 2, 0},
		{"block_offset", typeInt, 4, 0},
		{"block_length", typeInt, 4, 0},
	}
}

// Columns of a data object.
const (
	dataLeaf = iota
	dataBlock
	dataWidth
)

func dataColumns() [dataWidth]column {
	return [...]column{
		{"leaf", typeInt, 4, 0},
		{"block", typeLargeBinary, 0, 0},
	}
}

// arrowType is the column's type as Arrow knows it.
func (c *column) arrowType() arrow.DataType {
	v := c.valueType()
	switch c.code {
	case 1:
		return &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: v}
	case 2:
		return &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: v}
	case 4:
		return &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: v}
	}
	return v
}

func (c *column) valueType() arrow.DataType {
	switch c.kind {
	case typeText:
		return arrow.BinaryTypes.String
	case typeBinary:
		return arrow.BinaryTypes.Binary
	case typeLargeBinary:
		return arrow.BinaryTypes.LargeBinary
	case typeTimestamp:
		return &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}
	case typeFixed:
		return &arrow.FixedSizeBinaryType{ByteWidth: c.width}
	}
	switch c.width {
	case 1:
		return arrow.PrimitiveTypes.Uint8
	case 2:
		return arrow.PrimitiveTypes.Uint16
	case 4:
		return arrow.PrimitiveTypes.Uint32
	}
	return arrow.PrimitiveTypes.Uint64
}

func arrowSchema(columns []column, keys, values []string) *arrow.Schema {
	fields := make([]arrow.Field, len(columns))
	for i := range columns {
		fields[i] = arrow.Field{Name: columns[i].name, Type: columns[i].arrowType()}
	}
	md := arrow.NewMetadata(keys, values)
	return arrow.NewSchema(fields, &md)
}

func indexSchema(archive [16]byte, log string, first uint64) *arrow.Schema {
	columns := indexColumns()
	return arrowSchema(columns[:], []string{"stele", "archive", "log", "first"},
		[]string{indexFormat, hex.EncodeToString(archive[:]), log, strconv.FormatUint(first, 10)})
}

func dataSchema(class string) *arrow.Schema {
	columns := dataColumns()
	return arrowSchema(columns[:], []string{"stele", "class"}, []string{dataFormat, class})
}
