package control

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/stelelog/stele/merkle"
)

const (
	// maxLeaf bounds the data of a leaf, as c2sp.org/tlog-tiles does.
	maxLeaf = 1<<16 - 1
	// longEntry begins the data of the leaf of an entry that is longer.
	longEntry = "stele/entry-hash/v1\n"
)

// LeafData is the data of an entry's leaf: the entry, or a line with its SHA-256 where it does not fit.
func LeafData(entry string) []byte {
	if len(entry) > maxLeaf {
		return fmt.Appendf(nil, "%s%x\n", longEntry, sha256.Sum256([]byte(entry)))
	}
	return []byte(entry)
}

// LeafHash is the hash of an entry's leaf.
func LeafHash(entry string) merkle.Hash { return merkle.LeafHash(LeafData(entry)) }

// CheckLeaf refuses what would have the leaf of another entry, what is no entry for its size, and what the JSON of an object
// cannot hold: it would be another entry there.
func CheckLeaf(entry string) error {
	switch {
	case strings.HasPrefix(entry, longEntry):
		return fmt.Errorf("control: an entry that reads like the hash of another one")
	case len(entry) > MaxEntry:
		return fmt.Errorf("control: entry of %d bytes, over the limit of %d", len(entry), MaxEntry)
	case !utf8.ValidString(entry):
		return errors.New("control: an entry that is not UTF-8")
	}
	return nil
}
