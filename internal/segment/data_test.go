package segment

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stelelog/stele/merkle"
)

// without leaves ranges out of b.
func without(b []byte, cuts []Cut) []byte {
	b = bytes.Clone(b)
	for _, c := range slices.Backward(cuts) {
		b = slices.Delete(b, int(c.At), int(c.At+c.Len))
	}
	return b
}

// A data object says where its blocks are also when they are left out, all or some.
func TestDataWithoutBlocks(t *testing.T) {
	r := makeRun(t, 3, 3, 20, shape{rows: 60, blockRows: 2, blockLen: 20_000, models: 2})
	s := r.write(t, NewWriter(testArchive, testLog, merkle.Frontier{}))
	for _, c := range s.Data {
		whole, err := OpenData(c.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		want := slices.Collect(whole.Blocks())
		for _, every := range []int{1, 2, 7} {
			var cuts []Cut
			for i := 0; i < len(want); i += every {
				if n := len(cuts); n > 0 && cuts[n-1].At+cuts[n-1].Len == want[i].Offset {
					cuts[n-1].Len += want[i].Length
				} else {
					cuts = append(cuts, Cut{want[i].Offset, want[i].Length})
				}
			}
			d, err := OpenData(without(c.Bytes, cuts), cuts...)
			if err != nil {
				t.Fatalf("every %d. block left out: %v", every, err)
			}
			got := slices.Collect(d.Blocks())
			if len(got) != len(want) {
				t.Fatalf("%d blocks, want %d", len(got), len(want))
			}
			for i := range got {
				if got[i].Leaf != want[i].Leaf || got[i].Offset != want[i].Offset || got[i].Length != want[i].Length {
					t.Fatalf("block %d: %+v", i, got[i])
				}
			}
		}
	}
}

// What is left out elsewhere, but for padding, is an error, and never more than that.
func TestDataWithoutOther(t *testing.T) {
	s := smallSegment(t)
	whole := s.Data[0].Bytes
	blocks := openBlocks(t, s.Data[0])
	inBlock := func(at int64) bool {
		for off, b := range blocks {
			if at >= off && at < off+b.Length {
				return true
			}
		}
		return false
	}
	for at := range int64(len(whole)) {
		cuts := []Cut{{at, 1}}
		_, err := OpenData(without(whole, cuts), cuts...)
		if err == nil && !inBlock(at) && whole[at] != 0 {
			t.Fatalf("byte %d may be left out", at)
		}
		checkError(t, err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		var cuts []Cut
		for at := rng.Int64N(600); at < int64(len(whole)); at += 1 + rng.Int64N(2000) {
			cuts = append(cuts, Cut{at, 1 + rng.Int64N(int64(len(whole))-at)})
			at += cuts[len(cuts)-1].Len
		}
		_, err := OpenData(without(whole, cuts), cuts...)
		checkError(t, err)
		if _, err := OpenData(whole[:rng.IntN(len(whole))], cuts...); err == nil && cuts != nil {
			t.Fatal("an object that was cut short is accepted")
		}
	}
}
