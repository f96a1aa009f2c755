package sha256mb

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// Digest is a SHA-256 of a message that comes piece by piece, each beside something else that is to be hashed. The zero
// Digest is ready. It must not be copied once it was written to.
type Digest struct {
	state   [8]uint32
	rest    [blockSize]byte // what does not fill a block yet
	length  uint64
	started bool
	plain   hash.Hash // in place of all these where there is no block2
}

// Write adds p to the message. The error is always nil.
func (d *Digest) Write(p []byte) (int, error) {
	if bulk := d.take(p); len(bulk) > 0 {
		d.alone(bulk)
	}
	return len(p), nil
}

// Sum returns the SHA-256 of all that was written. Nothing may be written after it.
func (d *Digest) Sum() [sha256.Size]byte {
	if d.plain != nil {
		return [sha256.Size]byte(d.plain.Sum(nil))
	}
	if !d.started {
		return sha256.Sum256(nil)
	}
	var tail [2 * blockSize]byte
	n := copy(tail[:], d.rest[:d.length%blockSize])
	tail[n] = 0x80
	end := blockSize
	if n+1+8 > blockSize {
		end = 2 * blockSize
	}
	binary.BigEndian.PutUint64(tail[end-8:], 8*d.length)
	if native == paired {
		pairAlone(&d.state, tail[:end])
		return pairSum(&d.state)
	}
	few(&d.state, tail[:end])
	return sum(d.state)
}

// Both adds p to the messages of both d and e.
func Both(d, e *Digest, p []byte) {
	x, y := d.take(p), e.take(p)
	if native == paired {
		pairBoth(&d.state, &e.state, x, y)
		return
	}
	laneBoth(&d.state, &e.state, x, y)
}

// Beside adds p to the message of d, and sets sums[i] to the SHA-256 of messages[i]. Requires len(sums) >= len(messages).
func Beside[H ~[32]byte](d *Digest, p []byte, sums []H, messages [][]byte) {
	x := d.take(p)
	switch {
	case len(x) == 0 || len(messages) == 0:
		d.alone(x)
		Sums(sums, messages)
	case native == paired:
		pairBeside(&d.state, x, sums, messages)
	default:
		laneBeside(&d.state, x, sums, messages)
	}
}

// take counts p in, and returns the whole blocks that follow from it and are still to be hashed.
func (d *Digest) take(p []byte) (bulk []byte) {
	if native == single {
		if d.plain == nil {
			d.plain = sha256.New()
		}
		d.plain.Write(p)
		return nil
	}
	if !d.started {
		d.state, d.started = initial, true
		if native == paired {
			d.state = pairInitial
		}
	}
	if n := int(d.length % blockSize); n > 0 {
		k := copy(d.rest[n:], p)
		d.length += uint64(k)
		if p = p[k:]; n+k < blockSize {
			return nil
		}
		d.alone(d.rest[:])
	}
	n := len(p) &^ (blockSize - 1)
	d.length += uint64(len(p))
	copy(d.rest[:], p[n:])
	return p[:n]
}

// alone hashes blocks that have nothing beside them.
func (d *Digest) alone(blocks []byte) {
	if native == paired {
		pairAlone(&d.state, blocks)
		return
	}
	alone(&d.state, blocks)
}
