package segment

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/sha256mb"
	"github.com/stelelog/stele/merkle"
)

// Sizes of what sections 4, 6 and 7 of the proof are made of.
const (
	runRows     = 256 // of a run, at most
	groupRuns   = 8   // of a group
	chunkGroups = 8   // of a chunk
	cutDigest   = 16  // bytes of a digest that is cut short
	groupHeader = 4
	groupItem   = 4 + 2 + cutDigest
	groupSize   = groupHeader + groupRuns*groupItem
	chunkSize   = chunkGroups * (cutDigest + groupSize)
	chunkRuns   = chunkGroups * groupRuns
)

const sameBlock = 32 // bit of a row

// runWriter makes sections 4, 6 and 7 of a proof from the rows of an index, given by scope.
type runWriter struct {
	runs  []byte   // section 7
	high  []uint64 // of each run: the first eight bytes of its scope
	items []byte   // of each run: what its group says of it

	inputs [][]byte // of digests that are not made yet: scope ‖ run ‖ rest, each in memory of its own
	unmade int
	sums   [groupRuns * chunkGroups]merkle.Hash

	run   []byte // scope ‖ run, in the making
	rest  []byte // what its digest is also over
	rows  int
	leaf  uint32 // of the row before
	slot  uint16
	class uint16
	block Block
}

func (w *runWriter) reset() {
	w.runs, w.high, w.items, w.rows, w.unmade = w.runs[:0], w.high[:0], w.items[:0], 0, 0
}

// size is about how many bytes sections 4 and 6 have, and not less.
func (w *runWriter) size() int {
	n := len(w.high)
	return (groupItem+6)*n + 64*(n/chunkRuns+2)
}

// scope starts with the runs of a scope. Scopes come sorted.
func (w *runWriter) scope(id *[16]byte) {
	w.end()
	w.run = append(w.run[:0], id[:]...)
}

// row adds row i of the columns of an index, or of a batch of one: that of a leaf, counted from the segment's first. Rows
// of a scope come in log order.
func (w *runWriter) row(c [][]byte, i int, leaf uint32) {
	if w.rows == runRows {
		w.end()
	}
	before := w.leaf
	if w.rows == 0 {
		before = 0
	}
	seq, slot, class := le.Uint64(c[colSeq][8*i:]), le.Uint16(c[colSlot][2*i:]), le.Uint16(c[colClass][2*i:])
	back := le.Uint16(c[colBack][2*i:])
	block := Block{le.Uint32(c[colOffset][4*i:]), le.Uint32(c[colLength][4*i:]), seq - uint64(back)}
	same := w.rows > 0 && block == w.block && class == w.class && slot == w.slot+1
	tag := c[colType][i]&3 | c[colKind][i]&7<<2
	if same {
		tag |= sameBlock
	}
	b := binary.AppendUvarint(w.run, uint64(leaf-before))
	b = append(binary.AppendUvarint(b, seq), tag, c[colFlags][i])
	b = append(append(b, c[colTime][8*i:][:8]...), c[colID][16*i:][:16]...)
	if !same {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(slot)), uint64(back))
		b = binary.AppendUvarint(le.AppendUint32(b, block.Offset), uint64(block.Length))
		w.rest = append(w.rest, c[colDigest][32*i:][:32]...)
	}
	w.rest = append(w.rest, c[colCommitment][32*i:][:32]...)
	w.run, w.leaf, w.slot, w.class, w.block = b, leaf, slot, class, block
	w.rows++
}

// end finishes the run in the making.
func (w *runWriter) end() {
	if w.rows == 0 {
		return
	}
	run := w.run[16:]
	w.high = append(grow(w.high, 1), be.Uint64(w.run))
	w.runs = append(grow(w.runs, len(run)), run...)
	w.items = append(grow(w.items, groupItem), w.run[checkFrom:checkTo]...)
	w.items = le.AppendUint16(w.items, uint16(len(run)))
	w.items = w.items[:len(w.items)+cutDigest]
	if w.unmade == len(w.inputs) {
		w.inputs = append(w.inputs, nil)
	}
	w.inputs[w.unmade] = append(append(w.inputs[w.unmade][:0], w.run...), w.rest...)
	if w.unmade++; w.unmade == len(w.sums) {
		w.digests()
	}
	w.run, w.rest, w.rows = w.run[:16], w.rest[:0], 0
}

