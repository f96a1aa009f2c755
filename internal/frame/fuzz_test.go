package frame

import (
	"bytes"
	"crypto/ed25519"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stelelog/stele/internal/record"
)

var fuzzKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// drafts are frames of all that a frame can hold.
func drafts() []*Draft {
	scope := [16]byte{7}
	entry := (&ScopeEntry{ID: scope, Start: 5, Class: "state"}).Append(nil)
	encap := (&EncapEntry{Day: 1, Year: 2026, Enc: make([]byte, EncapLen)}).Append(nil)
	plain := func(block int, slot uint16) Row {
		l := record.Leaf{Type: record.Plain, Kind: 1, Class: "state", Scope: scope, Slot: slot, Clear: record.Clear{"chat", "", "m-1"}}
		return Row{l, block}
	}
	own := func(kind record.Type, detail string) Row {
		return Row{record.Leaf{Type: kind, Class: "default", Detail: []byte(detail)}, -1}
	}
	return []*Draft{
		{Rows: []Row{own(record.Open, "certificate")}},
		{First: 1, Entries: [][]byte{entry, encap}, Blocks: [][]byte{[]byte("sealed"), []byte("sealed, too")},
			Rows: []Row{plain(0, 0), own(record.Loss, ""), plain(1, 0), plain(0, 1), own(record.Close, "bye")}},
		{First: 9, Blocks: [][]byte{{}}, Rows: []Row{plain(0, 0)}},
	}
}

// redraft makes the draft of a decoded frame.
func redraft(f *Frame) *Draft {
	d := &Draft{Archive: f.Archive, Partition: f.Partition, Stream: f.Stream, First: f.First, Prev: f.Prev, Entries: f.EntryList}
	for i := range f.Blocks {
		d.Blocks = append(d.Blocks, f.Blocks[i].Data)
	}
	for i := range int(f.Count) {
		r := Row{Block: f.BlockOf(i)}
		f.Leaf(i, &r.Leaf)
		d.Rows = append(d.Rows, r)
	}
	return d
}

