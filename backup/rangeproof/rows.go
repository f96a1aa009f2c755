package rangeproof

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

// Columns of a range, in their order: docs/formats/range.md.
const (
	colStreams = iota
	colRuns
	colTexts
	colTypes
	colKinds
	colFlags
	colTimes
	colBuckets
	colNumbers
	colDetails
	colBlocks
	colBlockScopes
	colSlots
	colScopes
	colDigests
	colIDs
	colCommitments

	columns
)

// leafRows are leaves, written by columns.
type leafRows struct {
	col   [columns][]byte
	count uint64
	last  int64 // time

	run     struct{ stream, seq, n uint64 }
	streams map[[16]byte]uint64
	texts   map[string]uint64
	scopes  map[[16]byte]uint64
	blocks  map[leafBlock]uint64
}

// leafBlock is a sealed block as leaves name it.
type leafBlock struct {
	scope  [16]byte
	digest [32]byte
}

func newLeafRows() *leafRows {
	return &leafRows{streams: map[[16]byte]uint64{}, texts: map[string]uint64{}, scopes: map[[16]byte]uint64{}, blocks: map[leafBlock]uint64{}}
}

// number is that of a value in the order of first use; fresh if this is its first.
func number[T comparable](of map[T]uint64, v T) (n uint64, fresh bool) {
	n, ok := of[v]
	if !ok {
		n = uint64(len(of))
		of[v] = n
	}
	return n, !ok
}

func (r *leafRows) uv(col int, v uint64) { r.col[col] = binary.AppendUvarint(r.col[col], v) }

// add appends a leaf that is valid.
func (r *leafRows) add(l *record.Leaf) {
	r.follow(l)
	r.col[colTypes], r.col[colKinds], r.col[colFlags] = append(r.col[colTypes], byte(l.Type)), append(r.col[colKinds], l.Kind), append(r.col[colFlags], l.Flags)
	diff := l.Time - r.last
	r.uv(colTimes, uint64(diff)<<1^uint64(diff>>63))
	r.last = l.Time
	r.col[colBuckets] = append(r.col[colBuckets], l.Buckets[:]...)
	r.text(l.Class)
	for _, v := range l.Clear {
		r.text(v)
	}
	if l.Type != record.Plain && l.Type != record.Piece {
		r.col[colDetails] = append(le.AppendUint16(r.col[colDetails], uint16(len(l.Detail))), l.Detail...)
		return
	}
	b := leafBlock{l.Scope, l.Digest}
	if n, fresh := number(r.blocks, b); !fresh {
		r.uv(colBlocks, uint64(len(r.blocks))-n)
	} else {
		r.uv(colBlocks, 0)
		r.col[colDigests] = append(r.col[colDigests], l.Digest[:]...)
		if n, fresh := number(r.scopes, l.Scope); !fresh {
			r.uv(colBlockScopes, uint64(len(r.scopes))-n)
		} else {
			r.uv(colBlockScopes, 0)
			r.col[colScopes] = append(r.col[colScopes], l.Scope[:]...)
		}
	}
	r.uv(colSlots, uint64(l.Slot))
	r.col[colIDs] = append(r.col[colIDs], l.ID[:]...)
	r.col[colCommitments] = append(r.col[colCommitments], l.Commitment[:]...)
}

// follow puts a leaf into the run that it continues, or into the next one.
func (r *leafRows) follow(l *record.Leaf) {
	n, fresh := number(r.streams, l.Stream)
	if fresh {
		r.col[colStreams] = append(r.col[colStreams], l.Stream[:]...)
	}
	r.count++
	if r.run.n > 0 && r.run.stream == n && r.run.seq+r.run.n == l.Seq {
		r.run.n++
		return
	}
	r.endRun()
	r.run.stream, r.run.seq, r.run.n = n, l.Seq, 1
}

func (r *leafRows) endRun() {
	if r.run.n > 0 {
		r.uv(colRuns, r.run.stream)
		r.uv(colRuns, r.run.seq)
		r.uv(colRuns, r.run.n)
		r.run.n = 0
	}
}

func (r *leafRows) text(s string) {
	n, fresh := number(r.texts, s)
	if fresh {
		r.col[colTexts] = append(append(r.col[colTexts], byte(len(s))), s...)
	}
	r.uv(colNumbers, n)
}

// append writes the columns. Nothing may be added afterwards.
func (r *leafRows) append(dst []byte) []byte {
	r.endRun()
	for _, c := range r.col {
		dst = append(binary.AppendUvarint(dst, uint64(len(c))), c...)
	}
	return dst
}

