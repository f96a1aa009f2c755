package segment

import (
	"maps"
	"strconv"
)

// What Arrow calls things: Message.fbs, Schema.fbs and File.fbs of the Arrow format, by number of field.
const (
	metadataV5 = 4

	headerSchema     = 1
	headerDictionary = 2
	headerBatch      = 3

	messageVersion    = 0
	messageHeaderType = 1
	messageHeader     = 2
	messageBodyLength = 3

	schemaEndianness = 0
	schemaFields     = 1
	schemaMetadata   = 2

	fieldName       = 0
	fieldNullable   = 1
	fieldTypeType   = 2
	fieldType       = 3
	fieldDictionary = 4
	fieldChildren   = 5
	fieldMetadata   = 6

	dictionaryID    = 0
	dictionaryIndex = 1

	batchLength      = 0
	batchNodes       = 1
	batchBuffers     = 2
	batchCompression = 3

	dictionaryBatchID   = 0
	dictionaryBatchData = 1
	dictionaryBatchMore = 2

	footerSchema       = 1
	footerDictionaries = 2
	footerBatches      = 3

	nanoseconds = 3
)

// arrowFile walks through the messages of an Arrow file, or of a part of one, that should have certain columns.
type arrowFile struct {
	object, format string
	columns        []column
	b              []byte
	at             int // of the next message, in b

	cuts  []Cut // what was left out of b from here on
	shift int   // bytes that were left out of b before at

	metadata map[string]string
	dictOf   map[uint64]int // column of each dictionary
	dicts    []block        // the messages read so far
	batches  []block
}

// message is one message of an Arrow file.
type message struct {
	kind   uint64
	header table
	body   []byte
	cuts   []Cut // what was left out of body
	place  block
}

// Cut is a range of an object that is left out of its bytes.
type Cut struct{ At, Len int64 }

// block is where a message lies, as the footer has it.
type block struct{ offset, meta, body int }

func (a *arrowFile) bad(format string, args ...any) error {
	return bad(a.object, a.at, format, args...)
}

// next reads a message. more is false at the end-of-stream marker.
func (a *arrowFile) next() (m message, more bool, err error) {
	b := a.b[a.at:]
	if len(b) < 8 || le.Uint32(b) != 0xffffffff {
		return m, false, a.bad("no message")
	}
	meta := int(le.Uint32(b[4:]))
	if meta == 0 {
		a.at += 8
		return m, false, nil
	}
	if meta > len(b)-8 {
		return m, false, a.bad("the message ends early")
	}
	f := &flat{b: b[8 : 8+meta]}
	root := f.root()
	m.kind, m.header = root.uint(messageHeaderType, 1), root.table(messageHeader)
	version, body := root.uint(messageVersion, 2), root.uint(messageBodyLength, 8)
	m.place = block{a.at + a.shift, 8 + meta, int(body)}
	missing, whole := m.take(&a.cuts)
	if f.broken || version != metadataV5 || !whole || body > uint64(len(b)-8-meta+missing) {
		return m, false, a.bad("the message is damaged")
	}
	m.body = b[8+meta:][:int(body)-missing]
	a.at += 8 + meta + len(m.body)
	a.shift += missing
	return m, true, nil
}

// take takes those cuts that are in the body of m, and says how many bytes they are. ok is false if one lies across its
// start or end.
func (m *message) take(cuts *[]Cut) (missing int, ok bool) {
	start := int64(m.place.offset + m.place.meta)
	end := start + int64(m.place.body)
	n := 0
	for n < len(*cuts) && (*cuts)[n].At < end {
		c := (*cuts)[n]
		if c.At < start || c.Len > end-c.At {
			return 0, false
		}
		missing += int(c.Len)
		n++
	}
	m.cuts, *cuts = (*cuts)[:n], (*cuts)[n:]
	return missing, true
}

// expect reads a message of one kind.
func (a *arrowFile) expect(kind uint64) (message, error) {
	at := a.at
	m, more, err := a.next()
	if err == nil && (!more || m.kind != kind) {
		err = bad(a.object, at, "not the message that belongs here")
	}
	return m, err
}

