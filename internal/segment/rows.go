package segment

import (
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/record"
)

// extend makes a column n bytes longer and returns these, which may hold anything.
func (w *Writer) extend(column, n int) []byte {
	b := w.columns[column]
	at := len(b)
	w.columns[column] = grow(b, n)[:at+n]
	return w.columns[column][at:]
}

// grow makes room for n more elements. What has elements gets twice the memory where it must be more, because append copies
// a large slice five times over until it is whole; what starts over gets little more than it needs.
func grow[E any](s []E, n int) []E {
	switch {
	case len(s)+n <= cap(s):
		return s
	case len(s) == 0:
		return make([]E, 0, n+n/8)
	}
	return slices.Grow(s, max(n, len(s)))
}

// addRows appends the rows of a frame to the columns of the index. Columns of equal width are copied as they are.
func (w *Writer) addRows(f *frame.Frame) {
	c := &f.Columns
	for _, same := range [...]struct {
		column int
		rows   []byte
	}{
		{colType, c.Type}, {colKind, c.Kind}, {colFlags, c.Flags}, {colID, c.ID}, {colTime, c.Time},
		{colSlot, c.Slot}, {colCommitment, c.Commitment},
		{colBuckets, c.Buckets[0]}, {colBuckets + 1, c.Buckets[1]}, {colBuckets + 2, c.Buckets[2]}, {colBuckets + 3, c.Buckets[3]},
	} {
		copy(w.extend(same.column, len(same.rows)), same.rows)
	}
	w.addPlace(f)
	w.addScopes(f)
	w.addTexts(f)
	w.addDetails(f)
	w.addBlockColumns(f)
}

// addPlace appends stream and seq.
func (w *Writer) addPlace(f *frame.Frame) {
	n, code := int(f.Count), uint16(w.streams.code(f.Stream))
	stream, seq := w.extend(colStream, 2*n), w.extend(colSeq, 8*n)
	for i := range n {
		le.PutUint16(stream[2*i:], code)
		le.PutUint64(seq[8*i:], f.First+uint64(i))
	}
}

func (w *Writer) addScopes(f *frame.Frame) {
	// A frame may name scopes that no row of it uses: they get a place when a row does.
	const unknown = ^uint32(0)
	w.scopeMap = w.scopeMap[:0]
	for range f.Scopes {
		w.scopeMap = append(w.scopeMap, unknown)
	}
	none := unknown
	col := w.extend(colScope, 4*int(f.Count))
	for i := range int(f.Count) {
		code := &none
		var id [16]byte
		if s := le.Uint16(f.Columns.Scope[2*i:]); s != noNumber {
			code, id = &w.scopeMap[s], f.Scopes[s]
		}
		if *code == unknown {
			*code = w.scopes.add(id)
		}
		le.PutUint32(col[4*i:], *code)
	}
}

func (w *Writer) addTexts(f *frame.Frame) {
	for k := range w.texts {
		w.numbers[k].reset(len(f.Strings))
		rows := f.Columns.Class
		if k > 0 {
			rows = f.Columns.Clear[k-1]
		}
		w.numbers[k].put(w.extend(colClass+k, 2*len(rows)), rows, f, &w.texts[k])
	}
}

func (w *Writer) addDetails(f *frame.Frame) {
	w.ends = grow(w.ends, 4*int(f.Count))
	for i := range int(f.Count) {
		if d := f.Detail(i); len(d) > 0 {
			copy(w.extend(colDetail, len(d)), d)
		}
		w.ends = le.AppendUint32(w.ends, uint32(len(w.columns[colDetail])))
	}
}

