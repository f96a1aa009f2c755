package evidence

import (
	"bytes"
	"crypto/ed25519"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/merkle"
)

func (f *forger) signFrame(header []byte) []byte {
	return append(header, ed25519.Sign(f.stream, append([]byte("stele/frame/v1\n"), header...))...)
}

// forgeRecord changes the header of a frame, or a leaf, and all that follows from it.
func (f *forger) forgeRecord(i int, leaf bool) (what string) {
	if i < 0 {
		return ""
	}
	p, err := parseRecord(f.parts[i].Data)
	if err != nil {
		return ""
	}
	header, leafdata := bytes.Clone(p.signed[:frameHeader]), p.leafdata
	if leaf {
		leafdata, what = changePart(f.r, leafdata)
	} else {
		at := f.r.IntN(leavesRoot)
		header[at] ^= byte(1 << f.r.IntN(8))
		what = fmt.Sprintf("byte %d of its header", at)
	}
	hash := merkle.LeafHash(leafdata)
	index := p.leaf.Seq - le.Uint64(header[48:])
	root, _ := climb(hash, index, uint64(le.Uint32(header[28:])), p.path)
	copy(header[leavesRoot:], root[:])
	f.parts[i] = RecordPart(leafdata, f.signFrame(header), p.path)
	for k := i + 1; k < len(f.parts) && f.parts[k].Kind != KindRecord && f.parts[k].Kind != KindEntry; k++ {
		proof, err := parseProof(f.parts[k].Data)
		if f.parts[k].Kind != KindLog || err != nil {
			continue
		}
		head, err := merkle.OpenCheckpoint(proof.Checkpoint, logA, note.VerifierList(f.signers["acme/compactor/c1"].(note.Verifier)))
		if err != nil {
			continue
		}
		if head.Root, _ = climb(hash, proof.Index, head.Size, proof.Path); f.r.IntN(20) > 0 {
			signed, err := head.Sign(f.signers["acme/compactor/c1"])
			if err == nil {
				f.setNote(k, signed)
			}
		}
	}
	return fmt.Sprintf("record in part %d: %s", i, what)
}

const frameHeader = 152

func (f *forger) forgeCert(i int) string {
	if i < 0 || len(f.parts[i].Data) < ed25519.SignatureSize {
		return ""
	}
	body, what := changePart(f.r, f.parts[i].Data[:len(f.parts[i].Data)-ed25519.SignatureSize])
	f.parts[i].Data = append(body, ed25519.Sign(f.service, append([]byte("stele/stream/v1\n"), body...))...)
	return fmt.Sprintf("certificate in part %d: %s", i, what)
}

func (f *forger) forgeScope(i int) string {
	if i < 0 {
		return ""
	}
	p, err := parseScope(f.parts[i].Data)
	if err != nil {
		return ""
	}
	c := cursor{b: f.parts[i].Data[216:]}
	var steps []Step
	for range c.u8() {
		steps = append(steps, Step{c.u8() == 1, c.hash()})
	}
	entry, what := changePart(f.r, c.bytes(uint64(c.u16())))
	root := merkle.LeafHash(entry)
	for _, s := range steps {
		if s.Right {
			root = merkle.NodeHash(root, s.Hash)
		} else {
			root = merkle.NodeHash(s.Hash, root)
		}
	}
	header := bytes.Clone(p.signed[:frameHeader])
	copy(header[120:], root[:])
	f.parts[i] = ScopePart(entry, f.signFrame(header), steps, p.names)
	return fmt.Sprintf("scope in part %d: %s", i, what)
}