// open reads the magic and the schema.
func (a *arrowFile) open() error {
	if len(a.b) < len(fileMagic) || string(a.b[:len(fileMagic)]) != fileMagic {
		return a.bad("this is no Arrow file")
	}
	a.at = len(fileMagic)
	m, err := a.expect(headerSchema)
	if err != nil {
		return err
	}
	a.metadata, a.dictOf, err = a.readSchema(m.header)
	return err
}

// readSchema reads a schema and checks that it is that of the format.
func (a *arrowFile) readSchema(t table) (metadata map[string]string, dictOf map[uint64]int, err error) {
	metadata, dictOf = map[string]string{}, map[uint64]int{}
	if t.f == nil || t.uint(schemaEndianness, 2) != 0 {
		return nil, nil, a.bad("no little-endian schema")
	}
	t.tables(schemaMetadata, func(_ int, kv table) { metadata[kv.text(0)] = kv.text(1) })
	fields, matching := 0, 0
	t.tables(schemaFields, func(i int, field table) {
		fields++
		if i < len(a.columns) && a.columns[i].matches(field) {
			matching++
		}
		if d := field.table(fieldDictionary); d.f != nil {
			dictOf[d.uint(dictionaryID, 8)] = i
		}
	})
	if t.f.broken || metadata["stele"] != a.format || fields != len(a.columns) || matching != fields {
		return nil, nil, a.bad("the schema is not that of %s", a.format)
	}
	return metadata, dictOf, nil
}

// rest reads the batches up to the end of the file, and the footer.
func (a *arrowFile) rest(take func(*message) error) error {
	for {
		m, more, err := a.next()
		if err != nil {
			return err
		}
		if !more {
			return a.readFooter()
		}
		if m.kind != headerBatch {
			return bad(a.object, m.place.offset, "a message that is no batch")
		}
		if err := take(&m); err != nil {
			return err
		}
		a.batches = append(a.batches, m.place)
	}
}

// matches reports whether a field of a schema describes c.
func (c *column) matches(field table) bool {
	_, children := field.vector(fieldChildren, 4)
	_, metadata := field.vector(fieldMetadata, 4)
	t, dict := field.table(fieldType), field.table(fieldDictionary)
	same := field.text(fieldName) == c.name && field.uint(fieldNullable, 1) == 0 && children == 0 && metadata == 0 &&
		field.uint(fieldTypeType, 1) == uint64(c.kind) && (dict.f != nil) == (c.code != 0)
	if c.code != 0 {
		index := dict.table(dictionaryIndex)
		same = same && index.uint(0, 4) == uint64(8*c.code) && index.uint(1, 1) == 1
	}
	switch c.kind {
	case typeInt:
		return same && t.uint(0, 4) == uint64(8*c.width) && t.uint(1, 1) == 0
	case typeFixed:
		return same && t.uint(0, 4) == uint64(c.width)
	case typeTimestamp:
		return same && t.uint(0, 2) == nanoseconds && t.text(1) == "UTC"
	}
	return same
}

// batch is the rows of a record batch: for each column the buffer that is indexed by rows, and for one of varying width
// its values too.
type batch struct {
	rows   int
	base   int // of the values of the last column, in the object
	column [][]byte
	values [][]byte
	cut    bool // some of the values were left out
}

// bufferList hands out the buffers of a record batch one by one.
type bufferList struct {
	f        *flat
	at, left int
	m        *message
	last     int // offset in the body of the buffer handed out last
}

// next also says how long the buffer is in the object: some or all of it may have been left out.
func (l *bufferList) next() (b []byte, size int, ok bool) {
	if l.left == 0 {
		return nil, 0, false
	}
	off, n := l.f.uint(l.at, 8), l.f.uint(l.at+8, 8)
	l.at, l.left = l.at+16, l.left-1
	if body := uint64(l.m.place.body); off > body || n > body-off {
		return nil, 0, false
	}
	l.last = int(off)
	from, to := l.m.in(int(off)), l.m.in(int(off+n))
	return l.m.body[from:to], int(n), true
}

