package segment

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

var update = flag.Bool("update", false, "write testdata/v1 anew; only before a format is released")

const goldenDir = "testdata/v1"

// spans are what the commit of the frozen segment says of its objects.
type spans struct {
	Index commit.Index  `json:"index"`
	Proof []commit.Span `json:"proof"`
}

// goldenEncap is the one encapsulation of the frozen segment.
func goldenEncap() Encap {
	return Encap{Stream: [16]byte{9, 9}, Day: 20000, Year: 2026, Enc: bytes.Repeat([]byte{0xe1}, frame.EncapLen)}
}

// The frozen segment of version 1 reads as the frames that it was made from, for ever.
func TestFrozenReads(t *testing.T) {
	if *update {
		freeze(t)
	}
	checkSegment(t, frozenRun(t), frozenSegment(t))
}

// The writer still makes the frozen segment, byte for byte. Another version of Arrow may change that, and nothing else.
func TestFrozenWrites(t *testing.T) {
	var before merkle.Frontier
	if err := before.UnmarshalBinary(golden(t, "before")); err != nil {
		t.Fatal(err)
	}
	w := NewWriter(testArchive, testLog, before)
	w.AddEncap(goldenEncap())
	got, want := frozenRun(t).write(t, w), frozenSegment(t)
	for name, pair := range objects(got) {
		if !bytes.Equal(pair, objects(want)[name]) {
			t.Errorf("%s differs", name)
		}
	}
	if len(got.Data) != len(want.Data) {
		t.Errorf("%d data objects, not %d", len(got.Data), len(want.Data))
	}
}

func objects(s *Segment) map[string][]byte {
	all := map[string][]byte{"index.arrow": s.Index, "proof": s.Proof}
	for _, d := range s.Data {
		all["data."+d.Class+".arrow"] = d.Bytes
	}
	return all
}

func freeze(t *testing.T) {
	var before merkle.Frontier
	before.Append(numbered(13)...)
	r := makeRun(t, 2026, 3, 7, shape{rows: 60, blockRows: 4, blockLen: 80, models: 3})
	w := NewWriter(testArchive, testLog, before)
	w.AddEncap(goldenEncap())
	s := r.write(t, w)
	files := objects(s)
	files["before"], _ = before.AppendBinary(nil)
	for _, raw := range r.frames {
		files["frames"] = append(le.AppendUint32(files["frames"], uint32(len(raw))), raw...)
	}
	text, err := json.MarshalIndent(spans{s.IndexSpans, s.ProofSpans[:]}, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	files["spans.json"] = append(text, '\n')
	if err := os.MkdirAll(goldenDir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(goldenDir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func golden(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(goldenDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func frozenRun(t *testing.T) *run {
	t.Helper()
	r := &run{}
	for b := golden(t, "frames"); len(b) > 0; {
		n := le.Uint32(b)
		r.add(t, b[4:4+n])
		b = b[4+n:]
	}
	return r
}

func frozenSegment(t *testing.T) *Segment {
	t.Helper()
	s := &Segment{First: 13, Index: golden(t, "index.arrow"), Proof: golden(t, "proof")}
	var sp spans
	if err := json.Unmarshal(golden(t, "spans.json"), &sp); err != nil {
		t.Fatal(err)
	}
	s.IndexSpans, s.ProofSpans = sp.Index, [sections]commit.Span(sp.Proof)
	names, err := filepath.Glob(filepath.Join(goldenDir, "data.*.arrow"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		d, err := OpenData(golden(t, filepath.Base(name)))
		if err != nil {
			t.Fatal(err)
		}
		s.Data = append(s.Data, ClassData{Class: d.Class, Bytes: golden(t, filepath.Base(name))})
	}
	return s
}

// A row of the frozen index gives the leafdata without an allocation.
func TestLeafAllocates(t *testing.T) {
	x, err := OpenIndex(golden(t, "index.arrow"))
	if err != nil {
		t.Fatal(err)
	}
	var l record.Leaf
	buf := make([]byte, 0, record.MaxLeaf)
	if n := testing.AllocsPerRun(10, func() {
		for i := range x.Batches[0].Len() {
			x.Batches[0].Leaf(i, &l)
			buf = l.Append(buf[:0])
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
