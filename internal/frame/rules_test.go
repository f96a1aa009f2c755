package frame

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

// parts are a frame taken apart.
type parts struct {
	*Frame // what was decoded: its columns lie in rows
	head   []byte
	// strings, entries, rows, details, blocks
	s [5][]byte
}

const (
	table = iota
	entries
	rows
	details
	blocks
)

// sample has two scopes, three blocks, strings 1 state, 2 chat, 3 m-1, 4 default, and these rows: 0 and 3 of block 0,
// 1 a loss, 2 of block 1, 4 a piece in block 2 of the other scope, 5 a close.
func sample(first uint64) *Draft {
	d := drafts()[1]
	d.Archive, d.Partition, d.Stream, d.First, d.Prev = [16]byte{5, 9}, 6, [16]byte{7, 9}, first, merkle.Hash{8, 9}
	d.Blocks = append(d.Blocks, []byte("a piece"))
	d.Rows = slices.Insert(d.Rows, 4, Row{record.Leaf{Type: record.Piece, Kind: 2, Class: "default", Scope: [16]byte{8}}, 2})
	if first == 0 {
		d.Rows[0], d.Rows[1] = d.Rows[1], d.Rows[0]
		d.Rows[0].Type = record.Open
	}
	return d
}

func apart(t *testing.T, d *Draft) *parts {
	t.Helper()
	raw, _, err := d.Encode(nil, fuzzKey)
	if err != nil {
		t.Fatal(err)
	}
	p := &parts{Frame: new(Frame)}
	if err := p.Decode(raw); err != nil {
		t.Fatal(err)
	}
	p.head = raw[:SignedLen]
	at := SignedLen + sectionsLen
	for i := range p.s {
		n := int(le.Uint32(raw[SignedLen+4*i:]))
		p.s[i] = raw[at : at+n : at+n]
		at += n
	}
	return p
}

func (p *parts) joined() []byte {
	raw := slices.Clone(p.head)
	for _, s := range p.s {
		raw = le.AppendUint32(raw, uint32(len(s)))
	}
	return bytes.Join(append([][]byte{raw}, p.s[:]...), nil)
}

// breach is a change of a frame, and what is said against it: nothing if it is still a frame.
type breach struct {
	name   string
	change func(p *parts)
	says   string
}

func try(t *testing.T, d func() *Draft, breaches []breach) {
	t.Helper()
	for _, x := range append(breaches, breach{"as it is", func(*parts) {}, ""}) {
		t.Run(x.name, func(t *testing.T) {
			p := apart(t, d())
			x.change(p)
			decodes(t, p.joined(), x.says)
		})
	}
}

func decodes(t *testing.T, raw []byte, says string) {
	t.Helper()
	var f Frame
	err := f.Decode(raw)
	switch {
	case says == "" && err != nil:
		t.Errorf("refused: %v", err)
	case says != "" && err == nil:
		t.Error("accepted")
	case says != "" && !strings.Contains(err.Error(), says):
		t.Errorf("refused for another reason: %v", err)
	}
}