// digests makes the digests of the last runs together: so they take half the time.
func (w *runWriter) digests() {
	sha256mb.Sums(w.sums[:], w.inputs[:w.unmade])
	first := len(w.items)/groupItem - w.unmade
	for i := range w.unmade {
		copy(w.items[groupItem*(first+i)+groupItem-cutDigest:], w.sums[i][:cutDigest])
	}
	w.unmade = 0
}

// appendScopes appends section 4, and appendGroups section 6, once all rows were given and their digests made.
func (w *runWriter) appendScopes(dst, groups []byte) []byte {
	n := len(w.high)
	dst = le.AppendUint32(dst, uint32(n))
	for at := 0; at < n; at += chunkRuns {
		digests := groups[at/chunkRuns*chunkSize:][:cutDigest*groupsOf(min(n-at, chunkRuns))]
		dst = appendCut(dst, digests)
	}
	last, shift := uint64(0), printShift(n)
	for _, high := range w.high {
		p := high >> shift
		dst = binary.AppendUvarint(dst, p-last)
		last = p
	}
	return dst
}

func (w *runWriter) appendGroups(dst []byte) []byte {
	offset, n := uint32(0), len(w.high)
	var room [cutDigest * chunkGroups]byte
	for at := 0; at < n; at += chunkRuns {
		runs := min(n-at, chunkRuns)
		digests := len(dst)
		dst = append(dst, room[:cutDigest*groupsOf(runs)]...)
		for g := 0; g < runs; g += groupRuns {
			group := len(dst)
			dst = le.AppendUint32(dst, offset)
			for k := at + g; k < at+min(g+groupRuns, runs); k++ {
				item := w.items[groupItem*k:][:groupItem]
				dst = append(dst, item...)
				offset += uint32(le.Uint16(item[4:]))
			}
			sum := sha256.Sum256(dst[group:])
			copy(dst[digests+g/groupRuns*cutDigest:], sum[:cutDigest])
		}
	}
	return dst
}

func groupsOf(runs int) int { return (runs + groupRuns - 1) / groupRuns }

func appendCut(dst, data []byte) []byte {
	sum := sha256.Sum256(data)
	return append(dst, sum[:cutDigest]...)
}

// printShift is by how many bits the first half of a scope id is moved to give its fingerprint, if there are n runs.
func printShift(n int) int { return max(64-20-bits.Len(uint(n)), 0) }

// Bytes of a scope id that a group repeats.
const (
	checkFrom = 10
	checkTo   = 14
)

// scopeOrder finds the rows of records and pieces of each scope, in log order, without a comparison.
type scopeOrder struct {
	ranks []uint32 // of scopes, by code
	ends  []uint32 // in rows, by rank
	rows  []uint32 // by scope
	taken uint32
}

// start takes the codes of all scopes, by id.
func (o *scopeOrder) start(sorted []uint32) {
	n := len(sorted)
	o.ranks, o.ends = grow(o.ranks[:0], n)[:n], grow(o.ends[:0], n+1)[:n+1]
	for rank, code := range sorted {
		o.ranks[code] = uint32(rank)
	}
	clear(o.ends)
	o.taken = 0
}

// count takes the columns of types and scope codes: all rows, then place them all again.
func (o *scopeOrder) count(types, codes []byte) {
	for i, t := range types {
		if hasBlock(record.Type(t)) {
			o.ends[o.ranks[le.Uint32(codes[4*i:])]+1]++
		}
	}
}

func (o *scopeOrder) place(types, codes []byte) {
	if o.taken == 0 {
		for rank := range o.ranks {
			o.ends[rank+1] += o.ends[rank]
		}
		n := int(o.ends[len(o.ranks)])
		o.rows = grow(o.rows[:0], n)[:n]
	}
	for i, t := range types {
		if hasBlock(record.Type(t)) {
			end := &o.ends[o.ranks[le.Uint32(codes[4*i:])]]
			o.rows[*end] = o.taken + uint32(i)
			*end++
		}
	}
	o.taken += uint32(len(types))
}

// write gives all rows to w. keys has the ids of scopes by code, at finds a row.
func (o *scopeOrder) write(w *runWriter, sorted []uint32, keys [][16]byte, at func(row uint32) (columns [][]byte, i int)) {
	w.reset()
	from := uint32(0)
	for rank, code := range sorted {
		end := o.ends[rank]
		if from < end {
			w.scope(&keys[code])
		}
		for _, row := range o.rows[from:end] {
			c, i := at(row)
			w.row(c, i, row)
		}
		from = end
	}
	w.end()
	w.digests()
}
