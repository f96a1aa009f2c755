package segment

import (
	"slices"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/sha256mb"
	"github.com/stelelog/stele/merkle"
)

// Proof is the sections of a proof object, by number. Each can be read alone, from the range that the commit names, by
// the function of its name. They share memory with the object.
type Proof [sections][]byte

// ProofHeader is the length of the header of a proof object.
const ProofHeader = proofHeader

// ParseProofHeader reads the header of a proof object of size bytes: where its sections lie, which must follow it and each
// other without gaps.
func ParseProofHeader(b []byte, size int64) (parts [sections]Part, err error) {
	if len(b) < proofHeader || string(b[:len(proofMagic)]) != proofMagic {
		return parts, bad(objProof, 0, "this is no proof object of version 1")
	}
	at := uint64(proofHeader)
	for i := range parts {
		entry := len(proofMagic) + 16*i
		off, n := le.Uint64(b[entry:]), le.Uint64(b[entry+8:])
		if off != at || n > uint64(size)-at {
			return parts, bad(objProof, entry, "section %d is not where it should be", i)
		}
		parts[i] = Part{int64(off), int64(n)}
		at += n
	}
	if at != uint64(size) {
		return parts, bad(objProof, int(at), "bytes after the last section")
	}
	return parts, nil
}

// ParseProof reads a whole proof object.
func ParseProof(data []byte) (p Proof, err error) {
	parts, err := ParseProofHeader(data, int64(len(data)))
	if err != nil {
		return p, err
	}
	for i, part := range parts {
		p[i] = data[part.Off:][:part.Len:part.Len]
	}
	return p, nil
}

// FrameAt is a frame of a segment without its rows and blocks.
type FrameAt struct {
	frame.Header
	Signed []byte // header and signature, as frame.Verify and frame.Head take them
	Leaf   uint64 // index of its first leaf in the log
	Offset uint32 // of its entries in section 1
	Length uint32
}

// FrameCount is the number of frames in section 0.
func FrameCount(b []byte) (int, error) { return count(b, frameEntry, "frames") }

// ParseFrame reads frame i of section 0, which has so many.
func ParseFrame(b []byte, i int) (FrameAt, error) {
	e := b[frameEntry*i:]
	h, err := frame.ParseHeader(e)
	if err != nil {
		return FrameAt{}, bad(objProof, frameEntry*i, "frame %d: %v", i, err)
	}
	rest := e[frame.SignedLen:]
	return FrameAt{h, e[:frame.SignedLen:frame.SignedLen], le.Uint64(rest), le.Uint32(rest[8:]), le.Uint32(rest[12:])}, nil
}

// ParseFrames reads section 0 or a range of it that starts and ends between frames.
func ParseFrames(b []byte) ([]FrameAt, error) {
	n, err := FrameCount(b)
	if err != nil {
		return nil, err
	}
	out := make([]FrameAt, n)
	for i := range out {
		if out[i], err = ParseFrame(b, i); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ParseEntries reads the entries of one frame, or section 1.
func ParseEntries(b []byte) (entries [][]byte, err error) {
	err = eachEntry(b, func(e []byte) { entries = append(entries, e[:len(e):len(e)]) })
	return entries, err
}

// EntryHasher makes the leaf hashes of entries. It reuses its memory; the zero EntryHasher is ready.
type EntryHasher struct {
	messages [][]byte
	hashes   []merkle.Hash
}

// Hashes returns the leaf hashes of the entries of one frame, of which its header has the root. They are valid until the
// next call.
func (h *EntryHasher) Hashes(b []byte) ([]merkle.Hash, error) {
	h.messages = h.messages[:0]
	at := 0
	err := eachEntry(b, func(e []byte) {
		at += 2 + len(e)
		m := b[at-len(e)-1 : at] // the byte before a short entry, of its length, is the zero that the hash of a leaf starts with
		if len(e) > 0xff {
			m = append([]byte{0}, e...)
		}
		h.messages = append(h.messages, m)
	})
	h.hashes = slices.Grow(h.hashes[:0], len(h.messages))[:len(h.messages)]
	sha256mb.Sums(h.hashes, h.messages)
	return h.hashes, err
}

// Each calls visit with each entry of a frame.
func (h *EntryHasher) Each(b []byte, visit func(e []byte)) error { return eachEntry(b, visit) }

func eachEntry(b []byte, visit func(e []byte)) error {
	for at, n := 0, 0; at < len(b); n++ {
		if len(b)-at < 2 || len(b)-at-2 < int(le.Uint16(b[at:])) {
			return bad(objProof, at, "entry %d ends early", n)
		}
		end := at + 2 + int(le.Uint16(b[at:]))
		visit(b[at+2 : end])
		at = end
	}
	return nil
}

// ParseHashes reads section 2 or 3, or a range of it.
func ParseHashes(b []byte) ([]merkle.Hash, error) {
	n, err := count(b, hashLen, "hashes")
	if err != nil {
		return nil, err
	}
	out := make([]merkle.Hash, n)
	for i := range out {
		out[i] = merkle.Hash(b[hashLen*i:])
	}
	return out, nil
}

// ParseEncaps reads section 5.
func ParseEncaps(b []byte) ([]Encap, error) {
	n, err := count(b, encapEntry, "encapsulations")
	if err != nil {
		return nil, err
	}
	out := make([]Encap, n)
	for i := range out {
		e := b[encapEntry*i:][:encapEntry:encapEntry]
		out[i] = Encap{[16]byte(e), le.Uint16(e[16:]), le.Uint16(e[18:]), e[20:]}
	}
	return out, nil
}

func count(b []byte, width int, what string) (int, error) {
	if len(b)%width != 0 {
		return 0, bad(objProof, len(b)-len(b)%width, "%s end early", what)
	}
	return len(b) / width, nil
}
