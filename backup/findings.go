package backup

import (
	"slices"

	"github.com/stelelog/stele/internal/chain"
)

// maxListed is how many of a kind are listed one by one. The rest are counted: an archive may be wrecked from end to end.
const maxListed = 100

// findings are what a chain holds that it should not: the first of each kind, and how many there are.
type findings struct {
	list []chain.Finding
	n    map[chain.Kind]uint64
	next map[chain.Kind]uint64 // the number behind the highest of a kind
}

// add takes a finding in, once however often it is reported.
func (f *findings) add(x chain.Finding) {
	if f.n == nil {
		f.n, f.next = map[chain.Kind]uint64{}, map[chain.Kind]uint64{}
	}
	full := f.n[x.Kind] >= maxListed
	if full && x.N < f.next[x.Kind] || !full && slices.ContainsFunc(f.list, func(have chain.Finding) bool { return have.N == x.N && have.Kind == x.Kind }) {
		return
	}
	if !full {
		f.list = append(f.list, x)
	}
	f.n[x.Kind]++
	f.next[x.Kind] = max(f.next[x.Kind], x.N+1)
}

// unlisted is how many findings of a kind are not in the list.
func (f *findings) unlisted(kind chain.Kind) uint64 {
	if f.n[kind] <= maxListed {
		return 0
	}
	return f.n[kind] - maxListed
}
