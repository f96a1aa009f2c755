package merkle

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/stelelog/stele/internal/sha256mb"
)

const (
	// batch is how many leaves are hashed level by level at a time where no
	// rows are kept; half as many hashes of scratch stay on the stack.
	batch = 128

	frontierMagic  = "STLT\x01\x00\x00\x00" // name, version, padding
	frontierHeader = len(frontierMagic) + 8 // and the size
)

// Frontier is the right edge of a growing tree: the compact range [0, Size),
// which is the roots of the perfect subtrees that its leaves split into, one
// for each bit set in Size. It is all that is needed to append leaves and to
// compute the root, and never more than 63 hashes.
//
// The zero Frontier is the empty tree. A Frontier holds no pointers: assignment
// copies it, and == tells whether two are the same tree.
type Frontier struct {
	size uint64
	// edge[l] is the root of the perfect subtree of 1<<l leaves that ends where
	// bit l of size is added. It is zero where size has no bit l, which keeps
	// equal trees equal under ==.
	edge [64]Hash
}

// NewFrontier restores the frontier of a tree of size leaves from the hashes
// that [Frontier.Hashes] returned for it. It fails if size is over 2^63-1 or
// the number of hashes is not the number of bits set in size. It cannot tell
// whether the hashes are the right ones: compare [Frontier.Root] with a root
// that is trusted.
func NewFrontier(size uint64, hashes []Hash) (Frontier, error) {
	if err := checkSize("frontier", size); err != nil {
		return Frontier{}, err
	}
	if want := bits.OnesCount64(size); len(hashes) != want {
		return Frontier{}, invalidf("frontier: %d hashes for size %d, want %d", len(hashes), size, want)
	}
	f := Frontier{size: size}
	for i, rest := 0, size; rest != 0; i++ {
		level := bits.Len64(rest) - 1
		f.edge[level] = hashes[i]
		rest &^= 1 << level
	}
	return f, nil
}

// Size returns the number of leaves.
func (f *Frontier) Size() uint64 { return f.size }

// Root returns the root hash of the tree, [EmptyRoot] if it has no leaves. It
// does not allocate.
func (f *Frontier) Root() Hash {
	if f.size == 0 {
		return EmptyRoot()
	}
	low := bits.TrailingZeros64(f.size)
	root := f.edge[low]
	for rest := f.size &^ (1 << low); rest != 0; rest &= rest - 1 {
		root = NodeHash(f.edge[bits.TrailingZeros64(rest)], root)
	}
	return root
}

// Hashes returns the compact range from left to right, that is the largest
// subtree first: one hash for each bit set in Size, from the highest.
func (f *Frontier) Hashes() []Hash {
	hashes := make([]Hash, 0, bits.OnesCount64(f.size))
	for level := bits.Len64(f.size) - 1; level >= 0; level-- {
		if f.size>>level&1 == 1 {
			hashes = append(hashes, f.edge[level])
		}
	}
	return hashes
}

// Append adds leaf hashes at the end of the tree. It does not allocate, and
// computes every interior node that it completes once: about one hash a leaf.
func (f *Frontier) Append(leaves ...Hash) {
	var scratch [batch / 2]Hash
	for len(leaves) > 0 {
		row := leaves[:min(batch, len(leaves))]
		leaves = leaves[len(row):]
		size := f.size + uint64(len(row))
		for level := 0; len(row) > 0; level++ {
			// The parents overwrite the row they are made from, which is
			// safe: a parent is written at or before its first child.
			row = f.climb(scratch[:0], level, row)
		}
		f.size = size
	}
}

// AppendNode adds a perfect subtree of 1<<level leaves by its hash at the end of
// the tree, as its leaves would. It fails, and changes nothing, if the size is
// no multiple of that, or would become larger than 2^63-1. It cannot tell
// whether the hash is the right one: compare [Frontier.Root] with a root that
// is trusted.
func (f *Frontier) AppendNode(level int, hash Hash) error {
	if level < 0 || level > 62 || f.size&(1<<level-1) != 0 || f.size > 1<<63-1-1<<level {
		return invalidf("frontier: no node of level %d fits at the end of %d leaves", level, f.size)
	}
	var scratch [1]Hash
	size := f.size + 1<<level
	for row := []Hash{hash}; len(row) > 0; level++ {
		row = f.climb(scratch[:0], level, row)
	}
	f.size = size
	return nil
}

