package benchtext

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// What the package says of the text is so: it does not repeat itself, and compresses as real answers do.
func TestTextIsAsReal(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	for size, want := range map[int]float64{1 << 10: 0.53, 4600: 0.45, 400 << 10: 0.35} {
		text, n := New(7), 2<<20/size
		packed, seen := 0, map[string]bool{}
		for range n {
			body := make([]byte, size)
			text.Fill(body)
			seen[string(body)] = true
			packed += len(enc.EncodeAll(body, nil))
		}
		if got := float64(packed) / float64(n*size); got < want-0.03 || got > want+0.03 {
			t.Errorf("%d bytes: zstd brings them to %.3f, want %.2f", size, got, want)
		}
		if len(seen) != n {
			t.Errorf("%d of %d bodies are different", len(seen), n)
		}
	}
	a, b := make([]byte, 10_000), make([]byte, 10_000)
	New(7).Fill(a)
	New(7).Fill(b)
	if !bytes.Equal(a, b) {
		t.Error("one seed, two texts")
	}
}
