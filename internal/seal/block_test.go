package seal

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

func TestBlockRefuses(t *testing.T) {
	b := new(Block)
	if err := b.Scope(nil, make([]byte, 65_536), nil); err == nil {
		t.Error("subject of 65,536 bytes is taken")
	}
	if err := b.Add(5, [32]byte{}, &Fields{}, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Scope(nil, nil, nil); err == nil {
		t.Error("scope header behind a record is taken")
	}
	before := slices.Clone(b.plain)
	for name, add := range map[string]func() error{
		"same seq":         func() error { return b.Add(5, [32]byte{}, &Fields{}, nil) },
		"seq back":         func() error { return b.Add(4, [32]byte{}, &Fields{}, nil) },
		"too many parts":   func() error { return b.Add(6, [32]byte{}, &Fields{}, make([]Part, MaxParts+1)) },
		"unknown kind":     func() error { return b.Add(6, [32]byte{}, &Fields{}, []Part{{Kind: 4}}) },
		"distance 0":       func() error { return b.Add(6, [32]byte{}, &Fields{}, []Part{{}, {Kind: Reference}}) },
		"piece distance 0": func() error { return b.Add(6, [32]byte{}, &Fields{}, []Part{{Kind: Piece}}) },
		"part number": func() error {
			return b.Add(6, [32]byte{}, &Fields{}, []Part{{Kind: Reference, Distance: 1, Number: MaxParts}})
		},
	} {
		if err := add(); err == nil || errors.Is(err, ErrFull) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	big := []Part{{Data: make([]byte, maxPlaintext)}}
	if err := b.Add(6, [32]byte{}, &Fields{}, big); !errors.Is(err, ErrFull) {
		t.Errorf("record over the limit: %v", err)
	}
	if !bytes.Equal(b.plain, before) || b.Records() != 1 || b.First() != 5 {
		t.Error("what was refused has left traces")
	}
}

func TestBlockFull(t *testing.T) {
	b := new(Block)
	for seq := range uint64(maxRecords) {
		if err := b.Add(seq, [32]byte{}, &Fields{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Add(maxRecords, [32]byte{}, &Fields{}, nil); !errors.Is(err, ErrFull) {
		t.Errorf("one record more: %v", err)
	}
	p := new(Plaintext)
	if err := p.Parse(b.plain); err != nil || len(p.Records) != maxRecords {
		t.Errorf("%d records, %v", len(p.Records), err)
	}
	if err := p.Parse(append(b.plain, make([]byte, 6)...)); err == nil {
		t.Error("one record more is read")
	}
}

func TestParseRefuses(t *testing.T) {
	const fields = "\x00\x00\x00\x00\x00"
	for _, test := range []struct {
		name, data string
		offset     int
	}{
		{"nothing", "", 0},
		{"version 2", "\x02\x00" + fields + "\x00", 0},
		{"no flags", "\x01", 1},
		{"unknown flag", "\x01\x02" + fields + "\x00", 1},
		{"no record", "\x01\x00", 2},
		{"header cut", "\x01\x01\x05\x00ab", 4},
		{"header only", "\x01\x01\x00\x00\x00\x00\x00\x00", 8},
		{"field cut", "\x01\x00\x05abcd", 3},
		{"field of 2^63", "\x01\x00\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12},
		{"long varint", "\x01\x00\x80\x00", 2},
		{"varint over 64 bits", "\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 2},
		{"no part count", "\x01\x00" + fields, 7},
		{"65,536 parts", "\x01\x00" + fields + "\x80\x80\x04", 7},
		{"part missing", "\x01\x00" + fields + "\x01", 8},
		{"kind 4", "\x01\x00" + fields + "\x01\x04", 8},
		{"literal cut", "\x01\x00" + fields + "\x01\x00\x02a", 10},
		{"refers to itself", "\x01\x00" + fields + "\x02\x00\x00\x01\x00\x00", 10},
		{"part number", "\x01\x00" + fields + "\x01\x01\x01\xff\xff\x03", 8},
		{"own piece", "\x01\x00" + fields + "\x01\x03\x00", 8},
		{"hash cut", "\x01\x00" + fields + "\x01\x02abc", 9},
		{"second record cut", "\x01\x00" + fields + "\x00\x00", 9},
	} {
		var format *FormatError
		err := new(Plaintext).Parse([]byte(test.data))
		if !errors.As(err, &format) || format.Offset != test.offset {
			t.Errorf("%s: error is %v, want one at byte %d", test.name, err, test.offset)
		}
		if errors.Is(err, ErrVersion) != (test.name == "version 2") {
			t.Errorf("%s: error is %v", test.name, err)
		}
	}
	if err := new(Plaintext).Parse(make([]byte, maxPlaintext+1)); err == nil {
		t.Error("plaintext over the limit is read")
	}
}

// FuzzParse checks that what parses is exactly what a builder writes for it, so there is one encoding of a block.
func FuzzParse(f *testing.F) {
	v := readVectors(f)
	for _, b := range v.Blocks {
		f.Add([]byte(b.Plaintext))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p := new(Plaintext)
		if p.Parse(data) != nil {
			return
		}
		b := new(Block)
		if p.HasScope {
			if err := b.Scope(p.Tenant, p.Subject, p.Session); err != nil {
				t.Fatal(err)
			}
		}
		for i := range p.Records {
			r := &p.Records[i]
			fields := &Fields{CallerID: r.CallerID, Trace: r.Trace, Attributes: r.Attributes, ContentType: r.ContentType, More: r.More}
			if err := b.Add(uint64(i), [32]byte{}, fields, slices.Collect(r.Parts())); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(b.plain, data) {
			t.Fatalf("built again it is %x", b.plain)
		}
	})
}

// FuzzUnpack checks that hostile packed bytes give an error or at most the declared length.
func FuzzUnpack(f *testing.F) {
	c := NewCodec(Options{})
	for _, p := range packings {
		in, err := c.pack(nil, bytes.Repeat([]byte("stone "), 50), p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := c.unpack(make([]byte, 1, 100), data)
		if err == nil && len(out) > 1+maxPlaintext {
			t.Fatalf("%d bytes", len(out))
		}
	})
}

func FuzzValues(f *testing.F) {
	f.Add(AppendTrace(nil, []byte("trace"), []byte("span"), nil))
	f.Add(AppendZone(nil, -300))
	f.Fuzz(func(t *testing.T, data []byte) {
		if a, b, c, err := ParseTrace(data); err == nil && !bytes.Equal(AppendTrace(nil, a, b, c), data) {
			t.Fatal("trace has two encodings")
		}
		if m, ok, err := ParseZone(data); err == nil && ok && !bytes.Equal(AppendZone(nil, m), data) {
			t.Fatal("zone has two encodings")
		}
	})
}
