package keyring

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/stelelog/stele/internal/keytrie"
	"github.com/stelelog/stele/merkle"
)

const (
	listMagic = "STLX\x01\x00\x00\x00"

	// MaxList is the largest list of what was erased, in bytes.
	MaxList = 256 << 20
	maxIn   = MaxList / 2 // paths
)

// Marshal returns the bytes of the list, as they lie under keys/erased/.
func (e *Erased) Marshal(archive [16]byte) []byte {
	out := append([]byte(listMagic), archive[:]...)
	out = binary.AppendUvarint(out, uint64(len(e.Removed)))
	for _, paths := range e.Removed {
		out = keytrie.AppendPaths(out, paths)
	}
	return keytrie.AppendPaths(out, e.Spent)
}

// ParseErased reads a list.
func ParseErased(archive [16]byte, data []byte) (*Erased, error) {
	rest, ok := bytes.CutPrefix(data, append([]byte(listMagic), archive[:]...))
	runs, n := binary.Uvarint(rest)
	if !ok || n != 1 || runs > MaxRuns || len(data) > MaxList {
		return nil, errors.New("keyring: this is no list of erased keys of this archive, version 1")
	}
	rest = rest[1:]
	e := new(Erased)
	var err error
	for range runs {
		var paths [][]byte
		if paths, rest, err = keytrie.ParsePaths(rest, maxIn); err != nil {
			return nil, fmt.Errorf("keyring: list of erased keys: %w", err)
		}
		e.Removed = append(e.Removed, paths)
	}
	if e.Spent, rest, err = keytrie.ParsePaths(rest, maxIn); err != nil {
		return nil, fmt.Errorf("keyring: list of erased keys: %w", err)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("keyring: list of erased keys: %d bytes after the end", len(rest))
	}
	return e, nil
}

// Root is the RFC 6962 root over all removed paths in the order of the list.
func (e *Erased) Root() merkle.Hash {
	var f merkle.Frontier
	for _, paths := range e.Removed {
		for _, p := range paths {
			f.Append(merkle.LeafHash(p))
		}
	}
	return f.Root()
}
