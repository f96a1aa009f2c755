package frame

import (
	"github.com/stelelog/stele/internal/record"
)

// Decode reads a frame and checks its shape; it checks neither signature nor roots (Verify, LeafHashes).
// It may be called again on the same Frame, which then reuses its memory. raw is shared, not copied.
func (f *Frame) Decode(raw []byte) error {
	h, err := ParseHeader(raw)
	if err != nil {
		return err
	}
	if len(raw) > MaxLen {
		return bad(MaxLen, "a frame has at most %d bytes, this one %d", MaxLen, len(raw))
	}
	if len(raw) < SignedLen+sectionsLen {
		return bad(len(raw), "ends before its sections")
	}
	f.Header, f.Raw = h, raw
	var section [5][]byte
	at := uint64(SignedLen + sectionsLen)
	for i := range section {
		n := uint64(le.Uint32(raw[SignedLen+4*i:]))
		if at+n > uint64(len(raw)) {
			return bad(SignedLen+4*i, "section %d is longer than the frame", i)
		}
		section[i] = raw[at : at+n]
		at += n
	}
	if at != uint64(len(raw)) {
		return bad(int(at), "bytes after the last section")
	}
	if err := f.readStrings(section[0]); err != nil {
		return err
	}
	if err := f.readEntries(section[1]); err != nil {
		return err
	}
	if err := f.readRows(section[2], section[4]); err != nil {
		return err
	}
	return f.readDetails(section[3])
}

func (f *Frame) readStrings(b []byte) error {
	f.Strings = append(f.Strings[:0], "")
	if len(b) == 0 {
		return bad(SignedLen, "no string table")
	}
	n := int(b[0])
	b = b[1:]
	for range n {
		if len(b) < 1 || len(b) < 1+int(b[0]) {
			return bad(SignedLen, "the string table ends early")
		}
		end := 1 + int(b[0])
		f.Strings = append(f.Strings, string(b[1:end]))
		b = b[end:]
	}
	if len(b) != 0 {
		return bad(SignedLen, "bytes after the string table")
	}
	return nil
}

func (f *Frame) readEntries(b []byte) error {
	if len(b) < 2 {
		return bad(SignedLen, "no table of entries")
	}
	n := int(le.Uint16(b))
	f.EntryBytes, f.EntryList = b[2:], f.EntryList[:0]
	b = b[2:]
	for range n {
		if len(b) < 2 || len(b) < 2+int(le.Uint16(b)) {
			return bad(SignedLen, "the entries end early")
		}
		end := 2 + int(le.Uint16(b))
		f.EntryList = append(f.EntryList, b[2:end])
		b = b[end:]
	}
	if len(b) != 0 {
		return bad(SignedLen, "bytes after the entries")
	}
	return nil
}

func (f *Frame) readRows(b, blocks []byte) error {
	if len(b) < 2 || len(b) < 4+16*int(le.Uint16(b)) {
		return bad(SignedLen, "the scopes end early")
	}
	f.Scopes = f.Scopes[:0]
	ns := int(le.Uint16(b))
	for i := range ns {
		f.Scopes = append(f.Scopes, [16]byte(b[2+16*i:]))
	}
	b = b[2+16*ns:]
	nb := int(le.Uint16(b))
	n := int(f.Count)
	if len(b) != 2+8*nb+rowLen*n {
		return bad(SignedLen, "rows of %d bytes, not %d", len(b), 2+8*nb+rowLen*n)
	}
	f.Blocks = f.Blocks[:0]
	for i := range nb {
		d := b[2+8*i:]
		size := uint64(le.Uint32(d))
		if size > uint64(len(blocks)) {
			return bad(SignedLen, "block %d is longer than the frame", i)
		}
		f.Blocks = append(f.Blocks, Block{Data: blocks[:size], First: int(le.Uint16(d[4:])), Scope: int(le.Uint16(d[6:]))})
		blocks = blocks[size:]
	}
	if len(blocks) != 0 {
		return bad(SignedLen, "bytes after the blocks")
	}
	f.slice(b[2+8*nb:], n)
	return f.checkRows(n)
}

// slice cuts the columns.
func (f *Frame) slice(b []byte, n int) {
	c := &f.Columns
	take := func(w int) []byte {
		col := b[: w*n : w*n]
		b = b[w*n:]
		return col
	}
	c.Type, c.Kind, c.Flags, c.Class = take(1), take(1), take(1), take(1)
	c.Scope, c.ID, c.Time = take(2), take(16), take(8)
	c.Block, c.Slot, c.Commitment = take(2), take(2), take(32)
	for i := range c.Buckets {
		c.Buckets[i] = take(1)
	}
	for i := range c.Clear {
		c.Clear[i] = take(1)
	}
	c.DetailLen = take(2)
}

// checkRows checks that numbers are in range and that the rows of each block are slots 0, 1, 2 … of one scope and class.
func (f *Frame) checkRows(n int) error {
	c, strings := &f.Columns, len(f.Strings)
	var counts [64]uint16
	next := counts[:0]
	for range f.Blocks {
		next = append(next, 0)
	}
	for i := range n {
		if int(c.Class[i]) >= strings || len(f.Strings[c.Class[i]]) == 0 {
			return bad(SignedLen, "row %d: no class", i)
		}
		for k := range c.Clear {
			if int(c.Clear[k][i]) >= strings {
				return bad(SignedLen, "row %d: no string %d", i, c.Clear[k][i])
			}
		}
		t := record.Type(c.Type[i])
		if t == record.Open && (f.First != 0 || i != 0) || f.First == 0 && i == 0 && t != record.Open {
			return bad(SignedLen, "row %d: open must be the first leaf of a stream, and only that", i)
		}
		s, b, slot := int(le.Uint16(c.Scope[2*i:])), int(le.Uint16(c.Block[2*i:])), le.Uint16(c.Slot[2*i:])
		if t != record.Plain && t != record.Piece {
			if s != noNumber || b != noNumber {
				return bad(SignedLen, "row %d: a leaf of type %v has no block", i, t)
			}
			continue
		}
		if b >= len(f.Blocks) || s >= len(f.Scopes) {
			return bad(SignedLen, "row %d: block or scope out of range", i)
		}
		block := &f.Blocks[b]
		class := f.Strings[c.Class[i]]
		if slot == 0 {
			block.Class = class
		}
		if slot != next[b] || s != block.Scope || class != block.Class || slot == 0 && i != block.First {
			return bad(SignedLen, "row %d: not slot %d of block %d", i, next[b], b)
		}
		next[b]++
	}
	for b, k := range next {
		if k == 0 {
			return bad(SignedLen, "block %d has no rows", b)
		}
	}
	return nil
}

func (f *Frame) readDetails(b []byte) error {
	f.details, f.detailEnd = b, f.detailEnd[:0]
	sum := uint32(0)
	for i := range int(f.Count) {
		sum += uint32(le.Uint16(f.Columns.DetailLen[2*i:]))
		f.detailEnd = append(f.detailEnd, sum)
	}
	if int(sum) != len(b) {
		return bad(SignedLen, "details of %d bytes, not %d", len(b), sum)
	}
	return nil
}
