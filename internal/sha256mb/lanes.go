package sha256mb

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"hash"
	"math/bits"
)

const (
	most = 16 // lanes
	// long is how much of a message is finished with crypto/sha256 once nothing is left beside it. That allocates.
	long = 16 * blockSize
	// itself is the number of the message that a Digest is.
	itself = -1
)

// initial is the state before the first block.
var initial = [8]uint32{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}

// lanes are messages that are hashed at once: the first n lanes are in use.
type lanes struct {
	states [8][most]uint32 // word by word
	lane   [most]lane
	number [most]int // of the message in each lane
	n      int
	width  int // how many are used at most
}

// start puts a message into a lane.
func (l *lanes) start(i, number int, message []byte) {
	l.lane[i].start(message)
	l.number[i] = number
	l.setState(i, initial)
}

func (l *lanes) setState(i int, state [8]uint32) {
	for w, v := range state {
		l.states[w][i] = v
	}
}

func (l *lanes) state(i int) (state [8]uint32) {
	for w := range state {
		state[w] = l.states[w][i]
	}
	return state
}

// free takes the message out of a lane, and puts the last one there.
func (l *lanes) free(i int) {
	l.n--
	if i == l.n {
		return
	}
	l.setState(i, l.state(l.n))
	l.lane[i], l.number[i] = l.lane[l.n], l.number[l.n]
}

// widen decides how many lanes are used. Eight take less time for each block than 16: where one message is about as long
// as an eighth of all together, it decides how long all take.
func (l *lanes) widen(messages [][]byte) {
	longest := len(l.lane[0].whole)
	total := longest
	for _, m := range messages {
		longest, total = max(longest, len(m)), total+len(m)
	}
	l.width = native.lanes()
	if l.width > 8 && longest >= total/8 {
		l.width = 8
	}
}

// step hashes as many blocks as all lanes have ahead. The lanes that come to their end are the bits that are set.
func (l *lanes) step() (ended uint) {
	var at [most]*byte
	n := chunk
	for i := range l.n {
		x := l.lane[i].ahead()
		at[i], n = &x[0], min(n, len(x))
	}
	for i := l.n; i < most; i++ {
		at[i] = at[0] // hashed for nothing
	}
	blocks(&l.states, &at, l.n, n/blockSize)
	for i := range l.n {
		if l.lane[i].advance(n) {
			ended |= 1 << i
		}
	}
	return ended
}

// fill hashes messages, beside what is in the lanes already, and returns the state that a Digest among them has come to.
func fill[H ~[32]byte](l *lanes, sums []H, messages [][]byte) (own [8]uint32) {
	next := 0
	for l.widen(messages); l.n < l.width && next < len(messages); next++ {
		l.start(l.n, next, messages[next])
		l.n++
	}
	for l.n >= native.worth() {
		ended := l.step()
		for ended != 0 { // from the last lane down, so that free moves none that has ended
			i := bits.Len(ended) - 1
			ended &^= 1 << i
			put(sums, l.number[i], l.state(i), &own)
			if next < len(messages) {
				l.start(i, next, messages[next])
				next++
			} else {
				l.free(i)
			}
		}
	}
	for i := range l.n {
		state, rest := l.state(i), &l.lane[i]
		alone(&state, rest.whole)
		few(&state, rest.tail[rest.from:rest.to])
		put(sums, l.number[i], state, &own)
	}
	return own
}

func put[H ~[32]byte](sums []H, number int, state [8]uint32, own *[8]uint32) {
	if number == itself {
		*own = state
		return
	}
	sums[number] = H(sum(state))
}

// sum is the hash that a state stands for.
func sum(state [8]uint32) (h [sha256.Size]byte) {
	for i, word := range state {
		binary.BigEndian.PutUint32(h[4*i:], word)
	}
	return h
}