// TestHeaderRules: what is refused in the signed part, and in the lengths behind it.
func TestHeaderRules(t *testing.T) {
	set := func(at int, b byte) func(*parts) { return func(p *parts) { p.head[at] = b } }
	count := func(n uint32) func(*parts) { return func(p *parts) { le.PutUint32(p.head[28:], n) } }
	first := func(n uint64) func(*parts) { return func(p *parts) { le.PutUint64(p.head[48:], n) } }
	try(t, func() *Draft { return sample(1) }, []breach{
		{"another magic", set(3, 'B'), "byte 0: this is no frame"},
		{"version 0", set(4, 0), "frame version 0 is not known"},
		{"version 2", set(4, 2), "frame version 2 is not known"},
		{"reserved 5", set(5, 1), "byte 5: reserved"},
		{"reserved 6", set(6, 1), "byte 5: reserved"},
		{"reserved 7", set(7, 1), "byte 5: reserved"},
		{"no leaves", count(0), "0 leaves, not 1 to 65535"},
		{"too many leaves", count(65536), "65536 leaves, not 1 to 65535"},
		{"as many as can be, and they are not there", count(65535), "rows of "},
		{"a leaf less", count(5), "rows of "},
		{"the last seqs", first(record.None - maxCount), ""},
		{"behind the last seqs", first(record.None - maxCount + 1), "byte 48: seq"},
	})
	raw := apart(t, sample(1)).joined()
	decodes(t, raw[:headerLen-1], "byte 151: ends inside the header")
	decodes(t, raw[:headerLen], "byte 152: ends before its sections")
	decodes(t, raw[:SignedLen+sectionsLen-1], "byte 235: ends before its sections")
	decodes(t, raw[:SignedLen+sectionsLen], "section 0 is longer than the frame")
	decodes(t, raw[:len(raw)-1], "section 4 is longer than the frame")
	decodes(t, append(slices.Clone(raw), 0), "bytes after the last section")
	empty := append(slices.Clone(raw[:SignedLen]), make([]byte, sectionsLen)...)
	decodes(t, empty, "no string table")

	d := sample(1)
	d.Blocks[0] = make([]byte, MaxLen-len(raw)+len(d.Blocks[0]))
	if p := apart(t, d); len(p.Raw) != MaxLen {
		t.Fatalf("%d bytes: not what this tests", len(p.Raw))
	} else {
		p.s[blocks] = append(p.s[blocks], 0)
		decodes(t, p.joined(), "a frame has at most 524288 bytes, this one 524289")
	}
}

// TestSectionRules: what is refused in strings, entries, details and blocks, and in the tables before the rows.
func TestSectionRules(t *testing.T) {
	section := func(i int, b ...byte) func(*parts) { return func(p *parts) { p.s[i] = b } }
	more := func(i int) func(*parts) { return func(p *parts) { p.s[i] = append(p.s[i], 0) } }
	less := func(i int) func(*parts) { return func(p *parts) { p.s[i] = p.s[i][:len(p.s[i])-1] } }
	from := func(at int) func(*parts) { return func(p *parts) { p.s[rows] = p.s[rows][:at] } }
	const tables = 2 + 2*16 + 2 + 3*8
	try(t, func() *Draft { return sample(1) }, []breach{
		{"no strings", section(table), "no string table"},
		{"a byte of strings less", less(table), "the string table ends early"},
		{"a byte of strings more", more(table), "bytes after the string table"},
		{"a string is missing", func(p *parts) { p.s[table][0]++ }, "the string table ends early"},
		{"a string too many", func(p *parts) { p.s[table][0]-- }, "bytes after the string table"},
		{"no entries", section(entries), "no table of entries"},
		{"half a number of entries", section(entries, 0), "no table of entries"},
		{"no entries, and so it says", section(entries, 0, 0), ""},
		{"a byte of entries less", less(entries), "the entries end early"},
		{"a byte of entries more", more(entries), "bytes after the entries"},
		{"an entry is missing", func(p *parts) { p.s[entries][0]++ }, "the entries end early"},
		{"an entry too many", func(p *parts) { p.s[entries][0]-- }, "bytes after the entries"},
		{"half a length of an entry", section(entries, 1, 0, 0), "the entries end early"},
		{"an entry of nothing", section(entries, 1, 0, 0, 0), ""}, // its shape is looked at with what it means

		{"no rows", from(0), "the scopes end early"},
		{"half a number of scopes", from(1), "the scopes end early"},
		{"half of the scopes", from(2 + 16), "the scopes end early"},
		{"scopes, and half a number of blocks", from(2 + 32 + 1), "the scopes end early"},
		{"scopes, and a number of blocks", from(2 + 32 + 2), "rows of 2 bytes, not 494"},
		{"no columns", from(tables), "rows of 26 bytes, not 494"},
		{"a byte of rows less", less(rows), "rows of 493 bytes, not 494"},
		{"a byte of rows more", more(rows), "rows of 495 bytes, not 494"},
		{"a scope too many", func(p *parts) { p.s[rows][0]++ }, "rows of "},
		{"a block is missing", func(p *parts) { p.s[rows][2+32]++ }, "rows of "},

		{"no blocks", section(blocks), "block 0 is longer than the frame"},
		{"a byte of blocks less", less(blocks), "block 2 is longer than the frame"},
		{"a byte of blocks more", more(blocks), "bytes after the blocks"},
		{"a block of another length", func(p *parts) { p.s[rows][2+32+2]++ }, "block 2 is longer than the frame"},
		{"a byte of details less", less(details), "details of 2 bytes, not 3"},
		{"a byte of details more", more(details), "details of 4 bytes, not 3"},
		{"a longer detail", func(p *parts) { p.Columns.DetailLen[2]++ }, "details of 3 bytes, not 4"},
		{"details of other rows", func(p *parts) { p.Columns.DetailLen[10]--; p.Columns.DetailLen[0]++ }, ""},
	})
}