// addBlockColumns appends what rows say of their blocks. Until placeRows, the offset is the number of the block.
func (w *Writer) addBlockColumns(f *frame.Frame) {
	n, first := int(f.Count), uint32(len(w.places))
	digest, back := w.extend(colDigest, 32*n), w.extend(colBack, 2*n)
	offset, length := w.extend(colOffset, 4*n), w.extend(colLength, 4*n)
	var none frame.Block
	for i := range n {
		b, number, distance := &none, uint32(0), 0
		if k := le.Uint16(f.Columns.Block[2*i:]); k != noNumber {
			b, number = &f.Blocks[k], first+uint32(k)
			distance = i - b.First
		}
		copy(digest[32*i:], b.Digest[:])
		le.PutUint16(back[2*i:], uint16(distance))
		le.PutUint32(offset[4*i:], number)
		le.PutUint32(length[4*i:], uint32(len(b.Data)))
	}
}

// placeRows replaces the numbers of blocks by their places, which are known once all data is written, and the places of
// scopes by their codes.
func (w *Writer) placeRows() {
	for col := w.columns[colScope]; len(col) > 0; col = col[4:] {
		le.PutUint32(col, w.scopes.codes[le.Uint32(col)])
	}
	offset := w.columns[colOffset]
	for i, t := range w.columns[colType] {
		if hasBlock(record.Type(t)) {
			le.PutUint32(offset[4*i:], w.places[le.Uint32(offset[4*i:])])
		}
	}
}

// makeRuns makes the runs of records, when scopes and blocks have their places.
func (w *Writer) makeRuns() {
	types, codes := w.columns[colType], w.columns[colScope]
	w.order.start(w.scopes.sorted)
	w.order.count(types, codes)
	w.order.place(types, codes)
	w.order.write(&w.runs, w.scopes.sorted, w.scopes.keys, func(row uint32) ([][]byte, int) { return w.columns[:], int(row) })
}

func hasBlock(t record.Type) bool { return t == record.Plain || t == record.Piece }

// writeIndex writes the columns as batches of one file and notes where each lies.
func (w *Writer) writeIndex(s *Segment) error {
	f := &w.index
	schema := indexSchema(w.archive, w.log, w.first)
	if err := f.open(schema); err != nil {
		return err
	}
	all := array.NewRecord(schema, w.arrays(), int64(w.rows))
	f.sink.buf = grow(f.sink.buf, w.indexBytes())
	s.IndexSpans.Batches = make([]commit.Span, 0, (w.rows+batchRows-1)/batchRows)
	for at := 0; at < w.rows; at += batchRows {
		to := min(at+batchRows, w.rows)
		start, end, err := f.write(all.NewSlice(int64(at), int64(to)))
		if err != nil {
			return err
		}
		if at == 0 {
			s.IndexSpans.Head = span(0, start)
		}
		batch := span(start, end)
		batch.Rows = to - at
		s.IndexSpans.Batches = append(s.IndexSpans.Batches, batch)
	}
	data, err := f.close()
	s.Index = data
	return err
}

// indexBytes is about how long the index will be, and not less.
func (w *Writer) indexBytes() int {
	n := 1<<15 + rowBytes*w.rows + len(w.columns[colDetail]) + 16*(len(w.scopes.keys)+len(w.streams.keys))
	n += (w.rows/batchRows + 1) * 4096
	for i := range w.texts {
		n += 64 * len(w.texts[i].keys)
	}
	return n
}

func (w *Writer) arrays() []arrow.Array {
	columns := indexColumns()
	dicts := map[int]arrow.Array{
		colType: textValues(record.TypeNames()), colKind: textValues(record.KindNames()),
		colStream: idValues(w.streams.keys), colScope: idValues(w.scopes.keys),
	}
	for i := range w.texts {
		dicts[colClass+i] = textValues(w.texts[i].keys)
	}
	arrays := make([]arrow.Array, indexWidth)
	for i := range columns {
		t := columns[i].arrowType()
		if i == colDetail {
			arrays[i] = wrap(t, w.rows, nil, w.ends, w.columns[i])
		} else {
			arrays[i] = wrap(t, w.rows, dicts[i], w.columns[i])
		}
	}
	return arrays
}

// span is a range whose digest is still to be computed.
func span(start, end int) commit.Span { return commit.Span{Off: int64(start), Len: int64(end - start)} }
