package seal

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	version     = 1
	flagScope   = 1 // plaintext flag: the scope header follows
	headerBytes = 2 // version and flags
)

// PartKind says how a part of a body is stored.
type PartKind uint8

// The kinds of parts.
const (
	Literal   PartKind = iota // the bytes themselves
	Reference                 // a literal part of an earlier record of the same stream and scope
	Outside                   // bytes that the archive does not hold
	Piece                     // the whole body of an earlier piece of the same stream and scope
)

// Part is one part of a body. Which members count depends on Kind.
type Part struct {
	Kind      PartKind
	Data      []byte   // Literal
	Distance  uint64   // Reference, Piece: how many sequence numbers back, at least 1
	Number    uint64   // Reference: number of the part there, from 0
	Hash      [32]byte // Outside: SHA-256 of the bytes
	Size      uint64   // Outside: how many bytes
	MediaType []byte   // Outside
	URI       []byte   // Outside
}

// Block collects the plaintext of one block: records of one scope out of one frame, in the order of their sequence
// numbers. The zero Block is empty and ready; Reset makes it so again and keeps its memory.
type Block struct {
	plain       []byte
	commitments []byte
	first, last uint64
	n           int
}

// Reset empties the block.
func (b *Block) Reset() {
	b.plain, b.commitments = b.plain[:0], b.commitments[:0]
	b.first, b.last, b.n = 0, 0, 0
}

// Len returns the size of the plaintext so far in bytes.
func (b *Block) Len() int { return len(b.plain) }

// Records returns how many records the block holds. The next one gets this slot.
func (b *Block) Records() int { return b.n }

// Scope writes the scope header. It comes before the first record; the first block of a scope must have it. Each value
// has at most 65,535 bytes.
func (b *Block) Scope(tenant, subject, session []byte) error {
	if len(b.plain) != 0 {
		return errors.New("seal: scope header comes before everything else in a block")
	}
	values := [...][]byte{tenant, subject, session}
	for _, v := range values {
		if len(v) > 65_535 {
			return fmt.Errorf("seal: value of the scope header has %d bytes, at most 65535 fit", len(v))
		}
	}
	b.plain = append(b.plain, version, flagScope)
	for _, v := range values {
		b.plain = binary.LittleEndian.AppendUint16(b.plain, uint16(len(v)))
		b.plain = append(b.plain, v...)
	}
	return nil
}

// Add appends a record with its sequence number and commitment. The body is what parts say; v.Body is not looked at.
// After [ErrFull], and after an error in the arguments, the block is as it was before.
func (b *Block) Add(seq uint64, commitment [32]byte, v *Fields, parts []Part) error {
	switch {
	case b.n > 0 && seq <= b.last:
		return fmt.Errorf("seal: record %d after record %d in one block", seq, b.last)
	case len(parts) > MaxParts:
		return fmt.Errorf("seal: %d parts in a record, at most %d fit", len(parts), MaxParts)
	case b.n == maxRecords || len(b.plain)+recordSize(v, parts) > maxPlaintext:
		return ErrFull
	}
	for i := range parts {
		if err := parts[i].check(); err != nil {
			return &FormatError{What: "part", Offset: i, Err: err}
		}
	}
	if len(b.plain) == 0 {
		b.plain = append(b.plain, version, 0)
	}
	b.plain = appendRecord(b.plain, v, parts)
	b.commitments = append(b.commitments, commitment[:]...)
	if b.n == 0 {
		b.first = seq
	}
	b.last = seq
	b.n++
	return nil
}

// recordSize is a cheap upper bound of what appendRecord appends, plus the header of the block.
func recordSize(v *Fields, parts []Part) int {
	const length = binary.MaxVarintLen32
	n := headerBytes + 6*length + len(v.CallerID) + len(v.Trace) + len(v.Attributes) + len(v.ContentType) + len(v.More)
	for i := range parts {
		p := &parts[i]
		switch p.Kind {
		case Literal:
			n += 1 + length + len(p.Data)
		case Outside:
			n += 1 + 32 + binary.MaxVarintLen64 + 2*length + len(p.MediaType) + len(p.URI)
		default:
			n += 1 + 2*binary.MaxVarintLen64
		}
	}
	return n
}

func (p *Part) check() error {
	switch p.Kind {
	case Literal, Outside:
		return nil
	case Reference:
		if p.Number >= MaxParts {
			return errors.New("number of a part beyond the limit")
		}
	case Piece:
	default:
		return fmt.Errorf("no such kind of part: %d", p.Kind)
	}
	if p.Distance == 0 {
		return errors.New("a record refers to itself")
	}
	return nil
}

func appendRecord(dst []byte, v *Fields, parts []Part) []byte {
	for _, value := range [...][]byte{v.CallerID, v.Trace, v.Attributes, v.ContentType, v.More} {
		dst = appendBytes(dst, value)
	}
	dst = binary.AppendUvarint(dst, uint64(len(parts)))
	for i := range parts {
		p := &parts[i]
		dst = append(dst, byte(p.Kind))
		switch p.Kind {
		case Literal:
			dst = appendBytes(dst, p.Data)
		case Reference:
			dst = binary.AppendUvarint(dst, p.Distance)
			dst = binary.AppendUvarint(dst, p.Number)
		case Outside:
			dst = append(dst, p.Hash[:]...)
			dst = binary.AppendUvarint(dst, p.Size)
			dst = appendBytes(dst, p.MediaType)
			dst = appendBytes(dst, p.URI)
		case Piece:
			dst = binary.AppendUvarint(dst, p.Distance)
		}
	}
	return dst
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}
