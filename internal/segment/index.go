package segment

import (
	"encoding/hex"
	"maps"
	"slices"
	"sort"

	"github.com/stelelog/stele/internal/record"
)

// Head is the head of an index object: what batches need to be read. It shares no memory with its bytes.
type Head struct {
	Archive [16]byte
	Log     string // origin
	First   uint64 // index of the segment's first leaf

	ids   [colScope + 1][][16]byte // dictionaries by column
	texts [colDetail][]string
	b8    [colDetail][][]byte // the texts as leafdata has them
}

// ParseHead reads the head of an index, from the start of the object.
func ParseHead(head []byte) (*Head, error) {
	a, h, err := openIndex(head)
	if err == nil && a.at != len(head) {
		err = a.bad("bytes after the head")
	}
	if err != nil {
		return nil, err
	}
	return h, nil
}

func indexFile(b []byte) *arrowFile {
	columns := indexColumns()
	return &arrowFile{object: objIndex, format: indexFormat, columns: columns[:], b: b}
}

// openIndex reads the head of an index up to the first batch.
func openIndex(b []byte) (*arrowFile, *Head, error) {
	a := indexFile(b)
	if err := a.open(); err != nil {
		return nil, nil, err
	}
	h := &Head{Log: a.metadata["log"]}
	archive, err := hex.DecodeString(a.metadata["archive"])
	first, ok := number(a.metadata["first"])
	if err != nil || len(archive) != len(h.Archive) || !ok {
		return nil, nil, a.bad("the schema does not say archive and place")
	}
	h.Archive, h.First = [16]byte(archive), first
	missing := maps.Clone(a.dictOf)
	for len(missing) > 0 {
		m, err := a.expect(headerDictionary)
		if err != nil {
			return nil, nil, err
		}
		if err := h.addDictionary(a, &m, missing); err != nil {
			return nil, nil, err
		}
	}
	if !slices.Equal(h.texts[colType], record.TypeNames()) || !slices.Equal(h.texts[colKind], record.KindNames()) {
		return nil, nil, a.bad("types or kinds have other names")
	}
	return a, h, nil
}

// addDictionary reads the dictionary of one of the columns that miss theirs.
func (h *Head) addDictionary(a *arrowFile, m *message, missing map[uint64]int) error {
	id := m.header.uint(dictionaryBatchID, 8)
	column, ok := missing[id]
	if !ok || m.header.uint(dictionaryBatchMore, 1) != 0 {
		return bad(a.object, m.place.offset, "a dictionary of no column, or a second one")
	}
	delete(missing, id)
	a.dicts = append(a.dicts, m.place)
	c := &a.columns[column]
	b, err := a.readBatch(m.header.table(dictionaryBatchData), m, a.columns[column:column+1], true)
	if err != nil {
		return err
	}
	if c.kind == typeFixed {
		h.ids[column] = make([][16]byte, b.rows)
		for i := range b.rows {
			h.ids[column][i] = [16]byte(b.column[0][16*i:])
		}
		return nil
	}
	start := le.Uint32(b.column[0])
	for i := range b.rows {
		end := le.Uint32(b.column[0][4*i+4:])
		text := string(b.values[0][start:end])
		h.texts[column] = append(h.texts[column], text)
		h.b8[column] = append(h.b8[column], append([]byte{byte(len(text))}, text...))
		start = end
	}
	return nil
}

// Batch is a batch of rows of an index. It shares memory with its bytes.
type Batch struct {
	head *Head
	batch
}

// ParseBatch reads a batch of the index that h is the head of.
func (h *Head) ParseBatch(batch []byte) (*Batch, error) {
	a := indexFile(batch)
	m, err := a.expect(headerBatch)
	if err == nil && a.at != len(batch) {
		err = a.bad("bytes after the batch")
	}
	if err != nil {
		return nil, err
	}
	return h.readBatch(a, &m)
}

func (h *Head) readBatch(a *arrowFile, m *message) (*Batch, error) {
	columns := a.columns
	b, err := a.readBatch(m.header, m, columns, false)
	if err != nil {
		return nil, err
	}
	if b.rows == 0 || b.rows > batchRows {
		return nil, bad(objIndex, m.place.offset, "a batch of %d rows", b.rows)
	}
	for i := range columns {
		size := 0
		switch {
		case columns[i].code == 0:
			continue
		case columns[i].kind == typeFixed:
			size = len(h.ids[i])
		default:
			size = len(h.texts[i])
		}
		if !codesBelow(b.column[i], columns[i].code, size) {
			return nil, bad(objIndex, m.place.offset, "column %s: no such value in the dictionary", columns[i].name)
		}
	}
	return &Batch{h, b}, nil
}

// codesBelow reports whether all codes of a column are less than size. Negative ones are not.
func codesBelow(col []byte, width, size int) bool {
	greatest := uint32(0)
	switch width {
	case 1:
		for _, c := range col {
			greatest = max(greatest, uint32(c))
		}
	case 2:
		for ; len(col) >= 2; col = col[2:] {
			greatest = max(greatest, uint32(le.Uint16(col)))
		}
	case 4:
		for ; len(col) >= 4; col = col[4:] {
			greatest = max(greatest, le.Uint32(col))
		}
	}
	return uint64(greatest) < uint64(size)
}

// Len is the number of rows, 1 to [batchRows].
func (b *Batch) Len() int { return b.rows }

// Type is the type of row i.
func (b *Batch) Type(i int) record.Type { return record.Type(b.column[colType][i]) }

