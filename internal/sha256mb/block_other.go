//go:build !amd64 || purego

package sha256mb

const native = false

func block2(a, b *[8]uint32, p, q *byte, n int) { panic("sha256mb: there is no block2 here") }
