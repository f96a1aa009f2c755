package segment

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

func smallSegment(t testing.TB) *Segment {
	t.Helper()
	r := makeRun(t, 3, 2, 4, shape{rows: 12, blockRows: 3, blockLen: 60, models: 2})
	w := NewWriter(testArchive, testLog, merkle.Frontier{})
	w.AddEncap(Encap{Enc: make([]byte, frame.EncapLen)})
	return r.write(t, w)
}

// use reads everything that a parsed batch offers, so that a missed check shows as a panic.
func use(b *Batch) {
	var l record.Leaf
	for i := range b.Len() {
		b.Leaf(i, &l)
		b.Block(i)
	}
}

// readers take the bytes of an object, whole.
func readers(s *Segment) map[string]struct {
	object []byte
	read   func([]byte) error
} {
	head, batch := cut(s.Index, s.IndexSpans.Head), cut(s.Index, s.IndexSpans.Batches[0])
	type reader = struct {
		object []byte
		read   func([]byte) error
	}
	parse := func(head, batch []byte) error {
		b, err := ParseBatch(head, batch)
		if err == nil {
			use(b)
		}
		return err
	}
	return map[string]reader{
		"index": {s.Index, func(b []byte) error {
			x, err := OpenIndex(b)
			if err == nil {
				for _, b := range x.Batches {
					use(b)
				}
			}
			return err
		}},
		"head":  {head, func(b []byte) error { return parse(b, batch) }},
		"batch": {batch, func(b []byte) error { return parse(head, b) }},
		"data": {s.Data[0].Bytes, func(b []byte) error {
			d, err := OpenData(b)
			if err == nil {
				for b := range d.Blocks() {
					_ = slices.Max(append(b.Bytes, 0))
				}
			}
			return err
		}},
		"proof": {s.Proof, readProof},
	}
}

func readProof(b []byte) error {
	p, err := ParseProof(b)
	if err != nil {
		return err
	}
	frames, err := ParseFrames(p[SectionFrames])
	_, err1 := ParseEntries(p[SectionEntries])
	_, err2 := ParseHashes(p[SectionLeaves])
	_, err3 := ParseHashes(p[SectionNodes])
	_, err4 := ParseDirectory(p[SectionScopes])
	_, err5 := ParseEncaps(p[SectionEncaps])
	for _, f := range frames {
		frame.Head(f.Signed)
	}
	return errors.Join(err, err1, err2, err3, err4, err5)
}

// Flipped bits never make a reader panic. That they are found is the work of the digests in the commit; what is not
// data must be found here all the same.
func TestFlippedBits(t *testing.T) {
	s := smallSegment(t)
	for name, r := range readers(s) {
		t.Run(name, func(t *testing.T) {
			if err := r.read(r.object); err != nil {
				t.Fatal(err)
			}
			b := slices.Clone(r.object)
			for at := 0; at < len(b); at++ {
				bit := byte(1) << (at % 8)
				b[at] ^= bit
				checkError(t, r.read(b))
				b[at] ^= bit
			}
		})
	}
}

// checkError fails if err is an error that does not say where.
func checkError(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if err != nil && (!errors.As(err, &e) || e.Offset < 0 || !strings.Contains(err.Error(), fmt.Sprint(e.Offset))) {
		t.Fatalf("error without a place: %v", err)
	}
}