// in is where an offset in the body of m lies in what is left of it.
func (m *message) in(off int) int {
	at := off
	for _, c := range m.cuts {
		if start := int(c.At) - m.place.offset - m.place.meta; start < off {
			at -= min(int(c.Len), off-start)
		}
	}
	return at
}

// readBatch cuts a record batch, which is also the content of a dictionary. plain says that columns with codes hold
// their values instead.
func (a *arrowFile) readBatch(t table, m *message, columns []column, plain bool) (out batch, err error) {
	nodes, n := t.vector(batchNodes, 16)
	first, count := t.vector(batchBuffers, 16)
	rows := t.uint(batchLength, 8)
	damaged := bad(a.object, m.place.offset, "the batch is damaged")
	if t.f == nil || t.f.broken || n != len(columns) || rows > uint64(len(m.body)) || t.field(batchCompression) != 0 {
		return out, damaged
	}
	buffers := bufferList{f: t.f, at: first, left: count, m: m}
	out = batch{rows: int(rows), column: make([][]byte, n), values: make([][]byte, n)}
	for i := range columns {
		c := columns[i]
		if plain {
			c.code = 0
		}
		length, nulls := t.f.uint(nodes+16*i, 8), t.f.uint(nodes+16*i+8, 8)
		_, valid, ok := buffers.next()
		if length != rows || nulls != 0 || !ok || valid != 0 || !out.take(i, &c, &buffers) {
			return out, damaged
		}
	}
	if buffers.left != 0 {
		return out, damaged
	}
	out.base = m.place.offset + m.place.meta + buffers.last
	return out, nil
}

// take takes the buffers of column i, brings them to their exact lengths and checks offsets.
func (b *batch) take(i int, c *column, buffers *bufferList) bool {
	col, size, ok := buffers.next()
	if len(col) != size {
		return false // only values may be left out
	}
	width := c.stride()
	if width != 0 {
		if !ok || len(col) < b.rows*width {
			return false
		}
		b.column[i] = col[: b.rows*width : b.rows*width]
		return true
	}
	width = 4
	if c.kind == typeLargeBinary {
		width = 8
	}
	values, size, more := buffers.next()
	if !ok || !more || len(col) < (b.rows+1)*width {
		return false
	}
	b.column[i], b.values[i], b.cut = col[:(b.rows+1)*width], values, b.cut || len(values) != size
	last := uint64(0)
	for k := range b.rows + 1 {
		end := uint64(le.Uint32(col[width*k:]))
		if width == 8 {
			end = le.Uint64(col[8*k:])
		}
		if end < last || end > uint64(size) {
			return false
		}
		last = end
	}
	return true
}

// readFooter checks that the footer, which other readers start from, says what the messages said.
func (a *arrowFile) readFooter() error {
	const tail = 4 + 6
	b := a.b[a.at:]
	if len(b) < tail || string(b[len(b)-6:]) != fileMagic[:6] || int(le.Uint32(b[len(b)-tail:])) != len(b)-tail {
		return a.bad("no footer")
	}
	f := &flat{b: b[:len(b)-tail]}
	root := f.root()
	metadata, dictOf, err := a.readSchema(root.table(footerSchema))
	if err != nil {
		return err
	}
	same := maps.Equal(metadata, a.metadata) && maps.Equal(dictOf, a.dictOf) &&
		sameBlocks(root, footerDictionaries, a.dicts) && sameBlocks(root, footerBatches, a.batches)
	if !same || f.broken {
		return a.bad("the footer contradicts the messages")
	}
	return nil
}

func sameBlocks(t table, field int, want []block) bool {
	first, n := t.vector(field, 24)
	if n != len(want) {
		return false
	}
	for i, w := range want {
		at := first + 24*i
		if (block{int(t.f.uint(at, 8)), int(t.f.uint(at+8, 4)), int(t.f.uint(at+16, 8))}) != w {
			return false
		}
	}
	return true
}

// number reads a decimal number as the metadata has it.
func number(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return n, err == nil && strconv.FormatUint(n, 10) == s
}
