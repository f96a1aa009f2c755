// Package keyring is the wrapped keys of an archive in erasable tries: which paths there are and what their values mean,
// how grants become keys, how runs are merged, what an erasure takes and leaves, and how both are checked before anything
// is destroyed. The format is docs/formats/keys.md.
//
// A [Ring] is one version of all keys, a list of runs; it does not change. [Ring.Fold] and [Ring.Erase] make the next
// version and write packs for it; it counts when a root record names it (package keyroot), and not before. Everything is
// pure but for reading packs through keytrie.Source and what a keytrie.Writer puts. There is no clock: days, weeks and
// times are passed in.
package keyring

import (
	"errors"
	"fmt"

	"github.com/stelelog/stele/internal/keytrie"
)

var (
	// ErrCorrupt is wrapped by errors about tries that do not hold what they must: a value that does not parse, a key
	// that does not give the check in its path, tags that no scope has.
	ErrCorrupt = errors.New("keyring: tries are not what they must be")

	// ErrGate is wrapped by every error of [Gate] and [CheckFold]: nothing may be destroyed.
	ErrGate = errors.New("keyring: the new version is not what it must be; nothing may be destroyed")
)

// MaxRuns is how many runs a ring may have. A fold, also an empty one, merges some.
const MaxRuns = 64

// Run is a key trie and the index trie that belongs to it.
type Run struct {
	Keys  keytrie.Root // open
	Index keytrie.Root // hidden
	Packs []uint64     // ascending; at least those with nodes of the two
}

// Ring is one version of all keys. Packs reads what the runs lead to.
type Ring struct {
	Archive [16]byte
	Packs   keytrie.Source
	Runs    []Run

	keyCache, indexCache *keytrie.Cache
}

// Cached returns the ring with room for opened nodes, in bytes of memory, for the steps of one operation: to find, erase
// and compare reads the same nodes again and again. It holds keys in memory; drop it afterwards.
func (r *Ring) Cached(bytes int) *Ring {
	c := *r
	c.keyCache, c.indexCache = keytrie.NewCache(bytes/2), keytrie.NewCache(bytes/2)
	return &c
}

func (r *Ring) keys() *keytrie.Trie {
	return &keytrie.Trie{Archive: r.Archive, Source: r.Packs, Cache: r.keyCache}
}

func (r *Ring) index() *keytrie.Trie {
	return &keytrie.Trie{Archive: r.Archive, Hidden: true, Source: r.Packs, Cache: r.indexCache}
}

// Count is the number of paths in the key tries.
func (r *Ring) Count() (n uint64) {
	for i := range r.Runs {
		n += r.Runs[i].Keys.Count
	}
	return n
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrCorrupt, fmt.Errorf(format, args...))
}
