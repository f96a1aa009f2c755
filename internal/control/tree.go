package control

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/merkle"
)

// Place says which object of the log holds the entries up to End.
type Place struct {
	Key, Version string
	End          uint64
}

// Nodes is the merkle.NodeReader of what was read.
func (s *State) Nodes(nodes []merkle.Node, hashes []merkle.Hash) error {
	for i, n := range nodes {
		if n.Level < 0 || n.Level >= len(s.levels) || n.Index >= uint64(len(s.levels[n.Level])) {
			return fmt.Errorf("control: node %d of level %d is not complete", n.Index, n.Level)
		}
		hashes[i] = s.levels[n.Level][n.Index]
	}
	return nil
}

// RootAt is the root of the first size entries.
func (s *State) RootAt(size uint64) (merkle.Hash, error) {
	if size > s.Size() {
		return merkle.Hash{}, fmt.Errorf("control: the log has %d entries, not %d", s.Size(), size)
	}
	var hashes []merkle.Hash
	for level := 63; level >= 0; level-- {
		if size>>level&1 == 1 {
			hashes = append(hashes, s.levels[level][size>>level-1])
		}
	}
	f, err := merkle.NewFrontier(size, hashes)
	return f.Root(), err
}

// PlaceOf is the object that holds an entry, and the index of its first entry.
func (s *State) PlaceOf(entry uint64) (p Place, first uint64, err error) {
	i := sort.Search(len(s.places), func(i int) bool { return s.places[i].End > entry })
	if i == len(s.places) {
		return p, 0, fmt.Errorf("control: the log has %d entries, not %d", s.Size(), entry+1)
	}
	if i > 0 {
		first = s.places[i-1].End
	}
	return s.places[i], first, nil
}

// Entries reads the entries of an object that the state has judged before, which must still be the same: those from index first.
func (s *State) Entries(file []byte, first uint64) ([]string, error) {
	text, _, _ := strings.Cut(string(file), "\n\n")
	var obj Object
	if err := commit.UnmarshalLine(text+"\n", objectFormat, &obj); err != nil {
		return nil, err
	}
	for i, e := range obj.Entries {
		if at := first + uint64(i); at >= s.Size() || s.levels[0][at] != LeafHash(e) {
			return nil, errors.New("control: the object is not the one that was there")
		}
	}
	return obj.Entries, nil
}

// CheckHead holds a signed head of this log that was seen elsewhere against what was read. It may have any size and any
// other signatures. size is 0 if it is no head of this log, and the error says why; else the error says how it contradicts the log.
func (s *State) CheckHead(file []byte) (size uint64, err error) {
	cp, err := merkle.OpenCheckpoint(file, s.Trust.Origin(), note.VerifierList(s.log))
	if err != nil {
		return 0, err
	}
	if cp.Size > s.Size() {
		return cp.Size, &HeadError{cp.Size, s.Size(), "it was cut, is an older copy, or went another way before"}
	}
	if root, err := s.RootAt(cp.Size); err != nil || root != cp.Root {
		return cp.Size, &HeadError{cp.Size, s.Size(), "its entries up to there are other ones: it was rewritten, or forked"}
	}
	return cp.Size, nil
}

// A HeadError says that the log contradicts a signed head of it.
type HeadError struct {
	Head, Size uint64 // of the head, and of the log
	Why        string
}

func (e *HeadError) Error() string {
	return fmt.Sprintf("a signed head of %d entries was seen, and this log has %d: %s", e.Head, e.Size, e.Why)
}
