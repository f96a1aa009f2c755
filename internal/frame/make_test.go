package frame

import (
	"bytes"
	"crypto/ed25519"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

// TestDraftRules: what cannot be framed is refused before it is signed.
func TestDraftRules(t *testing.T) {
	named := func(n int) []Row { // n strings in all
		var rows []Row
		for i := range n - 1 {
			rows = append(rows, Row{record.Leaf{Type: record.Loss, Class: "default", Clear: record.Clear{4: "m-" + strconv.Itoa(i)}}, -1})
		}
		return rows
	}
	one := named(2)
	sized := func(n int) *Draft {
		d := &Draft{First: 9, Blocks: [][]byte{{}}, Rows: drafts()[2].Rows}
		raw, _, _ := d.Encode(nil, fuzzKey)
		d.Blocks[0] = make([]byte, n-len(raw))
		return d
	}
	for _, x := range []struct {
		name string
		d    *Draft
		says string
	}{
		{"no rows", &Draft{First: 1}, "0 leaves, not 1 to 65535"},
		{"too many rows", &Draft{First: 1, Rows: slices.Repeat(one, maxCount+1)}, "65536 leaves, not 1 to 65535"},
		{"many rows", &Draft{First: 1, Rows: slices.Repeat(one, maxCount)}, "a frame has at most"},
		{"a long string", &Draft{First: 1, Rows: []Row{{record.Leaf{Type: record.Loss, Class: "default", Clear: record.Clear{strings.Repeat("x", 255)}}, -1}}}, ""},
		{"too long a string", &Draft{First: 1, Rows: []Row{{record.Leaf{Type: record.Loss, Class: "default", Clear: record.Clear{strings.Repeat("x", 256)}}, -1}}}, "different strings"},
		{"too long a class", &Draft{First: 1, Rows: []Row{{record.Leaf{Type: record.Loss, Class: strings.Repeat("x", 256)}, -1}}}, "different strings"},
		{"255 strings", &Draft{First: 1, Rows: named(255)}, ""},
		{"256 strings", &Draft{First: 1, Rows: named(256)}, "more than 255 different strings"},
		{"256 strings, the last a class", &Draft{First: 1, Rows: append(named(255), Row{record.Leaf{Type: record.Loss, Class: "other"}, -1})}, "more than 255 different strings"},
		{"255 strings, the last again", &Draft{First: 1, Rows: append(named(255), one...)}, ""},
		{"the longest frame", sized(MaxLen), ""},
		{"too long a frame", sized(MaxLen + 1), "byte 524289: a frame has at most 524288 bytes"},
	} {
		t.Run(x.name, func(t *testing.T) {
			before := []byte("before")
			raw, _, err := x.d.Encode(before, fuzzKey)
			if (err == nil) != (x.says == "") || err != nil && !strings.Contains(err.Error(), x.says) {
				t.Fatalf("%v", err)
			}
			raw, found := bytes.CutPrefix(raw, before)
			if err != nil && len(raw) > 0 || !found {
				t.Fatalf("%d bytes are left", len(raw))
			}
			if err != nil {
				return
			}
			var f Frame
			if err := f.Decode(raw); err != nil {
				t.Fatal(err)
			}
			for i := range x.d.Rows {
				var l record.Leaf
				if f.Leaf(i, &l); l.Clear != x.d.Rows[i].Clear || l.Class != x.d.Rows[i].Class {
					t.Errorf("row %d comes back as %+v", i, l)
				}
			}
			if _, err := f.LeafHashes(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestReuse: a draft and a frame that were used before make of the next one what fresh ones do.
func TestReuse(t *testing.T) {
	var d Draft
	var used, fresh Frame
	for i, next := range []*Draft{drafts()[1], sample(1), drafts()[0], sample(0), drafts()[2], sample(1)} {
		want, head, err := next.Encode(nil, fuzzKey)
		if err != nil {
			t.Fatal(err)
		}
		d.Archive, d.Partition, d.Stream, d.First, d.Prev = next.Archive, next.Partition, next.Stream, next.First, next.Prev
		d.Entries, d.Rows, d.Blocks = next.Entries, next.Rows, next.Blocks
		raw, again, err := d.Encode(nil, fuzzKey)
		if err != nil || again != head || !bytes.Equal(raw, want) {
			t.Errorf("draft %d: %v", i, err)
		}
		if err := fresh.Decode(raw); err != nil {
			t.Fatal(err)
		}
		if err := used.Decode(raw); err != nil || !reflect.DeepEqual(used.Scopes, append(used.Scopes[:0:0], fresh.Scopes...)) {
			t.Errorf("frame %d: scopes %x: %v", i, used.Scopes, err)
		}
		scopes := map[[16]byte]bool{}
		for _, r := range next.Rows {
			if r.Block >= 0 {
				scopes[r.Scope] = true
			}
		}
		if len(used.Scopes) != len(scopes) || len(used.Blocks) != len(next.Blocks) || len(used.EntryList) != len(next.Entries) {
			t.Errorf("frame %d: %d scopes, %d blocks, %d entries", i, len(used.Scopes), len(used.Blocks), len(used.EntryList))
		}
		checkDecode(t, raw, &used)
	}
}

// TestDecoded: a decoded frame says what its draft did; one that was not decoded has no details.
func TestDecoded(t *testing.T) {
	if d := new(Frame).Detail(0); d != nil {
		t.Errorf("%q", d)
	}
	d := sample(1)
	for i := range d.Rows {
		l, n := &d.Rows[i].Leaf, byte(i+1)
		l.Time, l.Buckets = int64(-i), [4]uint8{n, n + 10, n + 20, n + 30}
		l.Clear = record.Clear{"a" + string(n), "b", "c" + string(n), "d", "e", "f" + string(n)}
		if l.Type == record.Plain {
			l.ID, l.Commitment, l.Flags = [16]byte{n, 15: n}, [32]byte{n, 31: n}, record.Withheld
		}
		if len(l.Detail) == 0 {
			l.Detail = nil
		}
	}
	p := apart(t, d)
	if _, err := p.LeafHashes(); err != nil {
		t.Fatal(err)
	}
	for i := range d.Rows {
		var l record.Leaf
		if p.Leaf(i, &l); !reflect.DeepEqual(l, d.Rows[i].Leaf) {
			t.Errorf("row %d is %+v, was %+v", i, l, d.Rows[i].Leaf)
		}
	}
	if h, err := ParseHeader(p.Raw); err != nil || h != p.Header || h.Next() != 7 {
		t.Errorf("%+v: %v", h, err)
	}
	p.Header.Leaves, p.Header.Entries = merkle.Hash{}, merkle.Hash{}
	if want := (Header{[16]byte{5, 9}, 6, 6, [16]byte{7, 9}, 1, merkle.Hash{8, 9}, merkle.Hash{}, merkle.Hash{}}); p.Header != want {
		t.Errorf("%+v, want %+v", p.Header, want)
	}
	for i, want := range []string{"", "", "", "", "", "bye"} {
		if d := p.Detail(i); string(d) != want {
			t.Errorf("row %d: %q", i, d)
		}
	}
	for i, want := range []int{0, -1, 1, 0, 2, -1} {
		if b := p.BlockOf(i); b != want {
			t.Errorf("row %d is of block %d", i, b)
		}
	}
}

// TestEntryRules: an entry is of a scope or an encapsulation, to the byte.
func TestEntryRules(t *testing.T) {
	h := func(n byte) merkle.Hash { return merkle.Hash{n, n} }
	scope := ScopeEntry{[16]byte{1, 9}, -5, h(2), h(3), h(4), h(5), h(6), "state"}
	short := scope
	short.Class = ""
	encap := EncapEntry{7, 2026, bytes.Repeat([]byte{8}, EncapLen)}
	s, e := scope.Append(nil), encap.Append(nil)
	kind := func(b []byte, k byte) []byte { return append([]byte{k}, b[1:]...) }
	for _, x := range []struct {
		name string
		b    []byte
		kind byte
	}{
		{"a scope", s, entryScope},
		{"a scope without a class", short.Append(nil), entryScope},
		{"an encapsulation", e, entryEncap},
		{"nothing", nil, 0},
		{"a kind only", []byte{entryScope}, 0},
		{"a scope, up to its class", s[:scopeFixed], 0},
		{"a scope cut short", s[:len(s)-1], 0},
		{"a scope and more", append(s[:len(s):len(s)], 0), 0},
		{"an encapsulation cut short", e[:len(e)-1], 0},
		{"an encapsulation and more", append(e[:len(e):len(e)], 0), 0},
		{"a scope that says it is an encapsulation", kind(s, entryEncap), 0},
		{"an encapsulation that says it is a scope", kind(e, entryScope), 0},
		{"another kind", kind(s, 3), 0},
		{"another kind of that length", kind(e, 0), 0},
	} {
		isScope, isEncap, err := ParseEntry(x.b)
		f := Frame{EntryList: [][]byte{e, x.b}}
		encaps, listed := f.Encaps()
		id, start, kcv, class, peeked := PeekScope(x.b)
		if (x.kind == 0) != (err != nil) || (x.kind == 0) != (listed != nil) || peeked != (x.kind == entryScope) {
			t.Errorf("%s: %v, in a frame %v, peeked %v", x.name, err, listed, peeked)
		}
		switch x.kind {
		case entryScope:
			want := scope
			want.Class = string(x.b[scopeFixed+1:])
			if *isScope != want || len(encaps) != 1 {
				t.Errorf("%s: %+v, %d encapsulations", x.name, isScope, len(encaps))
			}
			if id != want.ID || start != want.Start || kcv != want.KCV || string(class) != want.Class {
				t.Errorf("%s: peeked %x %d %x %q", x.name, id, start, kcv, class)
			}
		case entryEncap:
			if !reflect.DeepEqual(*isEncap, encap) || len(encaps) != 2 || !reflect.DeepEqual(encaps[1], encap) {
				t.Errorf("%s: %+v, in a frame %+v", x.name, isEncap, encaps)
			}
		default:
			if !strings.Contains(err.Error(), "neither a scope nor an encapsulation") {
				t.Errorf("%s: %v", x.name, err)
			}
		}
	}
}

// TestBeatRules: a beat comes back, and nothing else is one.
func TestBeatRules(t *testing.T) {
	beat := Beat{[16]byte{1, 9}, 2, [16]byte{3, 9}, 4, merkle.Hash{5, 9}, -6}
	raw, public := beat.Append([]byte("before"), fuzzKey), fuzzKey.Public().(ed25519.PublicKey)
	raw = raw[len("before"):]
	if have, err := ParseBeat(raw); err != nil || have != beat || !VerifyBeat(raw, public) {
		t.Errorf("%+v comes back as %+v: %v", beat, have, err)
	}
	for n, says := range map[int]string{0: "this is no beat", 3: "this is no beat", 4: "version", 5: "reserved", 6: "reserved", 7: "reserved"} {
		bad := bytes.Clone(raw)
		bad[n] ^= 1
		if _, err := ParseBeat(bad); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("byte %d: %v", n, err)
		}
	}
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 1
		if VerifyBeat(bad, public) {
			t.Errorf("byte %d is not signed", i)
		}
	}
	for _, bad := range [][]byte{nil, raw[:BeatLen-1], append(bytes.Clone(raw), 0)} {
		if _, err := ParseBeat(bad); err == nil || VerifyBeat(bad, public) {
			t.Errorf("%d bytes are a beat: %v", len(bad), err)
		}
	}
	for s, want := range map[string]bool{"": false, "STL": false, "STLB": true, "STLBx": true, "STLF": false, "xSTLB": false} {
		if IsBeat([]byte(s)) != want {
			t.Errorf("%q is meant to be a beat: %v", s, !want)
		}
	}
}
