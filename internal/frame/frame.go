// Package frame is what a writer signs and sends: a run of leaves of one stream with their entries and sealed blocks,
// and the beat between frames. The format is docs/formats/frame.md. Pure: no I/O, no clock.
package frame

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/sha256mb"
	"github.com/stelelog/stele/merkle"
)

// Sizes in bytes.
const (
	headerLen = 152 // the signed part
	SignedLen = headerLen + ed25519.SignatureSize
	MaxLen    = 512 << 10 // of a whole frame
	maxCount  = 65535     // leaves

	sectionsLen = 5 * 4
	rowLen      = 78
	version     = 1
	noNumber    = 0xffff
)

const (
	magic   = "STLF"
	context = "stele/frame/v1\n"
)

var le = binary.LittleEndian

// Error says what is wrong with a frame or beat, and at which byte.
type Error struct {
	Offset int
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("frame: byte %d: %s", e.Offset, e.Reason) }

func bad(offset int, format string, args ...any) error {
	return &Error{offset, fmt.Sprintf(format, args...)}
}

// Header is the signed part of a frame.
type Header struct {
	Archive   [16]byte
	Partition uint32
	Count     uint32
	Stream    [16]byte
	First     uint64      // seq of the first leaf
	Prev      merkle.Hash // head of the frame before, zero in the first
	Leaves    merkle.Hash // root over the leaf hashes
	Entries   merkle.Hash // root over the entries
}

// Next is the seq after the frame.
func (h *Header) Next() uint64 { return h.First + uint64(h.Count) }

func (h *Header) append(dst []byte) []byte {
	dst = append(append(dst, magic...), version, 0, 0, 0)
	dst = append(dst, h.Archive[:]...)
	dst = le.AppendUint32(dst, h.Partition)
	dst = le.AppendUint32(dst, h.Count)
	dst = append(dst, h.Stream[:]...)
	dst = le.AppendUint64(dst, h.First)
	dst = append(dst, h.Prev[:]...)
	dst = append(dst, h.Leaves[:]...)
	return append(dst, h.Entries[:]...)
}

// ParseHeader reads the first headerLen bytes of a frame.
func ParseHeader(b []byte) (h Header, err error) {
	switch {
	case len(b) < headerLen:
		return h, bad(len(b), "ends inside the header")
	case string(b[:4]) != magic:
		return h, bad(0, "this is no frame")
	case b[4] != version:
		return h, bad(4, "frame version %d is not known here, update stele", b[4])
	case b[5]|b[6]|b[7] != 0:
		return h, bad(5, "reserved bytes are set")
	}
	copy(h.Archive[:], b[8:])
	h.Partition, h.Count = le.Uint32(b[24:]), le.Uint32(b[28:])
	copy(h.Stream[:], b[32:])
	h.First = le.Uint64(b[48:])
	copy(h.Prev[:], b[56:])
	copy(h.Leaves[:], b[88:])
	copy(h.Entries[:], b[120:])
	if h.Count == 0 || h.Count > maxCount {
		return h, bad(28, "%d leaves, not 1 to %d", h.Count, maxCount)
	}
	if h.First > record.None-maxCount {
		return h, bad(48, "seq %d is out of range", h.First)
	}
	return h, nil
}

// Head is the hash of a frame that the next frame names: of its first headerLen bytes.
func Head(raw []byte) merkle.Hash { return sha256.Sum256(raw[:headerLen]) }

// Verify reports whether raw, at least SignedLen bytes of a frame, is signed by the stream key.
func Verify(raw []byte, key ed25519.PublicKey) bool {
	if len(raw) < SignedLen || len(key) != ed25519.PublicKeySize {
		return false
	}
	msg := append(make([]byte, 0, len(context)+headerLen), context...)
	return ed25519.Verify(key, append(msg, raw[:headerLen]...), raw[headerLen:SignedLen])
}

// Columns are the rows of a frame, column by column, as they lie in it. Row i of a column of width w is at i·w.
type Columns struct {
	Type, Kind, Flags, Class []byte    // 1
	Scope                    []byte    // 2: number in Scopes
	ID                       []byte    // 16
	Time                     []byte    // 8
	Block                    []byte    // 2: number in Blocks
	Slot                     []byte    // 2
	Commitment               []byte    // 32
	Buckets                  [4][]byte // 1
	Clear                    [6][]byte // 1: number in Strings
	DetailLen                []byte    // 2
}

