package seal

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func testScope(t testing.TB) *Scope {
	t.Helper()
	s, err := NewScope([32]byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sample returns fields that touch every branch: short values, one too long for the scratch, a body of several pieces.
func sample() *Fields {
	return &Fields{
		Body:        [][]byte{[]byte("question "), bytes.Repeat([]byte("x"), 300), []byte("?")},
		CallerID:    []byte("req-1"),
		Trace:       AppendTrace(nil, make([]byte, 16), make([]byte, 8), nil),
		Attributes:  []byte(`{"note":"` + strings.Repeat("long ", 60) + `"}`),
		ContentType: []byte("application/json"),
		More:        AppendZone(nil, 60),
	}
}

func TestCommitBindsEveryField(t *testing.T) {
	s := testScope(t)
	want := s.Commit(7, sample())
	if s.Commit(7, sample()) != want {
		t.Fatal("the same record commits to different values")
	}
	changes := map[string]func(*Fields){
		"body":         func(f *Fields) { f.Body[1] = f.Body[1][1:] },
		"caller id":    func(f *Fields) { f.CallerID = nil },
		"trace":        func(f *Fields) { f.Trace = nil },
		"attributes":   func(f *Fields) { f.Attributes = f.Attributes[:255] },
		"content type": func(f *Fields) { f.ContentType = []byte("text/plain") },
		"more":         func(f *Fields) { f.More = nil },
		"swap":         func(f *Fields) { f.CallerID, f.ContentType = f.ContentType, f.CallerID },
	}
	for name, change := range changes {
		f := sample()
		change(f)
		if s.Commit(7, f) == want {
			t.Errorf("%s: commitment stays the same", name)
		}
	}
	if s.Commit(8, sample()) == want {
		t.Error("seq: commitment stays the same")
	}
	other, err := NewScope([32]byte{1, 2, 4})
	if err != nil {
		t.Fatal(err)
	}
	if other.Commit(7, sample()) == want {
		t.Error("key: commitment stays the same")
	}
}

// The commitment is to the bytes of the body, however they are cut.
func TestCommitIgnoresPieces(t *testing.T) {
	s := testScope(t)
	f := sample()
	want := s.Commit(7, f)
	whole := bytes.Join(f.Body, nil)
	for _, cut := range []int{0, 1, 100, 256, len(whole)} {
		f.Body = [][]byte{whole[:cut], nil, whole[cut:]}
		if s.Commit(7, f) != want {
			t.Errorf("cut at %d: another commitment", cut)
		}
	}
	f.Body = [][]byte{whole}
	if s.Commit(7, f) != want {
		t.Error("whole: another commitment")
	}
}

// Around the size of the scratch both ways of hashing give the same.
func TestFieldHashAtScratchSize(t *testing.T) {
	s := testScope(t)
	for n := 200; n < 300; n++ {
		value := bytes.Repeat([]byte{byte(n)}, n)
		if got, want := s.fieldHash(5, FieldMore, value), FieldHash(s.Salt(5, FieldMore), FieldMore, value); got != want {
			t.Fatalf("%d bytes: %x, want %x", n, got, want)
		}
	}
}

func TestCommitAllocatesNothing(t *testing.T) {
	s, f := testScope(t), sample()
	if n := testing.AllocsPerRun(100, func() { s.Commit(7, f) }); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
}

func TestTrace(t *testing.T) {
	for _, ids := range [][3]string{{}, {"t", "s", "p"}, {"", "", "p"}, {strings.Repeat("t", 255), "", ""}} {
		value := AppendTrace(nil, []byte(ids[0]), []byte(ids[1]), []byte(ids[2]))
		trace, span, parent, err := ParseTrace(value)
		if err != nil || string(trace) != ids[0] || string(span) != ids[1] || string(parent) != ids[2] {
			t.Errorf("%q: got %q %q %q, %v", ids, trace, span, parent, err)
		}
	}
	if v := AppendTrace(nil, make([]byte, 300), nil, nil); len(v) != 258 {
		t.Errorf("id of 300 bytes becomes a value of %d", len(v))
	}
	for _, bad := range []string{"\x00", "\x00\x00", "\x00\x00\x00", "\x02a\x00\x00", "\x01a\x00\x00\x00"} {
		var format *FormatError
		if _, _, _, err := ParseTrace([]byte(bad)); !errors.As(err, &format) {
			t.Errorf("%q: error is %v", bad, err)
		}
	}
}

func TestZone(t *testing.T) {
	if _, ok, err := ParseZone(nil); ok || err != nil {
		t.Errorf("empty: %v, %v", ok, err)
	}
	for _, want := range []int{-1439, -60, 0, 330, 1439} {
		got, ok, err := ParseZone(AppendZone(nil, want))
		if got != want || !ok || err != nil {
			t.Errorf("%d: got %d, %v, %v", want, got, ok, err)
		}
	}
	for _, bad := range [][]byte{{0}, {0xc0, 0x16}, {0x80}, {0x81, 0}, {1, 1}} {
		if _, _, err := ParseZone(bad); err == nil {
			t.Errorf("%x: no error", bad)
		}
	}
}
