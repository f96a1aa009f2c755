package chain

import (
	"iter"
	"maps"
	"slices"
)

// MaxListed is how many of a kind are listed one by one. The rest are counted: an archive may be wrecked from end to end.
const MaxListed = 100

// Findings are what a chain holds that it should not: the first of each kind, and how many there are.
type Findings struct {
	List []Finding
	n    map[Kind]uint64
	next map[Kind]uint64 // the number behind the highest of a kind
}

// Add takes a finding in, once however often it is reported.
func (f *Findings) Add(x Finding) {
	if f.n == nil {
		f.n, f.next = map[Kind]uint64{}, map[Kind]uint64{}
	}
	full := f.n[x.Kind] >= MaxListed
	if full && x.N < f.next[x.Kind] || !full && slices.ContainsFunc(f.List, func(have Finding) bool { return have.N == x.N && have.Kind == x.Kind }) {
		return
	}
	if !full {
		f.List = append(f.List, x)
	}
	f.n[x.Kind]++
	f.next[x.Kind] = max(f.next[x.Kind], x.N+1)
}

// Unlisted is how many findings of a kind are not in the list.
func (f *Findings) Unlisted(kind Kind) uint64 {
	if f.n[kind] <= MaxListed {
		return 0
	}
	return f.n[kind] - MaxListed
}

// Kinds iterates over the kinds that were found.
func (f *Findings) Kinds() iter.Seq[Kind] { return maps.Keys(f.n) }
