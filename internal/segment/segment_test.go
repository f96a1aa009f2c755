package segment

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

// checkSegment reads a segment by all ways there are and compares it with the run it was made from.
func checkSegment(t testing.TB, r *run, s *Segment) {
	t.Helper()
	x, err := OpenIndex(s.Index)
	if err != nil {
		t.Fatal(err)
	}
	if x.Archive != testArchive || x.Log != testLog || x.First != s.First || x.Len() != len(r.leaves) {
		t.Fatalf("index of %x %s from %d with %d rows", x.Archive, x.Log, x.First, x.Len())
	}
	checkSpan(t, s.Index, s.IndexSpans.Head)
	data := map[string]map[int64]SealedBlock{}
	for _, c := range s.Data {
		data[c.Class] = openBlocks(t, c)
	}
	head := cut(s.Index, s.IndexSpans.Head)
	at := 0
	for k, b := range x.Batches {
		checkSpan(t, s.Index, s.IndexSpans.Batches[k])
		alone, err := ParseBatch(head, cut(s.Index, s.IndexSpans.Batches[k]))
		if err != nil {
			t.Fatal(err)
		}
		if b.Len() != s.IndexSpans.Batches[k].Rows || alone.Len() != b.Len() {
			t.Fatalf("batch of %d and %d rows", b.Len(), alone.Len())
		}
		for i := range b.Len() {
			checkRow(t, r, at, b, i, data)
			checkRow(t, r, at, alone, i, data)
			at++
		}
	}
	checkProof(t, r, s)
}

func checkRow(t testing.TB, r *run, at int, b *Batch, i int, data map[string]map[int64]SealedBlock) {
	t.Helper()
	var l record.Leaf
	b.Leaf(i, &l)
	if diff := cmp.Diff(r.leaves[at], l); diff != "" {
		t.Fatalf("leaf %d: %s", at, diff)
	}
	if merkle.LeafHash(l.Append(nil)) != r.hashes[at] {
		t.Fatalf("leaf %d has another hash", at)
	}
	if b.Type(i) != l.Type || b.Kind(i) != l.Kind || b.Time(i) != l.Time || b.Clear(i, record.Model) != l.Clear[record.Model] ||
		b.Class(i) != l.Class || b.Scope(i) != l.Scope || b.Stream(i) != l.Stream || b.Seq(i) != l.Seq || b.ID(i) != l.ID {
		t.Fatalf("leaf %d: an accessor differs", at)
	}
	place, ok := b.Block(i)
	if ok != (r.blocks[at] != nil) {
		t.Fatalf("leaf %d has a block: %v", at, ok)
	}
	if !ok {
		if le.Uint32(b.column[colOffset][4*i:])|le.Uint32(b.column[colLength][4*i:]) != 0 {
			t.Fatalf("leaf %d has no block but a place", at)
		}
		return
	}
	sealed := data[l.Class][int64(place.Offset)]
	if !bytes.Equal(sealed.Bytes, r.blocks[at]) || int(place.Length) != len(sealed.Bytes) || sha256.Sum256(sealed.Bytes) != l.Digest ||
		uint64(at)-uint64(sealed.Leaf) != l.Seq-place.First || place.First+uint64(l.Slot) > l.Seq {
		t.Fatalf("leaf %d: not its block at %+v", at, place)
	}
}

