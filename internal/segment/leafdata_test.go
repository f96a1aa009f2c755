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
			if got := c.AppendLeafdata(nil, b, i); !bytes.Equal(got, l.Append(nil)) {
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

// What two neighbouring rows have in common is what their leaves have.
func TestNeighbours(t *testing.T) {
	r := makeRun(t, 9, 2, 8, shape{rows: 700, blockRows: 6, blockLen: 30, models: 2})
	s := r.write(t, NewWriter(testArchive, testLog, merkle.Frontier{}))
	x, err := OpenIndex(s.Index)
	if err != nil {
		t.Fatal(err)
	}
	rng, counts := rand.New(rand.NewPCG(5, 6)), map[[2]bool]int{}
	spoilt := []int{colStream, colSeq, colSlot, colBack, colOffset, colLength, colScope, colClass, colDigest, colType}
	for n := range x.Len() {
		b, i := x.Row(n)
		if i == 0 {
			continue
		}
		if column := spoilt[rng.IntN(len(spoilt))]; rng.IntN(4) == 0 {
			width := len(b.column[column]) / b.rows
			b.column[column][width*i] ^= 1
			if column == colStream {
				b.column[column][width*i] &= 1
			}
			if column == colClass || column == colType {
				b.column[column][width*i] = byte(rng.IntN(3)) // all are in the dictionaries
			}
		}
		var a, l record.Leaf
		b.Leaf(i-1, &a)
		b.Leaf(i, &l)
		at, ok := b.Block(i)
		before, okBefore := b.Block(i - 1)
		follows := a.Stream == l.Stream && a.Seq+1 == l.Seq
		next := ok && okBefore && follows && at == before && a.Slot+1 == l.Slot && a.Scope == l.Scope && a.Class == l.Class && a.Digest == l.Digest
		if b.Follows(i) != follows || b.NextSlot(i) != next {
			t.Fatalf("row %d: %v %v, want %v %v", n, b.Follows(i), b.NextSlot(i), follows, next)
		}
		counts[[2]bool{follows, next}]++
	}
	if len(counts) != 3 {
		t.Errorf("not all cases were met: %v", counts)
	}
}
