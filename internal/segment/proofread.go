package segment

import (
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/merkle"
)

// Proof is the sections of a proof object, by number. Each can be read alone, from the range that the commit names, by
// the function of its name. They share memory with the object.
type Proof [sections][]byte

// ParseProof reads a whole proof object: its sections must follow its header and each other without gaps.
func ParseProof(data []byte) (p Proof, err error) {
	if len(data) < proofHeader || string(data[:len(proofMagic)]) != proofMagic {
		return p, bad(objProof, 0, "this is no proof object of version 1")
	}
	at := uint64(proofHeader)
	for i := range p {
		entry := len(proofMagic) + 16*i
		off, n := le.Uint64(data[entry:]), le.Uint64(data[entry+8:])
		if off != at || n > uint64(len(data))-at {
			return Proof{}, bad(objProof, entry, "section %d is not where it should be", i)
		}
		p[i] = data[off:][:n:n]
		at += n
	}
	if at != uint64(len(data)) {
		return Proof{}, bad(objProof, int(at), "bytes after the last section")
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

// ParseFrames reads section 0 or a range of it that starts and ends between frames.
func ParseFrames(b []byte) ([]FrameAt, error) {
	n, err := count(b, frameEntry, "frames")
	if err != nil {
		return nil, err
	}
	out := make([]FrameAt, n)
	for i := range out {
		e := b[frameEntry*i:]
		h, err := frame.ParseHeader(e)
		if err != nil {
			return nil, bad(objProof, frameEntry*i, "frame %d: %v", i, err)
		}
		rest := e[frame.SignedLen:]
		out[i] = FrameAt{h, e[:frame.SignedLen:frame.SignedLen], le.Uint64(rest), le.Uint32(rest[8:]), le.Uint32(rest[12:])}
	}
	return out, nil
}

// ParseEntries reads the entries of one frame, or section 1.
func ParseEntries(b []byte) (entries [][]byte, err error) {
	for at := 0; at < len(b); {
		if len(b)-at < 2 || len(b)-at-2 < int(le.Uint16(b[at:])) {
			return nil, bad(objProof, at, "entry %d ends early", len(entries))
		}
		end := at + 2 + int(le.Uint16(b[at:]))
		entries = append(entries, b[at+2:end:end])
		at = end
	}
	return entries, nil
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