// openBlocks reads a data object, and finds each block where it says that it is.
func openBlocks(t testing.TB, c ClassData) map[int64]SealedBlock {
	t.Helper()
	d, err := OpenData(c.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if d.Class != c.Class {
		t.Fatalf("class %q, not %q", d.Class, c.Class)
	}
	out := map[int64]SealedBlock{}
	for b := range d.Blocks() {
		if !bytes.Equal(c.Bytes[b.Offset:][:len(b.Bytes)], b.Bytes) {
			t.Fatalf("class %s: block is not at %d", c.Class, b.Offset)
		}
		out[b.Offset] = b
	}
	if len(out) != d.Len() {
		t.Fatalf("%d blocks at %d places", d.Len(), len(out))
	}
	return out
}

func checkProof(t testing.TB, r *run, s *Segment) {
	t.Helper()
	p, err := ParseProof(s.Proof)
	if err != nil {
		t.Fatal(err)
	}
	for i, sp := range s.ProofSpans {
		checkSpan(t, s.Proof, sp)
		if !bytes.Equal(cut(s.Proof, sp), p[i]) {
			t.Fatalf("section %d is not where the span says", i)
		}
	}
	leaves, err := ParseHashes(p[SectionLeaves])
	if err != nil || !slices.Equal(leaves, r.hashes) {
		t.Fatal("leaves differ", err)
	}
	frames, err := ParseFrames(p[SectionFrames])
	if err != nil || len(frames) != len(r.frames) {
		t.Fatalf("%d frames: %v", len(frames), err)
	}
	leaf := s.First
	for i, f := range frames {
		want, _ := decode(t, r.frames[i])
		entries, err := ParseEntries(p[SectionEntries][f.Offset:][:f.Length])
		if err != nil || len(entries) != len(want.EntryList) || f.Header != want.Header || f.Leaf != leaf || frame.Head(f.Signed) != frame.Head(want.Raw) {
			t.Fatalf("frame %d differs: %v", i, err)
		}
		for k := range entries {
			if !bytes.Equal(entries[k], want.EntryList[k]) {
				t.Fatalf("entry %d of frame %d differs", k, i)
			}
		}
		leaf += uint64(f.Count)
	}
	checkRuns(t, r, s, p)
}

func cut(b []byte, s commit.Span) []byte { return b[s.Off:][:s.Len:s.Len] }

func checkSpan(t testing.TB, b []byte, s commit.Span) {
	t.Helper()
	if commit.Hash(cut(b, s)) != s.SHA256 {
		t.Fatalf("the digest of [%d, %d) is not that of these bytes", s.Off, s.Off+s.Len)
	}
}

func TestReadBack(t *testing.T) {
	w := NewWriter(testArchive, testLog, merkle.Frontier{})
	var total uint64
	for i, c := range []struct {
		streams, frames int
		shape           shape
	}{
		{1, 1, shape{rows: 1, blockRows: 1, blockLen: 100, models: 1}},
		{3, 9, shape{rows: 40, blockRows: 5, blockLen: 300, models: 4}},
		{2, 4, shape{rows: 2048, blockRows: 100, blockLen: 2000, models: 3}}, // two full batches
		{1, 3, shape{rows: 1000, blockRows: 1, blockLen: 20, models: 9}},
		{5, 30, shape{rows: 60, blockRows: 2, blockLen: 14000, models: 2}}, // several batches of data
	} {
		r := makeRun(t, uint64(i), c.streams, c.frames, c.shape)
		s := r.write(t, w)
		if s.First != total || s.Size != total+uint64(len(r.leaves)) || s.After.Size() != s.Size {
			t.Fatalf("[%d, %d) with %d leaves after %d", s.First, s.Size, len(r.leaves), total)
		}
		total = s.Size
		checkSegment(t, r, s)
		checkCounts(t, r, s)
		w.Reset(testArchive, testLog, s.After) // the next segment reuses the memory
	}
}

func checkCounts(t *testing.T, r *run, s *Segment) {
	t.Helper()
	var times []int64
	var records, pieces uint64
	for i := range r.leaves {
		switch l := &r.leaves[i]; l.Type {
		case record.Plain:
			records++
			times = append(times, l.Time)
		case record.Piece:
			pieces++
			times = append(times, l.Time)
		}
	}
	if s.Records != records || s.Pieces != pieces {
		t.Errorf("%d records and %d pieces, not %d and %d", s.Records, s.Pieces, records, pieces)
	}
	if len(times) > 0 && (s.From != slices.Min(times) || s.Until != slices.Max(times)) || len(times) == 0 && s.From|s.Until != 0 {
		t.Errorf("from %d until %d", s.From, s.Until)
	}
}