// TestRowRules: what is refused in a row.
func TestRowRules(t *testing.T) {
	block := func(i int) int { return 2 + 2*16 + 2 + 8*i } // in rows
	none := []byte{0xff, 0xff}
	slot := func(i, of int) string {
		return "not slot " + string(rune('0'+i)) + " of block " + string(rune('0'+of))
	}
	try(t, func() *Draft { return sample(1) }, []breach{
		{"the empty class", func(p *parts) { p.Columns.Class[1] = 0 }, "row 1: no class"},
		{"a class of no string", func(p *parts) { p.Columns.Class[1] = 5 }, "row 1: no class"},
		{"the last string as class", func(p *parts) { p.Columns.Class[1] = 4 }, ""},
		{"an operation of no string", func(p *parts) { p.Columns.Clear[0][1] = 5 }, "row 1: no string 5"},
		{"a release of no string", func(p *parts) { p.Columns.Clear[5][5] = 9 }, "row 5: no string 9"},
		{"the last string as release", func(p *parts) { p.Columns.Clear[5][5] = 4 }, ""},
		{"open in the middle of a stream", func(p *parts) { p.Columns.Type[1] = byte(record.Open) }, "row 1: open must be the first leaf"},

		{"a loss of a scope", func(p *parts) { p.Columns.Scope[2], p.Columns.Scope[3] = 0, 0 }, "row 1: a leaf of type loss has no block"},
		{"a loss in a block", func(p *parts) { p.Columns.Block[2], p.Columns.Block[3] = 0, 0 }, "row 1: a leaf of type loss has no block"},
		{"a record of no scope", func(p *parts) { copy(p.Columns.Scope, none) }, "row 0: block or scope out of range"},
		{"a record in no block", func(p *parts) { copy(p.Columns.Block, none) }, "row 0: block or scope out of range"},
		{"a block behind the last", func(p *parts) { p.Columns.Block[8] = 3 }, "row 4: block or scope out of range"},
		{"a scope behind the last", func(p *parts) { p.Columns.Scope[8], p.s[rows][block(2)+6] = 2, 2 }, "row 4: block or scope out of range"},

		{"a piece in no block", func(p *parts) { copy(p.Columns.Block[8:], none); copy(p.Columns.Scope[8:], none) }, "row 4: block or scope out of range"},
		{"a piece that is a record", func(p *parts) { p.Columns.Type[4] = byte(record.Plain) }, ""},
		{"of another scope than its block", func(p *parts) { p.Columns.Scope[0] = 1 }, "row 0: " + slot(0, 0)},
		{"the second of another scope", func(p *parts) { p.Columns.Scope[6] = 1 }, "row 3: " + slot(1, 0)},
		{"a block of another scope", func(p *parts) { p.s[rows][block(0)+6] = 1 }, "row 0: " + slot(0, 0)},
		{"a block and its rows of another scope", func(p *parts) {
			p.s[rows][block(0)+6], p.Columns.Scope[0], p.Columns.Scope[6] = 1, 1, 1
		}, ""},
		{"the second of another class", func(p *parts) { p.Columns.Class[3] = 4 }, "row 3: " + slot(1, 0)},
		{"both of another class", func(p *parts) { p.Columns.Class[0], p.Columns.Class[3] = 4, 4 }, ""},
		{"a slot left out", func(p *parts) { p.Columns.Slot[6] = 2 }, "row 3: " + slot(1, 0)},
		{"a slot twice", func(p *parts) { p.Columns.Slot[6] = 0 }, "row 3: " + slot(1, 0)},
		{"no slot 0", func(p *parts) { p.Columns.Slot[0] = 1 }, "row 0: " + slot(0, 0)},
		{"a block that begins elsewhere", func(p *parts) { p.s[rows][block(1)+4]++ }, "row 2: " + slot(0, 1)},
		{"a block of no rows", func(p *parts) { p.Columns.Block[4], p.Columns.Slot[4], p.Columns.Slot[6] = 0, 1, 2 }, "block 1 has no rows"},
	})
	try(t, func() *Draft { return sample(0) }, []breach{
		{"a stream that is not opened", func(p *parts) { p.Columns.Type[0] = byte(record.Loss) }, "row 0: open must be the first leaf"},
		{"open twice", func(p *parts) { p.Columns.Type[5] = byte(record.Open) }, "row 5: open must be the first leaf"},
		{"open in its second frame", func(p *parts) { p.head[48] = 6 }, "row 0: open must be the first leaf"},
	})
}

