package segment

import (
	"cmp"
	"math/bits"
	"slices"
)

// scopeList collects the scopes of rows. Rows hold places in it until finish, which finds the scopes that came more than
// once: that sorts, and the scopes must be sorted anyhow, so adding looks nothing up.
type scopeList struct {
	seen   [][16]byte // as they came; zero stands for rows without a scope
	keys   [][16]byte // each once, in the order in which they came; set by finish
	sorted []uint32   // codes by id; set by finish
	codes  []uint32   // of the places in seen: places in keys; set by finish

	places, spare []scopePlace
	buckets       []uint32
}

// scopePlace is a scope id as two numbers that sort as its bytes do, and its place in seen.
type scopePlace struct {
	high, low uint64
	place     uint32
}

func (l *scopeList) reset() {
	l.seen, l.keys, l.sorted = l.seen[:0], l.keys[:0], l.sorted[:0]
}

// add returns the place of a scope that a frame uses.
func (l *scopeList) add(id [16]byte) uint32 {
	l.seen = append(grow(l.seen, 1), id)
	return uint32(len(l.seen) - 1)
}

// finish gives each scope its code.
func (l *scopeList) finish() {
	l.sort()
	l.codes = grow(l.codes[:0], len(l.seen))[:len(l.seen)]
	l.sorted = grow(l.sorted[:0], len(l.seen))
	first := uint32(0)
	for i, p := range l.places {
		if i == 0 || p.high != l.places[i-1].high || p.low != l.places[i-1].low {
			first = p.place
			l.sorted = append(l.sorted, first)
		}
		l.codes[p.place] = first
	}
	l.keys = grow(l.keys[:0], len(l.sorted))
	for place, first := range l.codes {
		if int(first) == place {
			l.codes[place] = uint32(len(l.keys))
			l.keys = append(l.keys, l.seen[place])
		} else {
			l.codes[place] = l.codes[first]
		}
	}
	for i, place := range l.sorted {
		l.sorted[i] = l.codes[place]
	}
}

// sort fills places, by id and then by place. Ids are a day and random bits: the bits behind those that all have in
// common share them out to buckets of a few each.
func (l *scopeList) sort() {
	n := len(l.seen)
	l.places, l.spare = grow(l.places[:0], n)[:n], grow(l.spare[:0], n)[:n]
	differ := uint64(0)
	for i := range l.seen {
		id := &l.seen[i]
		l.spare[i] = scopePlace{be.Uint64(id[:]), be.Uint64(id[8:]), uint32(i)}
		differ |= l.spare[i].high ^ l.spare[0].high
	}
	width := min(bits.Len(uint(n)), 20)
	shift := max(bits.Len64(differ)-width, 0)
	mask := uint64(1)<<width - 1
	l.buckets = grow(l.buckets[:0], 1<<width+1)[:1<<width+1]
	clear(l.buckets)
	for i := range l.spare {
		l.buckets[l.spare[i].high>>shift&mask+1]++
	}
	for b := range mask {
		l.buckets[b+1] += l.buckets[b]
	}
	for i := range l.spare {
		at := &l.buckets[l.spare[i].high>>shift&mask]
		l.places[*at] = l.spare[i]
		*at++
	}
	start := uint32(0)
	for _, end := range l.buckets[:1<<width] {
		if end-start > 1 {
			slices.SortFunc(l.places[start:end], func(a, b scopePlace) int {
				return cmp.Or(cmp.Compare(a.high, b.high), cmp.Compare(a.low, b.low), cmp.Compare(a.place, b.place))
			})
		}
		start = end
	}
}
