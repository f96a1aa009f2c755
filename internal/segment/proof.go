package segment

import (
	"bytes"
	"maps"
	"math"
	"slices"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/merkle"
)

// Sections of the proof object.
const (
	SectionFrames = iota
	SectionEntries
	SectionLeaves
	SectionNodes
	SectionScopes
	SectionEncaps
	SectionGroups
	SectionRuns
	sections
)

// Sections is their number.
const Sections = sections

const (
	proofMagic  = "STLP\x01\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00"
	proofHeader = len(proofMagic) + 16*sections
	frameEntry  = frame.SignedLen + 8 + 4 + 4
	encapEntry  = 16 + 2 + 2 + frame.EncapLen
	hashLen     = len(merkle.Hash{})

	// LowestNode is the level from which on nodes are stored.
	LowestNode = 3
	lowest     = LowestNode
)

// NodeOffset says where, in section 3 of the proof of the segment with leaves [first, size), the hash of a node lies:
// node index of a level covers leaves [index<<level, (index+1)<<level). ok is false if it is not stored there: levels
// 0 to 2 never are, other nodes are in the segment that holds their last leaf.
func NodeOffset(first, size uint64, level int, index uint64) (off int64, ok bool) {
	if level < lowest || level > 63 || index < first>>level || index >= size>>level {
		return 0, false
	}
	n := index - first>>level
	for l := lowest; l < level; l++ {
		n += size>>l - first>>l
	}
	if n > math.MaxInt64/uint64(hashLen) {
		return 0, false // no segment is as long as that
	}
	return int64(n) * int64(hashLen), true
}

// writeProof writes the proof object.
func (w *Writer) writeProof(s *Segment) {
	ids := slices.SortedFunc(maps.Keys(w.encaps), func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	size := proofHeader + len(w.frames) + len(w.entries) + encapEntry*len(ids) + w.runs.size() + len(w.runs.runs)
	for _, level := range w.levels {
		size += hashLen * len(level)
	}
	p := grow(w.proof[:0], size)
	p = append(p, proofMagic...)
	p = p[:proofHeader]
	section := func(number int, put func()) {
		at := len(p)
		put()
		s.ProofSpans[number] = span(at, len(p))
		le.PutUint64(p[len(proofMagic)+16*number:], uint64(at))
		le.PutUint64(p[len(proofMagic)+16*number+8:], uint64(len(p)-at))
	}
	hashes := func(hashes []merkle.Hash) {
		for i := range hashes {
			p = append(p, hashes[i][:]...)
		}
	}
	section(SectionFrames, func() { p = append(p, w.frames...) })
	section(SectionEntries, func() { p = append(p, w.entries...) })
	section(SectionLeaves, func() { hashes(w.levels[0]) })
	section(SectionNodes, func() {
		for l := lowest; l < len(w.levels); l++ {
			hashes(w.levels[l])
		}
	})
	w.groups = w.runs.appendGroups(grow(w.groups[:0], w.runs.size()))
	section(SectionScopes, func() { p = w.runs.appendScopes(p, w.groups) })
	section(SectionEncaps, func() {
		for _, id := range ids {
			e := w.encaps[id]
			p = append(p, e.Stream[:]...)
			p = append(le.AppendUint16(le.AppendUint16(p, e.Day), e.Year), e.Enc...)
		}
	})
	section(SectionGroups, func() { p = append(p, w.groups...) })
	section(SectionRuns, func() { p = append(p, w.runs.runs...) })
	w.proof, s.Proof = p, p
}
