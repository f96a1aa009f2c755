package keytrie

import (
	"slices"

	"github.com/stelelog/stele/internal/sha256mb"
	"github.com/stelelog/stele/merkle"
)

// late is the commitment of a node that has its place in a pack before it has its hash: nodes are hashed several at once,
// level by level from the leaves up.
type late struct {
	hash  merkle.Hash // zeros until it is known
	known bool
	level int // above those children that are late themselves
}

// hash is the commitment of a node; zeros while it is not known.
func (r *Root) hash() *merkle.Hash {
	if r.late != nil {
		return &r.late.hash
	}
	return &r.Hash
}

// laid is a node in the buffer of a Writer, in clear, without the commitments of children that are late.
type laid struct {
	begin, links, secret, end int // where its parts begin; its tag goes before the end
	key                       [KeySize]byte
	late                      *late // nil in a hidden trie
	holes                     []hole
}

// hole is where in the buffer a commitment is missing.
type hole struct {
	at int
	of *late
}

// maxLaid is how many nodes wait for each other to be hashed. Nine in ten of them are on the two lowest levels.
const maxLaid = 512

// lay keeps a node of an open trie until it is hashed.
func (w *Writer) lay(n *node, x laid, r *Root) {
	x.late = new(late)
	at := x.begin + innerHead + (len(n.skip)+1)/2
	for i := range n.slots {
		s := &n.slots[i]
		if s.late != nil && !s.late.known {
			x.holes = append(x.holes, hole{at, s.late})
			x.late.level = max(x.late.level, s.late.level+1)
		}
		at += merkle.HashSize + uvLen(s.Count)
	}
	r.late = x.late
	w.laid = append(w.laid, x)
}

// settle hashes and seals all nodes that were laid down.
func (w *Writer) settle() error {
	for level, done := 0, 0; done < len(w.laid); level++ {
		done += w.settleLevel(level)
	}
	for i := 0; i < len(w.laid) && w.err == nil; i++ {
		w.err = w.seal(&w.laid[i])
	}
	clear(w.laid) // there are keys in it
	w.laid = w.laid[:0]
	return w.err
}

// settleLevel hashes the nodes of a level, and returns how many there are.
func (w *Writer) settleLevel(level int) int {
	w.row = w.row[:0]
	for i := range w.laid {
		x := &w.laid[i]
		if x.late.level != level {
			continue
		}
		for _, h := range x.holes {
			copy(w.buf[h.at:], h.of.hash[:])
		}
		w.row = append(w.row, x.late)
		w.commits.add(w.buf[x.begin:x.links])
	}
	for i, sum := range w.commits.sum() {
		w.row[i].hash, w.row[i].known = sum, true
	}
	return len(w.row)
}

// seal encrypts the secret of a node where it lies.
func (w *Writer) seal(x *laid) error {
	aead, err := nodeCipher(&x.key)
	if err != nil {
		return err
	}
	var hash merkle.Hash
	if x.late != nil {
		hash = x.late.hash
	}
	w.aad = appendNodeAAD(w.aad[:0], w.archive, &hash)
	aead.Seal(w.buf[x.secret:x.secret], zeroNonce[:], w.buf[x.secret:x.end-tagSize], w.aad)
	return nil
}

// commits computes commitments of many shapes at once.
type commits struct {
	text  []byte
	ends  []int
	parts [][]byte
	sums  []merkle.Hash
}

func (c *commits) add(shape []byte) {
	c.text = append(append(c.text, commitLabel...), shape...)
	c.ends = append(c.ends, len(c.text))
}

// sum returns the commitments of what was added, in that order, and begins again. They stay until the next call.
func (c *commits) sum() []merkle.Hash {
	c.parts = c.parts[:0]
	begin := 0
	for _, end := range c.ends {
		c.parts = append(c.parts, c.text[begin:end])
		begin = end
	}
	c.sums = slices.Grow(c.sums[:0], len(c.parts))[:len(c.parts)]
	sha256mb.Sums(c.sums, c.parts)
	c.text, c.ends = c.text[:0], c.ends[:0]
	return c.sums
}
