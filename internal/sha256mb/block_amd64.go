//go:build !purego

package sha256mb

import "crypto/fips140"

// native is the way of this processor.
var native = fastest()

func fastest() way {
	if fips140.Enabled() {
		return single
	}
	return features().way()
}

// processor says which instructions there are, of those that the functions here take.
type processor struct{ sha, avx2, avx512 bool }

func (p processor) way() way {
	switch {
	case p.sha: // even beside AVX-512: two messages are enough for it, and the clock stays as it is
		return paired
	case p.avx512:
		return sixteen
	case p.avx2:
		return eight
	}
	return single
}

func features() processor {
	const osxsave = 1 << 27
	leaves, _, _ := cpuid(0)
	if leaves < 7 {
		return processor{}
	}
	_, _, c := cpuid(1)
	_, b, _ := cpuid(7)
	saved := uint32(0)
	if c&osxsave != 0 {
		saved = xgetbv()
	}
	return parse(c, b, saved)
}

// parse takes register ecx of leaf 1, ebx of leaf 7, and which registers the system saves. Without the last, what AVX
// computes would get lost when the system runs something else.
func parse(c, b, saved uint32) (p processor) {
	const (
		ssse3, sse41, avx = 1 << 9, 1 << 19, 1 << 28                      // ecx of leaf 1
		avx2, sha         = 1 << 5, 1 << 29                               // ebx of leaf 7
		avx512            = 1<<16 | 1<<30 | 1<<31                         // F, BW, VL
		ymm, zmm          = 1<<1 | 1<<2, 1<<1 | 1<<2 | 1<<5 | 1<<6 | 1<<7 // XCR0: SSE, AVX; masks, both halves of the rest
	)
	all := func(have, want uint32) bool { return have&want == want }
	p.sha = all(c, ssse3|sse41) && all(b, sha)
	p.avx2 = all(c, avx) && all(b, avx2) && all(saved, ymm)
	p.avx512 = p.avx2 && all(b, avx512) && all(saved, zmm)
	return p
}

// cpuid asks the processor what it can do: subleaf 0 of a leaf.
func cpuid(leaf uint32) (a, b, c uint32)

// xgetbv is the low half of XCR0: which registers the system saves.
func xgetbv() uint32

// blocks takes n blocks of each message into its state. Only so many lanes count; what lies behind them must be readable.
func blocks(states *[8][most]uint32, messages *[most]*byte, lanes, n int) {
	switch {
	case native == eight:
		lanes8avx2(states, messages, n)
	case lanes > 8:
		lanes16(states, messages, n)
	default:
		lanes8(states, messages, n)
	}
}

// block2 takes n blocks at p into the state a, and n blocks at q into the state b.
//
//go:noescape
func block2(a, b *[8]uint32, p, q *byte, n int)

//go:noescape
func lanes16(states *[8][most]uint32, messages *[most]*byte, n int)

//go:noescape
func lanes8(states *[8][most]uint32, messages *[most]*byte, n int)

//go:noescape
func lanes8avx2(states *[8][most]uint32, messages *[most]*byte, n int)