// AppendLevels adds leaf hashes at the end of the tree as [Frontier.Append]
// does, and keeps what it completes: it appends the leaves to levels[0] and
// the hashes of the nodes of level l that became complete to levels[l], adding
// rows as needed, and returns the extended slice as append does.
//
// Growing a tree from a to b leaves completes in level l exactly the nodes
// with indexes a>>l to (b>>l)-1, in this order and without holes. A caller
// that starts with empty rows at size a therefore finds [Node]{l, i} at
// levels[l][i-a>>l], over any number of calls. Rows that grew to their size
// once can be passed again cut to length 0; then nothing is allocated.
func (f *Frontier) AppendLevels(levels [][]Hash, leaves ...Hash) [][]Hash {
	if len(leaves) == 0 {
		return levels
	}
	if len(levels) == 0 {
		levels = append(levels, nil)
	}
	levels[0] = append(levels[0], leaves...)
	size := f.size + uint64(len(leaves))
	row := leaves
	for level := 0; len(row) > 0; level++ {
		parents := int(size>>(level+1) - f.size>>(level+1))
		if parents == 0 {
			f.climb(nil, level, row) // the one node of row waits on the edge
			break
		}
		if level+1 == len(levels) {
			levels = append(levels, nil)
		}
		kept := len(levels[level+1])
		levels[level+1] = f.climb(slices.Grow(levels[level+1], parents), level, row)
		row = levels[level+1][kept:]
	}
	f.size = size
	return levels
}

// climb takes row, the next nodes of level, pairs them with each other and
// with the node that waits on the edge, and appends their parents to dst. What
// remains without a sibling waits on the edge. f.size is the size before the
// batch that row is part of.
func (f *Frontier) climb(dst []Hash, level int, row []Hash) []Hash {
	if f.size>>level&1 == 1 {
		dst = append(dst, NodeHash(f.edge[level], row[0]))
		row = row[1:]
		f.edge[level] = Hash{}
	}
	at, pairs := len(dst), len(row)/2
	dst = slices.Grow(dst, pairs)[:at+pairs]
	if len(row)%2 == 1 {
		f.edge[level] = row[len(row)-1] // before the parents overwrite it
	}
	sha256mb.Nodes(dst[at:], row)
	return dst
}

// Root returns the root of the tree over leaves, [EmptyRoot] if there are none.
// It does not allocate, changes nothing, and takes about one node hash a leaf.
func Root(leaves []Hash) Hash {
	switch len(leaves) {
	case 0:
		return EmptyRoot()
	case 1:
		return leaves[0]
	}
	var f Frontier
	f.Append(leaves...)
	return f.Root()
}

// AppendBinary appends the binary form of f to b (docs/formats/tree.md): a
// header with the version, the size and the compact range. It implements
// [encoding.BinaryAppender]; the error is always nil.
func (f *Frontier) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, frontierMagic...)
	b = binary.LittleEndian.AppendUint64(b, f.size)
	for level := bits.Len64(f.size) - 1; level >= 0; level-- {
		if f.size>>level&1 == 1 {
			b = append(b, f.edge[level][:]...)
		}
	}
	return b, nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler] for the form that
// [Frontier.AppendBinary] writes, with the checks of [NewFrontier]. It leaves f
// unchanged when it fails.
func (f *Frontier) UnmarshalBinary(data []byte) error {
	if len(data) < frontierHeader {
		return invalidf("frontier of %d bytes, want at least %d", len(data), frontierHeader)
	}
	if magic := string(data[:len(frontierMagic)]); magic != frontierMagic {
		return invalidf("frontier starts with %q, want %q", magic, frontierMagic)
	}
	size := binary.LittleEndian.Uint64(data[len(frontierMagic):])
	packed := data[frontierHeader:]
	if want := bits.OnesCount64(size) * HashSize; len(packed) != want {
		return invalidf("frontier: %d bytes of hashes for size %d, want %d", len(packed), size, want)
	}
	hashes := make([]Hash, len(packed)/HashSize)
	for i := range hashes {
		hashes[i] = Hash(packed[i*HashSize:])
	}
	restored, err := NewFrontier(size, hashes)
	if err != nil {
		return err
	}
	*f = restored
	return nil
}
