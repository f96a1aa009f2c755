package sha256mb

import (
	"crypto/sha256"
	"math/rand/v2"
	"testing"
)

// Messages in pieces of all sizes, alone, with each other and beside whole ones, have the hashes that they should.
func TestDigest(t *testing.T) { each(func(name string) { testDigest(t, name) }) }

func testDigest(t *testing.T, way string) {
	rng := rand.New(rand.NewPCG(5, 6))
	for round := range 600 {
		long := noise(rng.Uint64(), rng.IntN([]int{1, 70, 1000, 3 * chunk}[round%4]+1))
		lead := noise(rng.Uint64(), rng.IntN(200))
		var d, e, f Digest
		f.Write(lead)
		e.Write(lead)
		for at := 0; at < len(long); {
			n := min(1+rng.IntN([]int{3, 64, 500, 2 * chunk}[rng.IntN(4)]), len(long)-at)
			piece := long[at : at+n]
			messages := make([][]byte, rng.IntN([]int{4, 40}[round%2]))
			for i := range messages {
				messages[i] = noise(rng.Uint64(), rng.IntN(300))
			}
			sums := make([][32]byte, len(messages))
			Beside(&d, piece, sums, messages)
			for i, m := range messages {
				if sums[i] != sha256.Sum256(m) {
					t.Fatalf("%s: message %d of %d beside %d bytes: wrong hash", way, i, len(messages), n)
				}
			}
			Both(&e, &f, piece)
			at += n
		}
		if d.Sum() != sha256.Sum256(long) {
			t.Fatalf("%s: %d bytes: wrong hash", way, len(long))
		}
		want := sha256.Sum256(append(lead, long...))
		if e.Sum() != want || f.Sum() != want {
			t.Fatalf("%s: %d bytes behind %d: wrong hash", way, len(long), len(lead))
		}
	}
}

// Two messages that lie differently to their blocks.
func TestBothApart(t *testing.T) { each(func(name string) { testBothApart(t, name) }) }

func testBothApart(t *testing.T, way string) {
	data := noise(9, 5*chunk)
	for lead := range 2 * blockSize {
		var d, e Digest
		e.Write(data[:lead])
		for at := 0; at < len(data); at += 5000 {
			Both(&d, &e, data[at:min(at+5000, len(data))])
		}
		if d.Sum() != sha256.Sum256(data) || e.Sum() != sha256.Sum256(append(data[:lead:lead], data...)) {
			t.Fatalf("%s: %d bytes before one of them: wrong hash", way, lead)
		}
	}
}

func TestDigestOfNothing(t *testing.T) {
	each(func(name string) {
		var d, e Digest
		e.Write(nil)
		if d.Sum() != sha256.Sum256(nil) || e.Sum() != sha256.Sum256(nil) {
			t.Errorf("%s: wrong hash", name)
		}
	})
}

func BenchmarkBeside(b *testing.B) {
	piece := noise(1, 4<<20)
	var messages [][]byte
	for at := 0; at < len(piece); at += 500 {
		messages = append(messages, piece[at:min(at+500, len(piece))])
	}
	sums := make([][32]byte, len(messages))
	each(func(name string) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(2 * len(piece)))
			b.ReportAllocs()
			var d Digest
			for b.Loop() {
				Beside(&d, piece, sums, messages)
			}
		})
	})
}
