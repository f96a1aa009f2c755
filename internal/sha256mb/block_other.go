//go:build !amd64 || purego

package sha256mb

const native = single

func block2(a, b *[8]uint32, p, q *byte, n int) { panic("sha256mb: there is no block2 here") }

func blocks(states *[8][most]uint32, messages *[most]*byte, lanes, n int) {
	panic("sha256mb: there are no lanes here")
}
