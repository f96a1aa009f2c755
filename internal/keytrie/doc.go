// Package keytrie is one erasable trie: a set of paths, each with a secret value, in nodes that are encrypted under
// single-use keys held by their parents and lie in immutable packs. Removing paths writes the nodes on the way to them
// anew; what then knows only the new top key can open no old version of them. The format is docs/formats/keys.md,
// sections Shape, Node, Pack and Proofs.
//
// A [Trie] says how nodes are read: an open trie has public paths with a commitment, a hidden one nothing public. A trie
// is built at once ([Trie.Build]) and then only shrinks ([Trie.Remove]); a [Root] names one version of it. Shape and
// commitment follow from the set of paths alone. A [Proof] shows to whoever has the commitment which paths there are
// under a prefix, or that one version differs from another by exactly the paths named.
//
// There is no clock and no I/O in here but [Source] and the function that a [Writer] hands finished packs to; random
// bytes are passed in. Memory is bounded by the depth of the trie and the size of a pack. All values but a Writer may
// be used by several goroutines.
package keytrie

import (
	"context"
	"errors"
	"fmt"

	"github.com/stelelog/stele/merkle"
)

// Bounds of the format.
const (
	KeySize  = 32   // of a node key, in bytes
	MaxPath  = 64   // bytes
	MaxValue = 255  // bytes
	maxNode  = 8192 // bytes, each of the two parts of a node
	maxCount = 1 << 56

	openBucket   = 8
	hiddenBucket = 96
)

var (
	// ErrCorrupt is wrapped by every error about a node that is not what its parent names: it does not open, has
	// another commitment, or breaks the rules of the format. What lies below it is lost with it.
	ErrCorrupt = errors.New("keytrie: node is not what its parent names")

	// ErrProof is wrapped by every error about a proof that does not show what it was asked for.
	ErrProof = errors.New("keytrie: proof does not hold")

	// ErrPaths is wrapped by errors about paths that the caller passed: not sorted, one a prefix of another, too long.
	ErrPaths = errors.New("keytrie: paths are not a sorted set")
)

// NodeError says where the node lies that could not be used.
type NodeError struct {
	Link Link
	Err  error
}

func (e *NodeError) Error() string {
	return fmt.Sprintf("keytrie: node in pack %d at byte %d: %v", e.Link.Pack, e.Link.Offset, e.Err)
}

func (e *NodeError) Unwrap() error { return e.Err }

// Entry is a path and its value. The value is nil in hidden tries, and where a trie was read without its keys.
type Entry struct {
	Path  []byte
	Value []byte
}

// Link says where a node lies.
type Link struct {
	Pack   uint64
	Offset uint64 // from the start of the pack, in bytes
	Clear  uint32 // length of the public part, 0 in a hidden trie
	Sealed uint32 // length of the encrypted part
}

// Commitment is what an open trie is known by in public: how many paths it has, and the commitment of its top node,
// zero if it has none.
type Commitment struct {
	Count uint64
	Hash  merkle.Hash // zero in hidden tries
}

// Root is one version of a trie: what a parent knows of a node. The zero Root is the empty trie.
type Root struct {
	Commitment
	Link Link
	Key  [KeySize]byte
}

// String leaves the key out.
func (r Root) String() string { return fmt.Sprintf("%d paths, %v", r.Count, r.Link) }

// Source reads packs.
type Source interface {
	// ReadPack returns n bytes of a pack from an offset on. The caller keeps them and nobody changes them.
	ReadPack(ctx context.Context, pack, offset uint64, n int) ([]byte, error)
}

// Trie says how the nodes of a trie are read.
type Trie struct {
	Archive [16]byte
	Hidden  bool // nothing is public, paths have no values
	Sealed  bool // leave the encrypted parts of an open trie alone: no keys are needed, and entries come without values
	Source  Source
	Cache   *Cache // nodes that were read already; may be nil
}

func (t *Trie) bucket() int {
	if t.Hidden {
		return hiddenBucket
	}
	return openBucket
}
