package keyring

import (
	"bytes"
	"iter"

	"github.com/stelelog/stele/internal/keytrie"
)

// mergeFrom says from which run on the newest runs and what is added become one: the least i such that at least four
// runs are there or later, and the later ones with what is added weigh as much as run i. Without any it is the number of
// runs. So there are few runs, and an entry is written again as often as the whole can be doubled at most.
func mergeFrom(weights []uint64, added uint64) int {
	later := added
	from := len(weights)
	for i := len(weights) - 1; i >= 0; i-- {
		if len(weights)-i >= 4 && later >= weights[i] {
			from = i
		}
		later += weights[i]
	}
	return from
}

// union merges sorted sequences. A path that several have comes once; its value is that of the first.
func union(all ...iter.Seq2[keytrie.Entry, error]) iter.Seq2[keytrie.Entry, error] {
	switch len(all) {
	case 0:
		return func(func(keytrie.Entry, error) bool) {}
	case 1:
		return all[0]
	case 2:
		return union2(all[0], all[1])
	}
	return union2(union(all[:len(all)/2]...), union(all[len(all)/2:]...))
}

func union2(a, b iter.Seq2[keytrie.Entry, error]) iter.Seq2[keytrie.Entry, error] {
	return func(yield func(keytrie.Entry, error) bool) {
		next, stop := iter.Pull2(b)
		defer stop()
		y, err, more := next()
		for x, errX := range a {
			if errX != nil {
				yield(x, errX)
				return
			}
			for more && err == nil && bytes.Compare(y.Path, x.Path) < 0 {
				if !yield(y, nil) {
					return
				}
				y, err, more = next()
			}
			if more && err == nil && bytes.Equal(y.Path, x.Path) {
				y, err, more = next()
			}
			if more && err != nil {
				yield(y, err)
				return
			}
			if !yield(x, nil) {
				return
			}
		}
		for more {
			if !yield(y, err) || err != nil {
				return
			}
			y, err, more = next()
		}
	}
}

// listed is a sequence of entries in memory.
func listed(entries []keytrie.Entry) iter.Seq2[keytrie.Entry, error] {
	return func(yield func(keytrie.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}