// A frame that can be read can be used without harm, and what it says can be framed again. If its roots are right, the
// new frame has the same head.
func FuzzDecode(f *testing.F) {
	for _, d := range drafts() {
		raw, _, err := d.Encode(nil, fuzzKey)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	var used Frame // has the traces of all frames before
	f.Fuzz(func(t *testing.T, raw []byte) { checkDecode(t, raw, &used) })
}

// FuzzSections gives the decoder frames whose lengths are right, and sets the roots that belong to the rows.
func FuzzSections(f *testing.F) {
	for _, d := range drafts() {
		raw, _, err := d.Encode(nil, fuzzKey)
		if err != nil {
			f.Fatal(err)
		}
		var s [5][]byte
		at := SignedLen + sectionsLen
		for i := range s {
			n := int(le.Uint32(raw[SignedLen+4*i:]))
			s[i] = raw[at : at+n]
			at += n
		}
		f.Add(uint16(len(d.Rows)), d.First, s[0], s[1], s[2], s[3], s[4])
	}
	var used Frame
	f.Fuzz(func(t *testing.T, count uint16, first uint64, table, entries, rows, details, blocks []byte) {
		h := Header{Count: uint32(count), First: first}
		body := make([]byte, ed25519.SignatureSize)
		for _, s := range [][]byte{table, entries, rows, details, blocks} {
			body = le.AppendUint32(body, uint32(len(s)))
		}
		body = bytes.Join([][]byte{body, table, entries, rows, details, blocks}, nil)
		var shaped Frame
		if shaped.Decode(append(h.append(nil), body...)) == nil {
			if anew, _, err := redraft(&shaped).Encode(nil, fuzzKey); err == nil {
				var again Frame
				if err := again.Decode(anew); err != nil {
					t.Fatalf("what was framed cannot be read: %v", err)
				}
				h.Leaves, h.Entries = again.Leaves, again.Entries
			}
		}
		checkDecode(t, append(h.append(nil), body...), &used)
	})
}

func checkDecode(t *testing.T, raw []byte, used *Frame) {
	t.Helper()
	var fresh Frame
	err := fresh.Decode(raw)
	if again := used.Decode(raw); (again == nil) != (err == nil) {
		t.Fatalf("a frame that was used says %v, a fresh one %v", again, err)
	}
	if err != nil {
		return
	}
	_, rooted := fresh.LeafHashes()
	_, again := used.LeafHashes()
	if (again == nil) != (rooted == nil) {
		t.Fatalf("a frame that was used says %v, a fresh one %v", again, rooted)
	}
	_, _ = fresh.Encaps()
	var a, b record.Leaf
	for i := range int(fresh.Count) {
		fresh.Leaf(i, &a)
		used.Leaf(i, &b)
		// Digests are there once all rows have been looked at.
		if rooted == nil && !reflect.DeepEqual(a, b) || !bytes.Equal(fresh.Detail(i), used.Detail(i)) {
			t.Fatalf("row %d is %+v in a fresh frame, %+v in one that was used", i, a, b)
		}
	}
	if rooted != nil {
		return
	}
	anew, head, err := redraft(&fresh).Encode(nil, fuzzKey)
	if err != nil {
		t.Fatalf("what was read cannot be framed: %v", err)
	}
	if head != Head(raw) {
		t.Fatalf("the head is %x, was %x", head, Head(raw))
	}
	if err := used.Decode(anew); err != nil {
		t.Fatalf("what was framed cannot be read: %v", err)
	}
}

// The samples of the fuzz test are what it is about: whole frames with right roots and signatures.
func TestFramesComeBack(t *testing.T) {
	for i, d := range drafts() {
		raw, head, err := d.Encode(nil, fuzzKey)
		if err != nil {
			t.Fatal(err)
		}
		var f Frame
		if err := f.Decode(raw); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		if _, err := f.LeafHashes(); err != nil || head != Head(raw) || !Verify(raw, fuzzKey.Public().(ed25519.PublicKey)) {
			t.Errorf("frame %d: %v, head %x, want %x", i, err, Head(raw), head)
		}
		again, _, err := redraft(&f).Encode(nil, fuzzKey)
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("frame %d comes back in other bytes, %v", i, err)
		}
		for n := range raw { // cut anywhere
			if err := f.Decode(raw[:n]); err == nil {
				t.Errorf("frame %d: the first %d of %d bytes are a frame", i, n, len(raw))
			}
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	for _, d := range drafts() {
		for _, e := range d.Entries {
			f.Add(e)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		scope, encap, err := ParseEntry(raw)
		switch {
		case err != nil:
		case (scope == nil) == (encap == nil):
			t.Fatal("not one of the two")
		case scope != nil && !bytes.Equal(scope.Append(nil), raw), encap != nil && !bytes.Equal(encap.Append(nil), raw):
			t.Fatalf("%x has another spelling", raw)
		}
	})
}

func FuzzParseBeat(f *testing.F) {
	beat, public := Beat{Stream: [16]byte{1}, Partition: 2, Seq: 3, Time: -4}, fuzzKey.Public().(ed25519.PublicKey)
	f.Add(beat.Append(nil, fuzzKey))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = slices.Clip(raw) // nobody looks behind the end
		b, err := ParseBeat(raw)
		if signed := VerifyBeat(raw, public); signed && (err != nil || !bytes.Equal(b.Append(nil, fuzzKey), raw)) {
			t.Fatalf("%x is signed and has another spelling, or none: %v", raw, err)
		}
		if Verify(raw, public) {
			t.Fatalf("%x passes for a frame", raw)
		}
	})
}

// The longest string and the longest entries that their lengths can say.
func TestLongest(t *testing.T) {
	row := Row{record.Leaf{Type: record.Open, Class: "default", Clear: record.Clear{strings.Repeat("s", 255)}}, -1}
	for _, size := range []int{65533, 65534, 65535} {
		d := &Draft{Rows: []Row{row}, Entries: [][]byte{make([]byte, size)}}
		raw, _, err := d.Encode(nil, fuzzKey)
		if err != nil {
			t.Fatal(err)
		}
		var f Frame
		if err := f.Decode(raw); err != nil || len(f.Strings) != 3 || len(f.Strings[2]) != 255 || len(f.EntryList[0]) != size {
			t.Errorf("entry of %d bytes: %v", size, err)
		}
	}
}
