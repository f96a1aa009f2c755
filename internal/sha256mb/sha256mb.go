// Package sha256mb computes many SHA-256 hashes, several at once where the processor can (multi-buffer hashing).
//
// One hash is a chain of instructions that wait for each other, so half of a processor's capacity and nearly all of its
// vector units lie idle. Independent messages fill them. The functions in the assembly files do that, and the rest is Go:
//
//   - with SHA instructions two messages side by side, which cost little more than one;
//   - with AVX-512 and no SHA instructions 16 messages, or eight, in the lanes of vector registers;
//   - with AVX2 and neither of them eight messages.
//
// Other processors, builds with the tag purego, and processes in FIPS mode use crypto/sha256 for each message.
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

// way is how hashes are computed.
type way uint8

const (
	single  way = iota // crypto/sha256
	paired             // block2
	eight              // lanes8avx2
	sixteen            // lanes16, and lanes8 for up to eight
)

// lanes is how many messages are hashed at once.
func (w way) lanes() int {
	if w == eight {
		return 8
	}
	return most
}

// worth is how many lanes must be in use to be faster than crypto/sha256.
func (w way) worth() int {
	if w == eight {
		return 3
	}
	return 2
}

// Sums sets sums[i] to the SHA-256 of messages[i]. It does not allocate unless one message is longer by a kilobyte than all
// others. If the messages differ much in length, the long ones are best put first. Requires len(sums) >= len(messages).
func Sums[H ~[32]byte](sums []H, messages [][]byte) {
	switch {
	case native == single || len(messages) < native.worth():
		for i, m := range messages {
			sums[i] = H(sha256.Sum256(m))
		}
	case native == paired:
		pairSums(sums, messages)
	default:
		var l lanes
		fill(&l, sums, messages)
	}
}

// Nodes sets dst[i] to SHA-256(0x01 ‖ row[2i] ‖ row[2i+1]), which is the parent of two nodes of an RFC 6962 tree, for all
// whole pairs of row, and returns how many these are. dst may begin where row does. It does not allocate.
func Nodes[H ~[32]byte](dst, row []H) int {
	n, made := len(row)/2, 0
	switch {
	case native == paired:
		made = pairNodes(dst, row)
	case native != single && n >= native.worth():
		made = laneNodes(dst, row)
	}
	if made < n {
		p := newParent()
		for ; made < n; made++ {
			copy(p[1:], row[2*made][:])
			copy(p[1+sha256.Size:], row[2*made+1][:])
			dst[made] = H(sha256.Sum256(p[:parentSize]))
		}
	}
	return n
}

// parentSize is the length of what is hashed for the parent of two nodes.
const parentSize = 1 + 2*sha256.Size

// newParent is the blocks of that message, but for the hashes.
func newParent() (p [2 * blockSize]byte) {
	p[0], p[parentSize] = 0x01, 0x80
	binary.BigEndian.PutUint64(p[len(p)-8:], 8*parentSize)
	return p
}

// lane is what is still to be hashed of a message.
type lane struct {
	whole    []byte              // its whole blocks
	tail     [2 * blockSize]byte // what follows them, with the padding
	from, to int                 // what is left of the tail
}

func (l *lane) start(message []byte) {
	n := len(message) &^ (blockSize - 1)
	l.whole = message[:n]
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
		return len(l.whole) == 0 && l.from == l.to
	}
	l.from += n
	return l.from == l.to
}
