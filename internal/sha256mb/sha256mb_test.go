package sha256mb

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"testing"
)

// check compares with crypto/sha256, in each way that there is here.
func check(t *testing.T, messages [][]byte) {
	t.Helper()
	want, sums := make([][32]byte, len(messages)), make([][32]byte, len(messages))
	for i, m := range messages {
		want[i] = sha256.Sum256(m)
	}
	each(func(name string) {
		clear(sums)
		Sums(sums, messages)
		for i, m := range messages {
			if sums[i] != want[i] {
				t.Fatalf("%s: message %d of %d, %d bytes, beside %d: wrong hash", name, i, len(messages), len(m), len(messages[(i+1)%len(messages)]))
			}
		}
	})
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n+8)
	rng := rand.New(rand.NewPCG(seed, 5))
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rng.Uint64())
	}
	return b[:n:n]
}

// TestEveryPadding pairs messages whose last blocks have every length, on both sides.
func TestEveryPadding(t *testing.T) {
	data := noise(1, 3*blockSize)
	for n := range data {
		for m := range data {
			check(t, [][]byte{data[:n], data[m:]})
		}
	}
}

// TestManyMessages mixes lengths, so that either side ends first, and one message remains.
func TestManyMessages(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 1000 {
		messages := make([][]byte, rng.IntN(50))
		for i := range messages {
			messages[i] = noise(rng.Uint64(), rng.IntN(1+[...]int{70, 300, 2000}[round%3]))
		}
		check(t, messages)
	}
}

// TestEveryCount hashes every number of messages that fills the lanes up to twice and one more, of every length up to two
// blocks and the padding: all alike; and, for some lengths, each a byte longer than the one before, and with a long one among them.
func TestEveryCount(t *testing.T) {
	data := noise(2, 8<<10)
	for count := range 34 {
		messages := make([][]byte, count)
		for n := range 2*blockSize + 10 {
			for i := range messages {
				messages[i] = data[i : i+n]
			}
			check(t, messages)
			if n%5 != count%5 {
				continue
			}
			for i := range messages {
				messages[i] = data[: n+i : n+i]
			}
			check(t, messages)
			if count > 0 {
				messages[n%count] = data[n:]
				check(t, messages)
			}
		}
	}
}

// TestLongMessages needs several calls for a message.
func TestLongMessages(t *testing.T) {
	long := noise(7, 5*chunk+100)
	check(t, [][]byte{long, long[1:]})
	check(t, [][]byte{long, long[:10]})
	check(t, [][]byte{long[:10], long})
	check(t, [][]byte{long, long[:chunk], long[:chunk+1], long[chunk:], long[:63], nil})
}

func TestNodes(t *testing.T) { each(func(name string) { testNodes(t, name) }) }

func testNodes(t *testing.T, way string) {
	row := make([][32]byte, 75)
	for i := range row {
		row[i] = [32]byte(noise(uint64(i), 32))
	}
	for n := range row {
		want := make([][32]byte, n/2)
		for i := range want {
			want[i] = sha256.Sum256(bytes.Join([][]byte{{1}, row[2*i][:], row[2*i+1][:]}, nil))
		}
		for name, dst := range map[string][][32]byte{"beside": make([][32]byte, n/2), "in place": bytesOf(row[:n])} {
			from := row[:n]
			if name == "in place" {
				from = dst
			}
			if got := Nodes(dst, from); got != n/2 {
				t.Fatalf("%s: %d nodes of %d", way, got, n)
			}
			for i := range want {
				if dst[i] != want[i] {
					t.Fatalf("%s, %s: node %d of a row of %d: wrong hash", way, name, i, n)
				}
			}
		}
	}
}

func bytesOf(row [][32]byte) [][32]byte { return append([][32]byte(nil), row...) }

func FuzzSums(f *testing.F) {
	f.Add([]byte("abc"), uint16(1), uint16(2), uint8(3))
	f.Add(noise(1, 300), uint16(64), uint16(119), uint8(40))
	f.Fuzz(func(t *testing.T, data []byte, a, b uint16, count uint8) {
		i, j := min(int(a), len(data)), min(int(b), len(data))
		messages := [][]byte{data, data[:i], data[j:], data[:j], data[i:]}
		for k := range int(count) % 60 {
			messages = append(messages, data[(k*i)%(len(data)+1):])
		}
		check(t, messages)
	})
}

func TestAllocates(t *testing.T) {
	messages, sums := [][]byte{noise(1, 200), noise(2, 70), noise(3, 500)}, make([][32]byte, 4)
	each(func(name string) {
		if n := testing.AllocsPerRun(100, func() { Sums(sums, messages); Nodes(sums, sums) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	})
}

func BenchmarkSums(b *testing.B) {
	for _, size := range []int{65, 200, 700, 64 << 10} {
		messages, sums := make([][]byte, 64), make([][32]byte, 64)
		for i := range messages {
			messages[i] = noise(uint64(i), size)
		}
		each(func(name string) {
			b.Run(strconv.Itoa(size)+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(size * len(messages)))
				for b.Loop() {
					Sums(sums, messages)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(messages)), "ns/message")
			})
		})
	}
}

func BenchmarkNodes(b *testing.B) {
	row := make([][32]byte, 128)
	each(func(name string) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Nodes(row, row)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(row)/2), "ns/node")
		})
	})
}