// Block is a sealed block in a frame.
type Block struct {
	Data   []byte
	First  int         // row of its slot 0
	Scope  int         // number in Scopes
	Class  string      //
	Digest merkle.Hash // of Data; set by LeafHashes
}

// Frame is a decoded frame. It shares memory with the bytes it was decoded from.
type Frame struct {
	Header
	Raw        []byte
	Strings    []string // 0 is ""
	EntryBytes []byte   // the entries with their lengths, verbatim
	EntryList  [][]byte
	Scopes     [][16]byte
	Blocks     []Block
	Columns    Columns

	details   []byte
	detailEnd []uint32
	batch     batch
	hashes    []merkle.Hash
	entries   []merkle.Hash
	messages  [][]byte
	digests   []merkle.Hash
}

// Leaf fills l with row i. Its detail shares memory with the frame; its digest is set once LeafHashes has run.
func (f *Frame) Leaf(i int, l *record.Leaf) {
	c := &f.Columns
	*l = record.Leaf{
		Type: record.Type(c.Type[i]), Kind: c.Kind[i], Flags: c.Flags[i],
		Stream: f.Stream, Seq: f.First + uint64(i), Time: int64(le.Uint64(c.Time[8*i:])),
		Slot: le.Uint16(c.Slot[2*i:]), Class: f.Strings[c.Class[i]],
	}
	copy(l.ID[:], c.ID[16*i:])
	copy(l.Commitment[:], c.Commitment[32*i:])
	if s := le.Uint16(c.Scope[2*i:]); s != noNumber {
		l.Scope = f.Scopes[s]
	}
	if b := le.Uint16(c.Block[2*i:]); b != noNumber {
		l.Digest = f.Blocks[b].Digest
	}
	for k := range l.Buckets {
		l.Buckets[k] = c.Buckets[k][i]
	}
	for k := range l.Clear {
		l.Clear[k] = f.Strings[c.Clear[k][i]]
	}
	if d := f.Detail(i); len(d) > 0 {
		l.Detail = d
	}
}

// Detail is the detail of row i.
func (f *Frame) Detail(i int) []byte {
	if f.detailEnd == nil {
		return nil
	}
	start := uint32(0)
	if i > 0 {
		start = f.detailEnd[i-1]
	}
	return f.details[start:f.detailEnd[i]]
}

// BlockOf is the number of the block of row i, or -1.
func (f *Frame) BlockOf(i int) int {
	if b := le.Uint16(f.Columns.Block[2*i:]); b != noNumber {
		return int(b)
	}
	return -1
}

// LeafHashes computes the digests of the blocks and the leaf hashes of all rows, and checks them and the entries
// against the roots in the header. The result is valid until the next call.
func (f *Frame) LeafHashes() ([]merkle.Hash, error) {
	f.hashBlocks()
	f.hashes = f.hashes[:0]
	var l record.Leaf
	f.batch.reset()
	for i := range int(f.Count) {
		f.Leaf(i, &l)
		if err := l.Check(); err != nil {
			return nil, bad(SignedLen, "row %d: %v", i, err)
		}
		f.batch.data = append(f.batch.data, leafPrefix)
		start := len(f.batch.data)
		f.batch.data = l.Append(f.batch.data)
		if n := f.batch.end() - start; n > record.MaxLeaf {
			return nil, bad(SignedLen, "row %d: leaf of %d bytes", i, n)
		}
		f.hashes = f.batch.full(f.hashes)
	}
	f.hashes = f.batch.flush(f.hashes)
	if merkle.Root(f.hashes) != f.Leaves {
		return nil, bad(88, "the rows do not have the signed root")
	}
	f.entries = f.batch.entries(f.entries[:0], f.EntryList)
	if merkle.Root(f.entries) != f.Entries {
		return nil, bad(120, "the entries do not have the signed root")
	}
	return f.hashes, nil
}

func (f *Frame) hashBlocks() {
	f.messages = f.messages[:0]
	for i := range f.Blocks {
		f.messages = append(f.messages, f.Blocks[i].Data)
	}
	f.digests = slices.Grow(f.digests[:0], len(f.messages))[:len(f.messages)]
	sha256mb.Sums(f.digests, f.messages)
	for i := range f.Blocks {
		f.Blocks[i].Digest = f.digests[i]
	}
}

// entriesRoot is the root over entries as a frame signs it.
func entriesRoot(entries [][]byte) merkle.Hash {
	var b batch
	return merkle.Root(b.entries(nil, entries))
}