// TestRootRules: what is behind the signature is what was signed, and leaves are leaves.
func TestRootRules(t *testing.T) {
	var f Frame // a frame that was refused leaves nothing behind
	for _, x := range []struct {
		name   string
		change func(d *Draft, p *parts)
		says   string
	}{
		{"as it is", func(*Draft, *parts) {}, ""},
		{"another kind", func(_ *Draft, p *parts) { p.Columns.Kind[0] = 2 }, "byte 88: the rows do not have the signed root"},
		{"another block", func(_ *Draft, p *parts) { p.s[blocks][0]++ }, "byte 88: the rows do not have the signed root"},
		{"another entry", func(_ *Draft, p *parts) { p.s[entries][5]++ }, "byte 120: the entries do not have the signed root"},
		{"no kind", func(_ *Draft, p *parts) { p.Columns.Kind[0] = 0 }, "row 0: record: no such kind 0"},
		{"a loss with an id", func(_ *Draft, p *parts) { p.Columns.ID[16] = 1 }, "row 1: record: "},
		{"the longest leaf", func(d *Draft, _ *parts) { long(d, record.MaxLeaf) }, ""},
		{"too long a leaf", func(d *Draft, _ *parts) { long(d, record.MaxLeaf+1) }, "row 1: leaf of 65536 bytes"},
	} {
		d := sample(1)
		x.change(d, apart(t, sample(1)))
		p := apart(t, d)
		x.change(sample(1), p)
		if err := f.Decode(p.joined()); err != nil {
			t.Fatalf("%s: %v", x.name, err)
		}
		_, err := f.LeafHashes()
		if (err == nil) != (x.says == "") || err != nil && !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v", x.name, err)
		}
		if err := f.Decode(apart(t, sample(1)).joined()); err != nil {
			t.Fatal(err)
		}
		if _, err := f.LeafHashes(); err != nil {
			t.Errorf("after %s: %v", x.name, err)
		}
	}
}

// long makes the leafdata of row 1 that long.
func long(d *Draft, n int) {
	l := &d.Rows[1].Leaf
	l.Detail = nil
	l.Detail = make([]byte, n-len(l.Append(nil)))
}

// TestHashes: the leaf hashes are those of the leaves, however many there are, and those of the entries too.
func TestHashes(t *testing.T) {
	var used Frame
	for _, n := range []int{1, 63, 64, 65, 128, 200} {
		d := drafts()[0]
		for i := range n - 1 {
			d.Rows = append(d.Rows, Row{record.Leaf{Type: record.Loss, Class: "default", Detail: make([]byte, i)}, -1})
		}
		for i := range n {
			d.Entries = append(d.Entries, bytes.Repeat([]byte{byte(i)}, i))
		}
		raw, _, err := d.Encode(nil, fuzzKey)
		if err != nil {
			t.Fatal(err)
		}
		if err := used.Decode(raw); err != nil {
			t.Fatal(err)
		}
		hashes, err := used.LeafHashes()
		if err != nil || len(hashes) != n {
			t.Fatalf("%d leaves have %d hashes: %v", n, len(hashes), err)
		}
		ents := make([]merkle.Hash, n)
		for i := range hashes {
			var l record.Leaf
			used.Leaf(i, &l)
			if hashes[i] != merkle.LeafHash(l.Append(nil)) {
				t.Errorf("the hash of leaf %d of %d is not its own", i, n)
			}
			ents[i] = merkle.LeafHash(d.Entries[i])
		}
		if used.Entries != merkle.Root(ents) {
			t.Errorf("%d entries have another root", n)
		}
	}
}