// Kind is the kind of row i.
func (b *Batch) Kind(i int) uint8 { return b.column[colKind][i] }

// Flags are those of row i.
func (b *Batch) Flags(i int) uint8 { return b.column[colFlags][i] }

// Time is the time of row i in ns.
func (b *Batch) Time(i int) int64 { return int64(le.Uint64(b.column[colTime][8*i:])) }

// Stream is the stream of row i.
func (b *Batch) Stream(i int) [16]byte {
	return b.head.ids[colStream][le.Uint16(b.column[colStream][2*i:])]
}

// Seq is the place of row i in its stream.
func (b *Batch) Seq(i int) uint64 { return le.Uint64(b.column[colSeq][8*i:]) }

// Scope is the scope of row i, zero if it has none.
func (b *Batch) Scope(i int) [16]byte {
	return b.head.ids[colScope][le.Uint32(b.column[colScope][4*i:])]
}

// ID is the record id of row i.
func (b *Batch) ID(i int) [16]byte { return [16]byte(b.column[colID][16*i:]) }

// Class is the class of row i.
func (b *Batch) Class(i int) string { return b.text(colClass, i) }

// Digest is the digest of the block of row i.
func (b *Batch) Digest(i int) [32]byte { return [32]byte(b.column[colDigest][32*i:]) }

// Slot is the slot of row i in its block.
func (b *Batch) Slot(i int) uint16 { return le.Uint16(b.column[colSlot][2*i:]) }

// Clear is a clear value of row i: place is one of those that package record names, [record.Model] say.
func (b *Batch) Clear(i, place int) string { return b.text(colClass+1+place, i) }

func (b *Batch) text(column, i int) string {
	return b.head.texts[column][le.Uint16(b.column[column][2*i:])]
}

// Leaf fills l with row i; its Append then gives the leafdata. It does not allocate. The detail shares memory with the
// batch. Whether the fields fit the type is what [record.Leaf.Check] says.
func (b *Batch) Leaf(i int, l *record.Leaf) {
	col := b.column
	*l = record.Leaf{
		Type: b.Type(i), Kind: b.Kind(i), Flags: col[colFlags][i], Stream: b.Stream(i), Seq: b.Seq(i), ID: b.ID(i),
		Time: b.Time(i), Scope: b.Scope(i), Digest: [32]byte(col[colDigest][32*i:]), Slot: le.Uint16(col[colSlot][2*i:]),
		Commitment: [32]byte(col[colCommitment][32*i:]), Class: b.Class(i),
	}
	for k := range l.Buckets {
		l.Buckets[k] = col[colBuckets+k][i]
	}
	for k := range l.Clear {
		l.Clear[k] = b.Clear(i, k)
	}
	if from, to := le.Uint32(col[colDetail][4*i:]), le.Uint32(col[colDetail][4*i+4:]); from < to {
		l.Detail = b.values[colDetail][from:to:to]
	}
}

// Block says where the sealed block of a row lies.
type Block struct {
	Offset uint32 // in the data object of the row's class
	Length uint32
	First  uint64 // seq of slot 0
}

// Block returns the place of the block of row i; ok is false if it has none. The place may lie outside the object.
func (b *Batch) Block(i int) (at Block, ok bool) {
	if !hasBlock(b.Type(i)) {
		return Block{}, false
	}
	return Block{Offset: le.Uint32(b.column[colOffset][4*i:]), Length: le.Uint32(b.column[colLength][4*i:]),
		First: b.Seq(i) - uint64(le.Uint16(b.column[colBack][2*i:]))}, true
}

// Index is a whole index object.
type Index struct {
	*Head
	Batches []*Batch

	starts []int   // row of each batch
	places []block // of each batch in the object
	end    int     // of the head
}

// OpenIndex reads a whole index object. It also checks that other readers, which start from the footer of the file, see
// the same rows.
func OpenIndex(data []byte) (*Index, error) {
	a, h, err := openIndex(data)
	if err != nil {
		return nil, err
	}
	x := &Index{Head: h, end: a.at}
	err = a.rest(func(m *message) error {
		b, err := h.readBatch(a, m)
		if err == nil {
			x.starts, x.places, x.Batches = append(x.starts, x.Len()), append(x.places, m.place), append(x.Batches, b)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return x, nil
}

// Len is the number of rows.
func (x *Index) Len() int {
	if len(x.Batches) == 0 {
		return 0
	}
	return x.starts[len(x.starts)-1] + x.Batches[len(x.Batches)-1].rows
}

// HeadPart is where the head of the index lies in its object, and Place where batch k does: what a commit has to say.
func (x *Index) HeadPart() Part { return Part{0, int64(x.end)} }

// Place is described at [Index.HeadPart].
func (x *Index) Place(k int) Part {
	return Part{int64(x.places[k].offset), int64(x.places[k].meta + x.places[k].body)}
}

// Row finds row n of the index: in which batch it is, and which row of it.
func (x *Index) Row(n int) (b *Batch, i int) {
	k := n / batchRows // where it is if all batches are as large as they can be
	if k >= len(x.starts) || x.starts[k] != k*batchRows || n-x.starts[k] >= x.Batches[k].rows {
		k = sort.SearchInts(x.starts, n+1) - 1
	}
	return x.Batches[k], n - x.starts[k]
}

// Scopes are the scopes that rows use, and perhaps the zero one. It shares memory with the head.
func (h *Head) Scopes() [][16]byte { return h.ids[colScope] }
