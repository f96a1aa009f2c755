package ngram

import "slices"

// order is the length of the longest n-gram: three tokens of context and the
// one they predict.
const order = 4

// maxSuccessors bounds the work for one token: a context keeps its most
// frequent successors, the weight of the others goes to the shorter context.
const maxSuccessors = 64

// A window is order consecutive ids packed into an integer, the first in the
// highest 16 bits, so that sorting windows sorts n-grams. Missing ids are 0.

// windows appends one window for each id of the sequence that can start an
// n-gram. None runs past an unknown token or the end of a passage.
func windows(dst []uint64, ids []id, end id) []uint64 {
	for i, first := range ids {
		if first == unknown {
			continue
		}
		w := uint64(first) << 48
		for n := 1; n < order && i+n < len(ids) && ids[i+n] != unknown; n++ {
			w |= uint64(ids[i+n]) << (48 - 16*n)
			if ids[i+n] == end {
				break
			}
		}
		dst = append(dst, w)
	}
	return dst
}

// successor is a token that followed a context, and how often.
type successor struct {
	token id
	count uint32
}

// node is what a table knows of one context.
type node struct {
	start uint32 // of its successors
	n     uint16
	kept  uint32 // sum of the kept successors' counts
	// escape is the weight of the next shorter context: the number of distinct
	// successors (Witten and Bell) and the counts of those not kept.
	escape uint32
}

// table holds the contexts of one length.
type table struct {
	keys       []uint64 // sorted; the ids of the context, in the high bits
	contexts   []node
	successors []successor // of each context, bounded by maxSuccessors
}

// newTable counts the successors of all contexts of the given length (1 to
// order-1) in sorted windows.
func newTable(sorted []uint64, length int) table {
	var t table
	var (
		keyMask  = ^uint64(0) << (64 - 16*length)
		nextBits = 48 - 16*length
		scratch  []successor
	)
	for i := 0; i < len(sorted); {
		key := sorted[i] & keyMask
		scratch = scratch[:0]
		for i < len(sorted) && sorted[i]&keyMask == key {
			next := id(sorted[i] >> nextBits)
			first := i
			for i < len(sorted) && sorted[i]&keyMask == key && id(sorted[i]>>nextBits) == next {
				i++
			}
			if next != unknown {
				scratch = append(scratch, successor{next, uint32(i - first)})
			}
		}
		if len(scratch) > 0 {
			t.add(key, scratch)
		}
	}
	return t
}

// add appends a context; list is reordered.
func (t *table) add(key uint64, list []successor) {
	distinct, total := uint32(len(list)), uint32(0)
	for _, s := range list {
		total += s.count
	}
	if len(list) > maxSuccessors {
		slices.SortFunc(list, func(a, b successor) int {
			if a.count != b.count {
				return int(b.count) - int(a.count)
			}
			return int(a.token) - int(b.token)
		})
		list = list[:maxSuccessors]
	}
	kept := uint32(0)
	for _, s := range list {
		kept += s.count
	}
	t.keys = append(t.keys, key)
	t.contexts = append(t.contexts, node{
		start:  uint32(len(t.successors)),
		n:      uint16(len(list)),
		kept:   kept,
		escape: distinct + total - kept,
	})
	t.successors = append(t.successors, list...)
}

// find returns what is known of a context.
func (t *table) find(key uint64) (node, []successor, bool) {
	i, ok := slices.BinarySearch(t.keys, key)
	if !ok {
		return node{}, nil, false
	}
	c := t.contexts[i]
	return c, t.successors[c.start : c.start+uint32(c.n)], true
}

// tables holds one table for each length of context, the shortest first.
type tables [order - 1]table

// count builds the tables of windows, which it sorts.
func count(w []uint64) *tables {
	slices.Sort(w)
	var t tables
	for n := range t {
		t[n] = newTable(w, n+1)
	}
	return &t
}
