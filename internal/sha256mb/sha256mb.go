// Package sha256mb computes many SHA-256 hashes, two side by side where the processor can (multi-buffer hashing).
//
// One hash is a chain of instructions that wait for each other, so on a processor with SHA instructions half of the
// capacity lies idle. Two independent messages fill it: a pair costs little more than one. The function in
// block_amd64.s does that, and the rest is Go. Other processors, builds with the tag purego, and processes in FIPS mode
// use crypto/sha256 for each message.
//
// Pure: no I/O, no clock, no goroutines.
package sha256mb

import (
	"crypto/sha256"
	"encoding/binary"
)

const (
	blockSize = 64
	// chunk is how many bytes are hashed in one call at most: the runtime cannot stop a goroutine inside.
	chunk = 512 * blockSize
)

// Sums sets sums[i] to the SHA-256 of messages[i]. It does not allocate. If the messages differ much in length, the long
// ones are best put first. Requires len(sums) >= len(messages).
func Sums[H ~[32]byte](sums []H, messages [][]byte) {
	if !native || len(messages) < 2 {
		for i, m := range messages {
			sums[i] = H(sha256.Sum256(m))
		}
		return
	}
	var a, b lane
	a.start(messages[0])
	b.start(messages[1])
	for inA, inB, next := 0, 1, 2; ; {
		x, y := a.ahead(), b.ahead()
		n := min(len(x), len(y))
		block2(&a.state, &b.state, &x[0], &y[0], n/blockSize)
		endA, endB := a.advance(n), b.advance(n)
		if endA {
			sums[inA] = H(a.sum())
			if next < len(messages) {
				a.start(messages[next])
				inA, next, endA = next, next+1, false
			}
		}
		if endB {
			sums[inB] = H(b.sum())
			if next < len(messages) {
				b.start(messages[next])
				inB, next, endB = next, next+1, false
			}
		}
		switch {
		case endA && endB:
			return
		case endA:
			sums[inB] = H(b.alone())
			return
		case endB:
			sums[inA] = H(a.alone())
			return
		}
	}
}

// Nodes sets dst[i] to SHA-256(0x01 ‖ row[2i] ‖ row[2i+1]), which is the parent of two nodes of an RFC 6962 tree, for all
// whole pairs of row, and returns how many these are. dst may begin where row does. It does not allocate.
func Nodes[H ~[32]byte](dst, row []H) int {
	const (
		prefix = 0x01
		length = 1 + 2*sha256.Size
	)
	var a, b [2 * blockSize]byte
	for _, m := range [...]*[2 * blockSize]byte{&a, &b} {
		m[0], m[length] = prefix, 0x80
		binary.BigEndian.PutUint64(m[len(m)-8:], 8*length)
	}
	n, i := len(row)/2, 0
	for ; native && i+2 <= n; i += 2 {
		four := row[2*i:][:4]
		copy(a[1:], four[0][:])
		copy(a[1+sha256.Size:], four[1][:])
		copy(b[1:], four[2][:])
		copy(b[1+sha256.Size:], four[3][:])
		s, t := initial, initial
		block2(&s, &t, &a[0], &b[0], 2)
		dst[i], dst[i+1] = H(sum(&s)), H(sum(&t))
	}
	for ; i < n; i++ {
		copy(a[1:], row[2*i][:])
		copy(a[1+sha256.Size:], row[2*i+1][:])
		dst[i] = H(sha256.Sum256(a[:length]))
	}
	return n
}

// initial is the state before the first block. The words stand as the instructions want them: f e b a, h g d c.
var initial = [8]uint32{0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667, 0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372}

// sum is the hash that a state stands for.
func sum(state *[8]uint32) (h [sha256.Size]byte) {
	for i, word := range [8]uint32{state[3], state[2], state[7], state[6], state[1], state[0], state[5], state[4]} {
		binary.BigEndian.PutUint32(h[4*i:], word)
	}
	return h
}

// lane is a message that is being hashed.
type lane struct {
	state    [8]uint32
	whole    []byte              // what is left of its whole blocks
	tail     [2 * blockSize]byte // what follows them, with the padding
	from, to int                 // what is left of the tail
}

func (l *lane) start(message []byte) {
	n := len(message) &^ (blockSize - 1)
	l.state, l.whole = initial, message[:n]
	rest := copy(l.tail[:], message[n:])
	l.from, l.to = 0, blockSize
	if rest+1+8 > blockSize {
		l.to = 2 * blockSize
	}
	l.tail[rest] = 0x80
	clear(l.tail[rest+1 : l.to])
	binary.BigEndian.PutUint64(l.tail[l.to-8:], 8*uint64(len(message)))
}

// ahead are the next blocks, at least one.
func (l *lane) ahead() []byte {
	if len(l.whole) > 0 {
		return l.whole[:min(len(l.whole), chunk)]
	}
	return l.tail[l.from:l.to]
}

// advance steps over n bytes of what is ahead, and reports whether that was the end.
func (l *lane) advance(n int) bool {
	if len(l.whole) > 0 {
		l.whole = l.whole[n:]
		return false
	}
	l.from += n
	return l.from == l.to
}

func (l *lane) sum() [sha256.Size]byte { return sum(&l.state) }

// alone hashes what is left when there is no other message to do it with.
func (l *lane) alone() [sha256.Size]byte {
	var nothing [8]uint32
	for end := false; !end; {
		x := l.ahead()
		block2(&nothing, &l.state, &x[0], &x[0], len(x)/blockSize)
		end = l.advance(len(x))
	}
	return l.sum()
}