func TestCut(t *testing.T) {
	s := smallSegment(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for name, r := range readers(s) {
		t.Run(name, func(t *testing.T) {
			for n := 0; n < len(r.object); n += 1 + len(r.object)/2000 {
				if err := r.read(r.object[:n]); err == nil {
					t.Fatalf("%d of %d bytes are accepted", n, len(r.object))
				}
			}
			if err := r.read(append(slices.Clone(r.object), 0)); err == nil {
				t.Fatal("a byte too many is accepted")
			}
			for range 500 { // whole words, which are lengths and offsets
				b := slices.Clone(r.object)
				at := rng.IntN(len(b) - 8)
				le.PutUint64(b[at:], [...]uint64{0, 1, 1 << 31, 1<<32 - 1, 1 << 62, 1<<64 - 1}[rng.IntN(6)])
				checkError(t, r.read(b))
			}
		})
	}
}

// A footer that leads other readers to other rows is refused.
func TestFooterContradicts(t *testing.T) {
	r := makeRun(t, 3, 1, 8, shape{rows: 1200, blockRows: 100, blockLen: 60, models: 2})
	s := r.write(t, NewWriter(testArchive, testLog, merkle.Frontier{}))
	footer := len(s.Index) - 10 - int(le.Uint32(s.Index[len(s.Index)-10:]))
	first := s.IndexSpans.Batches[0]
	refused := 0
	for at := footer; at < len(s.Index)-18; at++ {
		if le.Uint64(s.Index[at:]) == uint64(first.Off) {
			b := slices.Clone(s.Index)
			le.PutUint64(b[at:], uint64(s.IndexSpans.Batches[1].Off))
			if _, err := OpenIndex(b); err == nil {
				t.Fatal("the footer names the second batch twice, and is accepted")
			}
			refused++
		}
	}
	if refused != 1 {
		t.Fatalf("the footer names the first batch %d times", refused)
	}
}

func TestAddRefuses(t *testing.T) {
	r := makeRun(t, 3, 1, 1, shape{rows: 12, blockRows: 3, blockLen: 60, models: 2})
	f, hashes := decode(t, r.frames[0])
	for name, prepare := range map[string]func(w *Writer) error{
		"another archive": func(w *Writer) error {
			w.Reset([16]byte{1}, testLog, merkle.Frontier{})
			return w.Add(f, hashes)
		},
		"hashes of another frame": func(w *Writer) error { return w.Add(f, hashes[1:]) },
		"after Finish": func(w *Writer) error {
			if _, err := w.Finish(); err != nil {
				t.Fatal(err)
			}
			return w.Add(f, hashes)
		},
		"encapsulation cut": func(w *Writer) error {
			w.AddEncap(Encap{Enc: make([]byte, 7)})
			_, err := w.Finish()
			return err
		},
	} {
		w := NewWriter(testArchive, testLog, merkle.Frontier{})
		if err := prepare(w); err == nil {
			t.Errorf("%s: no error", name)
		}
		if w.Leaves() != 0 {
			t.Errorf("%s: leaves were added", name)
		}
	}
}

func TestEmpty(t *testing.T) {
	var before merkle.Frontier
	before.Append(numbered(5)...)
	w := NewWriter(testArchive, testLog, before)
	s, err := w.Finish()
	if err != nil || s.First != 5 || s.Size != 5 || s.After != before || s.Index != nil || s.Data != nil || s.Proof != nil {
		t.Fatalf("%+v %v", s, err)
	}
	if again, err := w.Finish(); again != s || err != nil {
		t.Fatal("a second Finish gives something else")
	}
}

// A dictionary near its limit makes the segment full while the largest frame still fits.
func TestFull(t *testing.T) {
	r := makeRun(t, 3, 1, 1, shape{rows: 200, blockRows: 1, blockLen: 60, models: 150})
	f, hashes := decode(t, r.frames[0])
	for name, fill := range map[string]struct {
		limit int
		add   func(w *Writer, i int)
	}{
		"streams": {maxStreams, func(w *Writer, i int) { w.streams.code([16]byte{1, byte(i), byte(i >> 8)}) }},
		"models":  {maxTexts, func(w *Writer, i int) { w.texts[1+record.Model].code(fmt.Sprint(i)) }},
	} {
		w := NewWriter(testArchive, testLog, merkle.Frontier{})
		for i := range fill.limit - 1 {
			fill.add(w, i)
		}
		if w.Full() {
			t.Fatalf("%s: full too early", name)
		}
		if err := w.Add(f, hashes); err != nil {
			t.Fatal(err)
		}
		if !w.Full() {
			t.Fatalf("%s: not full", name)
		}
		if err := w.Add(f, hashes); !errors.Is(err, ErrFull) {
			t.Fatalf("%s: %v", name, err)
		}
		s, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		checkSegment(t, r, s)
	}
}

func FuzzParseBatch(f *testing.F) {
	s := smallSegment(f)
	f.Add(cut(s.Index, s.IndexSpans.Head), cut(s.Index, s.IndexSpans.Batches[0]))
	f.Fuzz(func(_ *testing.T, head, batch []byte) {
		if b, err := ParseBatch(head, batch); err == nil {
			use(b)
		}
	})
}

func FuzzOpen(f *testing.F) {
	s := smallSegment(f)
	for _, b := range [][]byte{s.Index, s.Proof, s.Data[0].Bytes, s.Data[1].Bytes} {
		f.Add(b)
	}
	all := readers(s)
	f.Fuzz(func(_ *testing.T, b []byte) {
		for _, r := range all {
			_ = r.read(b)
		}
	})
}
