//go:build unix

package seal

import (
	"bytes"
	"fmt"
	"syscall"
	"testing"
)

// cpu reports the processor time of the whole process for each of the operations that run after it, garbage collection
// included. The function it returns ends the count.
func cpu(b *testing.B) func() {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	start := used()
	return func() { b.ReportMetric(float64(used()-start)/float64(b.N), "cpu-ns/op") }
}

// chat returns n bytes of text with about the redundancy of a chat answer.
func chat(n int) []byte {
	words := []string{"the", "stone", "says", "that", "what", "is", "written", "stays", "model", "answer", "because", "and",
		"record", "of", "a", "question", "which", "nobody", "can", "change", "token", "context", "window", "therefore"}
	var b bytes.Buffer
	state := uint32(n)
	for b.Len() < n {
		state = state*1664525 + 1013904223
		fmt.Fprintf(&b, "%s%d ", words[state>>24%uint32(len(words))], state>>20&7)
	}
	return b.Bytes()[:n]
}

func benchFields(body []byte) *Fields {
	return &Fields{Body: [][]byte{body}, CallerID: []byte("req-7f3a"), ContentType: []byte("application/json"),
		Trace: AppendTrace(nil, make([]byte, 16), make([]byte, 8), make([]byte, 8)), Attributes: []byte(`{"gen_ai.request.model":"m"}`)}
}

func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{0, 1 << 10, 4600} {
		b.Run(fmt.Sprintf("body=%d", n), func(b *testing.B) {
			s, f := testScope(b), benchFields(chat(n))
			b.ReportAllocs()
			defer cpu(b)()
			for i := 0; b.Loop(); i++ {
				s.Commit(uint64(i), f)
			}
		})
	}
}

func benchBlock(b *testing.B, s *Scope, records int) *Block {
	block := new(Block)
	for i := range records {
		f := benchFields(chat(1<<10 + i))
		if err := block.Add(uint64(i), s.Commit(uint64(i), f), f, []Part{{Data: f.Body[0]}}); err != nil {
			b.Fatal(err)
		}
	}
	return block
}

func benchPackings(b *testing.B, run func(*testing.B, *Codec, *Scope, *Block, Packing)) {
	names := []string{"none", "s2", "zstd"}
	for _, records := range []int{1, 64} {
		for _, p := range packings {
			b.Run(fmt.Sprintf("records=%d/%s", records, names[p]), func(b *testing.B) {
				s, c := testScope(b), NewCodec(Options{})
				defer c.Close()
				block := benchBlock(b, s, records)
				b.ReportAllocs()
				b.SetBytes(int64(block.Len()))
				defer cpu(b)()
				run(b, c, s, block, p)
			})
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	benchPackings(b, func(b *testing.B, c *Codec, s *Scope, block *Block, p Packing) {
		var dst []byte
		var err error
		for b.Loop() {
			if dst, err = c.Seal(dst[:0], s, &Place{Class: "default"}, block, p); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(dst))/float64(block.Len()), "sealed/plain")
	})
}

func BenchmarkOpenParse(b *testing.B) {
	benchPackings(b, func(b *testing.B, c *Codec, s *Scope, block *Block, p Packing) {
		at := &Place{Class: "default"}
		sealed, err := c.Seal(nil, s, at, block, p)
		if err != nil {
			b.Fatal(err)
		}
		var plain []byte
		var parsed Plaintext
		for b.Loop() {
			if plain, err = c.Open(plain[:0], s, at, 0, sealed); err != nil {
				b.Fatal(err)
			}
			if err := parsed.Parse(plain); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkNewScope(b *testing.B) {
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		if _, err := NewScope([32]byte{}); err != nil {
			b.Fatal(err)
		}
	}
}
