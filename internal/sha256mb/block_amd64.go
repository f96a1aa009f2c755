//go:build !purego

package sha256mb

import "crypto/fips140"

// native says that block2 works here.
var native = !fips140.Enabled() && hasSHA()

// hasSHA reports whether the processor has the instructions that block2 takes.
func hasSHA() bool {
	const (
		ssse3, sse41 = 1 << 9, 1 << 19 // ecx of leaf 1
		sha          = 1 << 29         // ebx of leaf 7
	)
	leaves, _, _ := cpuid(0)
	if leaves < 7 {
		return false
	}
	_, _, c := cpuid(1)
	_, b, _ := cpuid(7)
	return c&ssse3 != 0 && c&sse41 != 0 && b&sha != 0
}

// cpuid asks the processor what it can do: subleaf 0 of a leaf.
func cpuid(leaf uint32) (a, b, c uint32)

// block2 takes n blocks at p into the state a, and n blocks at q into the state b.
//
//go:noescape
func block2(a, b *[8]uint32, p, q *byte, n int)