// size is about what append will write.
func (r *leafRows) size() (n int) {
	for _, c := range r.col {
		n += len(c)
	}
	return n
}

var errRows = errors.New("answer: it is not written as it must be")

// rowReader reads leaves from columns.
type rowReader struct {
	col     [columns]cursor
	last    int64
	run     struct{ seq, n uint64 }
	stream  [16]byte
	streams [][16]byte
	texts   []string
	scopes  [][16]byte
	blocks  []leafBlock
}

// eachLeaf reads count leaves from columns, and refuses what [leafRows] would have written otherwise. The leaf and its data belong to the
// caller until the next one.
func eachLeaf(raw []byte, count uint64, visit func(i uint64, l *record.Leaf, leafdata []byte)) error {
	c := cursor{b: raw}
	r := rowReader{}
	for i := range r.col {
		r.col[i].b = c.bv()
	}
	if c.broken || len(c.b) > 0 || count != uint64(len(r.col[colTypes].b)) {
		return errRows
	}
	for s := &r.col[colStreams]; len(s.b) > 0; {
		r.streams = append(r.streams, [16]byte(s.bytes(16)))
	}
	again := newLeafRows()
	var data []byte
	for i := range count {
		var l record.Leaf
		if !r.next(&l) {
			return errRows
		}
		data = l.Append(data[:0])
		if err := l.Check(); err != nil {
			return err
		}
		if len(data) > record.MaxLeaf {
			return errRows
		}
		again.add(&l)
		visit(i, &l, data)
	}
	if !bytes.Equal(again.append(nil), raw) {
		return errRows
	}
	return nil
}

// next reads a leaf. It reports whether there was one.
func (r *rowReader) next(l *record.Leaf) bool {
	if r.run.n == 0 {
		c := &r.col[colRuns]
		n := c.uv()
		r.run.seq, r.run.n = c.uv(), c.uv()
		if n >= uint64(len(r.streams)) || r.run.n == 0 {
			return false
		}
		r.stream = r.streams[n]
	}
	l.Stream, l.Seq = r.stream, r.run.seq
	r.run.seq, r.run.n = r.run.seq+1, r.run.n-1
	l.Type, l.Kind, l.Flags = record.Type(r.col[colTypes].u8()), r.col[colKinds].u8(), r.col[colFlags].u8()
	z := r.col[colTimes].uv()
	r.last += int64(z>>1) ^ -int64(z&1)
	l.Time = r.last
	copy(l.Buckets[:], r.col[colBuckets].bytes(4))
	l.Class = r.text()
	for i := range l.Clear {
		l.Clear[i] = r.text()
	}
	if l.Type != record.Plain && l.Type != record.Piece {
		d := &r.col[colDetails]
		l.Detail = d.bytes(uint64(d.u16()))
	} else if !r.body(l) {
		return false
	}
	for i := range r.col {
		if r.col[i].broken {
			return false
		}
	}
	return true
}

// body reads what a leaf has that stands for a record.
func (r *rowReader) body(l *record.Leaf) bool {
	back := r.col[colBlocks].uv()
	if back == 0 {
		scope := [16]byte{}
		switch n := r.col[colBlockScopes].uv(); {
		case n == 0:
			scope = [16]byte(r.col[colScopes].bytes(16))
			r.scopes = append(r.scopes, scope)
		case n > uint64(len(r.scopes)):
			return false
		default:
			scope = r.scopes[uint64(len(r.scopes))-n]
		}
		r.blocks = append(r.blocks, leafBlock{scope, [32]byte(r.col[colDigests].bytes(32))})
		back = 1
	}
	if back > uint64(len(r.blocks)) {
		return false
	}
	b := r.blocks[uint64(len(r.blocks))-back]
	slot := r.col[colSlots].uv()
	l.Scope, l.Digest, l.Slot = b.scope, b.digest, uint16(slot)
	l.ID, l.Commitment = [16]byte(r.col[colIDs].bytes(16)), [32]byte(r.col[colCommitments].bytes(uint64(len(merkle.Hash{}))))
	return slot <= 1<<16-1
}

func (r *rowReader) text() string {
	n := r.col[colNumbers].uv()
	t := &r.col[colTexts]
	if n > uint64(len(r.texts)) || n == uint64(len(r.texts)) && len(t.b) == 0 {
		r.col[colNumbers].broken = true
		return ""
	}
	if n == uint64(len(r.texts)) { // in the order of first use; no more are kept than rows need
		r.texts = append(r.texts, string(t.bytes(uint64(t.u8()))))
	}
	return r.texts[n]
}
