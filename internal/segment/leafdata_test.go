package segment

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

// Leafdata made of the columns are those of the leaf, and a row is checked as its leaf is, whatever it holds.
func TestLeafdata(t *testing.T) {
	r := makeRun(t, 8, 2, 6, shape{rows: 900, blockRows: 5, blockLen: 30, models: 4})
	s := r.write(t, NewWriter(testArchive, testLog, merkle.Frontier{}))
	x, err := OpenIndex(s.Index)
	if err != nil {
		t.Fatal(err)
	}
	rng, faulty := rand.New(rand.NewPCG(1, 2)), 0
	for _, spoil := range []bool{false, true} {
		var c Checker
		for n := range x.Len() {
			b, i := x.Row(n)
			if spoil && rng.IntN(3) == 0 {
				for _, column := range []int{colType, colKind, colFlags} {
					b.column[column][i] = byte(rng.IntN(9)) * byte(rng.IntN(9))
				}
				if b.Type(i) > record.Recovered {
					b.column[colType][i] = 9
				}
			}
			var l record.Leaf
			b.Leaf(i, &l)
			if got := b.AppendLeafdata(nil, i); !bytes.Equal(got, l.Append(nil)) {
				t.Fatalf("row %d: other leafdata", n)
			}
			want, got := l.Check(), c.Check(b, i)
			if (want == nil) != (got == nil) {
				t.Fatalf("row %d: %v, its leaf %v", n, got, want)
			}
			if want != nil {
				faulty++
			}
		}
	}
	if faulty < 100 {
		t.Errorf("%d faulty rows are too few for this test", faulty)
	}
}