// laneNodes is Nodes but for a few parents at the end, and returns how many it made.
func laneNodes[H ~[32]byte](dst, row []H) (made int) {
	var parents [most][2 * blockSize]byte
	var at [most]*byte
	count := len(row) / 2
	for i := range min(count, native.lanes()) {
		parents[i] = newParent()
	}
	for count-made >= native.worth() {
		n := min(count-made, native.lanes())
		var states [8][most]uint32
		for w, v := range initial {
			for i := range states[w] {
				states[w][i] = v
			}
		}
		for i := range at {
			at[i] = &parents[min(i, n-1)][0]
		}
		for i := range n {
			copy(parents[i][1:], row[2*(made+i)][:])
			copy(parents[i][1+sha256.Size:], row[2*(made+i)+1][:])
		}
		blocks(&states, &at, n, 2)
		for i := range n {
			var h [sha256.Size]byte
			for w := range states {
				binary.BigEndian.PutUint32(h[4*w:], states[w][i])
			}
			dst[made+i] = H(h)
		}
		made += n
	}
	return made
}

// laneBeside takes the blocks x, of which there are some, into a state, and hashes messages.
func laneBeside[H ~[32]byte](state *[8]uint32, x []byte, sums []H, messages [][]byte) {
	var l lanes
	l.setState(0, *state)
	l.lane[0].whole, l.number[0], l.n = x, itself, 1
	*state = fill(&l, sums, messages)
}

// laneBoth takes blocks into two states.
func laneBoth(s, t *[8]uint32, x, y []byte) {
	if n := min(len(x), len(y)); native.worth() <= 2 && n > 0 {
		var states [8][most]uint32
		for w := range states {
			states[w][0], states[w][1] = s[w], t[w]
		}
		for ; n > 0; n = min(len(x), len(y), chunk) {
			at := [most]*byte{&x[0], &y[0]}
			for i := 2; i < most; i++ {
				at[i] = &x[0]
			}
			n = min(n, chunk)
			blocks(&states, &at, 2, n/blockSize)
			x, y = x[n:], y[n:]
		}
		for w := range states {
			s[w], t[w] = states[w][0], states[w][1]
		}
	}
	alone(s, x)
	alone(t, y)
}

// alone takes blocks that have nothing beside them into a state: as crypto/sha256 does it, if they are worth the way there.
func alone(state *[8]uint32, p []byte) {
	if len(p) < long {
		few(state, p)
		return
	}
	h := resume(state)
	for len(p) > 0 {
		n := min(len(p), chunk)
		h.Write(p[:n])
		p = p[n:]
	}
	leave(h, state)
}

// few takes a few blocks into a state.
func few(state *[8]uint32, p []byte) {
	if len(p) == 0 {
		return
	}
	var states [8][most]uint32
	var at [most]*byte
	for w, v := range state {
		states[w][0] = v
	}
	for i := range at {
		at[i] = &p[0]
	}
	blocks(&states, &at, 1, len(p)/blockSize)
	for w := range state {
		state[w] = states[w][0]
	}
}

// plainHash is a SHA-256 of crypto/sha256.
type plainHash interface {
	hash.Hash
	encoding.BinaryUnmarshaler
	encoding.BinaryAppender
}

// magic is what crypto/sha256 writes before a state. Behind it are the words, a block that is not complete, and the length.
const (
	magic     = "sha\x03"
	savedSize = len(magic) + sha256.Size + blockSize + 8
)

// resume goes on from a state between two blocks. The length of what came before it is not known, so it has no Sum.
func resume(state *[8]uint32) plainHash {
	h := sha256.New().(plainHash)
	saved := append(make([]byte, 0, savedSize), magic...)
	for _, word := range state {
		saved = binary.BigEndian.AppendUint32(saved, word)
	}
	if err := h.UnmarshalBinary(saved[:savedSize]); err != nil {
		panic("sha256mb: crypto/sha256 saves its state in another form: " + err.Error())
	}
	return h
}

// leave gets the state back.
func leave(h plainHash, state *[8]uint32) {
	saved, err := h.AppendBinary(make([]byte, 0, savedSize))
	if err != nil || len(saved) != savedSize {
		panic("sha256mb: crypto/sha256 saves its state in another form")
	}
	for i := range state {
		state[i] = binary.BigEndian.Uint32(saved[len(magic)+4*i:])
	}
}
