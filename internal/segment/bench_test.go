package segment

import (
	"testing"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

// Records of 1 KiB, sealed to about 450 bytes each.
var benchShapes = []struct {
	name   string
	frames int
	shape  shape
}{
	{"100 records a scope", 80, shape{rows: 600, blockRows: 100, blockLen: 90_000, models: 3, clean: true}},
	{"1 record a scope", 128, shape{rows: 300, blockRows: 1, blockLen: 900, models: 3, clean: true}},
}

// BenchmarkWrite measures Add and Finish; hashing of the tree is measured beside it.
func BenchmarkWrite(b *testing.B) {
	for _, s := range benchShapes {
		r := makeRun(b, 1, 4, s.frames, s.shape)
		var frames []*frame.Frame
		var hashes [][]merkle.Hash
		for _, raw := range r.frames {
			f, h := decode(b, raw)
			frames, hashes = append(frames, f), append(hashes, h)
		}
		b.Run(s.name, func(b *testing.B) {
			w := NewWriter(testArchive, testLog, merkle.Frontier{})
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				w.Reset(testArchive, testLog, merkle.Frontier{})
				for i := range frames {
					if err := w.Add(frames[i], hashes[i]); err != nil {
						b.Fatal(err)
					}
				}
				seg, err := w.Finish()
				if err != nil {
					b.Fatal(err)
				}
				size = len(seg.Index) + len(seg.Proof) + len(seg.Data[0].Bytes)
			}
			perRecord(b, len(r.leaves))
			b.ReportMetric(float64(size)/float64(len(r.leaves)), "bytes/rec")
		})
		b.Run(s.name+"/add only", func(b *testing.B) {
			w := NewWriter(testArchive, testLog, merkle.Frontier{})
			b.ReportAllocs()
			for b.Loop() {
				w.Reset(testArchive, testLog, merkle.Frontier{})
				for i := range frames {
					if err := w.Add(frames[i], hashes[i]); err != nil {
						b.Fatal(err)
					}
				}
			}
			perRecord(b, len(r.leaves))
		})
		b.Run(s.name+"/tree only", func(b *testing.B) {
			var levels [][]merkle.Hash
			for b.Loop() {
				var f merkle.Frontier
				for i := range levels {
					levels[i] = levels[i][:0]
				}
				for i := range hashes {
					levels = f.AppendLevels(levels, hashes[i]...)
				}
			}
			perRecord(b, len(r.leaves))
		})
		b.Run(s.name+"/all", func(b *testing.B) {
			w := NewWriter(testArchive, testLog, merkle.Frontier{})
			var f frame.Frame
			b.ReportAllocs()
			for b.Loop() {
				w.Reset(testArchive, testLog, merkle.Frontier{})
				for _, raw := range r.frames {
					if err := f.Decode(raw); err != nil {
						b.Fatal(err)
					}
					h, err := f.LeafHashes()
					if err != nil {
						b.Fatal(err)
					}
					if err := w.Add(&f, h); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := w.Finish(); err != nil {
					b.Fatal(err)
				}
			}
			perRecord(b, len(r.leaves))
		})
	}
}

func perRecord(b *testing.B, records int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*records), "ns/rec")
}

func BenchmarkRead(b *testing.B) {
	s := benchShapes[0]
	r := makeRun(b, 1, 4, s.frames, s.shape)
	seg := r.write(b, NewWriter(testArchive, testLog, merkle.Frontier{}))
	b.Run("open index", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := OpenIndex(seg.Index); err != nil {
				b.Fatal(err)
			}
		}
		perRecord(b, len(r.leaves))
	})
	b.Run("leaves", func(b *testing.B) {
		x, err := OpenIndex(seg.Index)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		var l record.Leaf
		for b.Loop() {
			for _, batch := range x.Batches {
				for i := range batch.Len() {
					batch.Leaf(i, &l)
				}
			}
		}
		perRecord(b, len(r.leaves))
	})
	b.Run("filter by model", func(b *testing.B) {
		x, err := OpenIndex(seg.Index)
		if err != nil {
			b.Fatal(err)
		}
		found := 0
		for b.Loop() {
			for _, batch := range x.Batches {
				for i := range batch.Len() {
					if batch.Kind(i) == 1 && batch.Clear(i, record.Model) == "model-1" {
						found++
					}
				}
			}
		}
		perRecord(b, len(r.leaves))
	})
	b.Run("one batch", func(b *testing.B) {
		head, batch := cut(seg.Index, seg.IndexSpans.Head), cut(seg.Index, seg.IndexSpans.Batches[0])
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseBatch(head, batch); err != nil {
				b.Fatal(err)
			}
		}
	})
}
