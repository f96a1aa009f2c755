package sha256mb

import (
	"crypto/sha256"
	"encoding/binary"
)

// pairInitial is the state before the first block. The words stand as block2 wants them: f e b a, h g d c.
var pairInitial = [8]uint32{0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667, 0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372}

// pairSum is the hash that a state stands for.
func pairSum(state *[8]uint32) (h [sha256.Size]byte) {
	for i, word := range [8]uint32{state[3], state[2], state[7], state[6], state[1], state[0], state[5], state[4]} {
		binary.BigEndian.PutUint32(h[4*i:], word)
	}
	return h
}

// half is one of two messages that are hashed side by side.
type half struct {
	state [8]uint32
	lane
}

func (h *half) start(message []byte) {
	h.state = pairInitial
	h.lane.start(message)
}

func (h *half) sum() [sha256.Size]byte { return pairSum(&h.state) }

// alone hashes what is left when there is no other message to do it with.
func (h *half) alone() [sha256.Size]byte {
	for end := false; !end; {
		x := h.ahead()
		pairAlone(&h.state, x)
		end = h.advance(len(x))
	}
	return h.sum()
}

// pairAlone hashes blocks that have nothing beside them.
func pairAlone(state *[8]uint32, blocks []byte) {
	var nothing [8]uint32
	for len(blocks) > 0 {
		n := min(len(blocks), chunk)
		block2(&nothing, state, &blocks[0], &blocks[0], n/blockSize)
		blocks = blocks[n:]
	}
}

// pairSums is Sums, for two messages and more.
func pairSums[H ~[32]byte](sums []H, messages [][]byte) {
	var a, b half
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

// pairNodes is Nodes for an even number of parents, and returns how many it made.
func pairNodes[H ~[32]byte](dst, row []H) (made int) {
	a, b := newParent(), newParent()
	for ; made+2 <= len(row)/2; made += 2 {
		four := row[2*made:][:4]
		copy(a[1:], four[0][:])
		copy(a[1+sha256.Size:], four[1][:])
		copy(b[1:], four[2][:])
		copy(b[1+sha256.Size:], four[3][:])
		s, t := pairInitial, pairInitial
		block2(&s, &t, &a[0], &b[0], 2)
		dst[made], dst[made+1] = H(pairSum(&s)), H(pairSum(&t))
	}
	return made
}

// pairBoth takes blocks into two states.
func pairBoth(s, t *[8]uint32, x, y []byte) {
	for len(x) > 0 && len(y) > 0 {
		n := min(len(x), len(y), chunk)
		block2(s, t, &x[0], &y[0], n/blockSize)
		x, y = x[n:], y[n:]
	}
	pairAlone(s, x)
	pairAlone(t, y)
}

// pairBeside takes the blocks x, of which there are some, into a state, and hashes messages, at least one.
func pairBeside[H ~[32]byte](state *[8]uint32, x []byte, sums []H, messages [][]byte) {
	var b half
	b.start(messages[0])
	at := 0
	for len(x) > 0 {
		y := b.ahead()
		n := min(len(x), len(y), chunk)
		block2(state, &b.state, &x[0], &y[0], n/blockSize)
		x = x[n:]
		if !b.advance(n) {
			continue
		}
		sums[at] = H(b.sum())
		if at++; at == len(messages) {
			pairAlone(state, x)
			return
		}
		b.start(messages[at])
	}
	sums[at] = H(b.alone())
	Sums(sums[at+1:], messages[at+1:])
}
