package keyscope

import (
	"crypto/cipher"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Sizes of wrapped keys in bytes.
const (
	InnerSize = 48  // a scope key under the read key
	OuterSize = 112 // that and the tags under the intake key
)

// Binding says which scope a wrapped key belongs to. It unwraps nowhere else.
type Binding struct {
	Archive, Stream, Scope [16]byte
	Start                  int64  // nanoseconds since 1970
	Class                  string // 1 to 32 bytes of a-z 0-9 -
}

func (b *Binding) aad() []byte {
	aad := make([]byte, 0, 3*16+8+1+len(b.Class))
	aad = append(aad, b.Archive[:]...)
	aad = append(aad, b.Stream[:]...)
	aad = append(aad, b.Scope[:]...)
	aad = binary.LittleEndian.AppendUint64(aad, uint64(b.Start))
	return appendString8(aad, b.Class)
}

func (b *Binding) nonce(context string) []byte {
	h := sha256.Sum256(append([]byte(context), b.Scope[:]...))
	return h[:12]
}

const (
	readLabel   = "stele/read-wrap/v1"
	intakeLabel = "stele/intake-wrap/v1"
)

func readInfo(archive, stream [16]byte, day uint16) []byte {
	return streamInfo("stele/read/v1", archive, stream, day)
}

func intakeInfo(archive, stream [16]byte, week uint16) []byte {
	return streamInfo("stele/intake/v1", archive, stream, week)
}

// ReadWrap wraps scope keys of one stream to the archive's read key under one encapsulation.
type ReadWrap struct {
	Encapsulation [EncapsulationSize]byte
	ID            [16]byte // of the encapsulation
	aead          cipher.AEAD
}

// NewReadWrap encapsulates to the read key, for one stream and [Day]. It takes about 0.15 ms.
func NewReadWrap(key hpke.PublicKey, archive, stream [16]byte, day uint16) (*ReadWrap, error) {
	enc, aead, err := encapsulate(key, readInfo(archive, stream, day), readLabel)
	if err != nil {
		return nil, err
	}
	return &ReadWrap{Encapsulation: enc, ID: EncapsulationID(&enc), aead: aead}, nil
}

// OpenReadWrap recovers the wrap from its encapsulation. A wrong key or other arguments show only when
// [ReadWrap.Unwrap] fails.
func OpenReadWrap(key hpke.PrivateKey, archive, stream [16]byte, day uint16, enc *[EncapsulationSize]byte) (*ReadWrap, error) {
	aead, err := decapsulate(key, enc, readInfo(archive, stream, day), readLabel)
	if err != nil {
		return nil, err
	}
	return &ReadWrap{Encapsulation: *enc, ID: EncapsulationID(enc), aead: aead}, nil
}

// Wrap wraps a scope key. One wrap MUST NOT be used for two keys of one scope id.
func (w *ReadWrap) Wrap(key *[32]byte, b *Binding) (inner [InnerSize]byte) {
	w.aead.Seal(inner[:0], b.nonce("stele/inner/v1"), key[:], b.aad())
	return inner
}

// Unwrap recovers a scope key. The error is [ErrUnwrap].
func (w *ReadWrap) Unwrap(inner *[InnerSize]byte, b *Binding) (key [32]byte, err error) {
	if _, err := w.aead.Open(key[:0], b.nonce("stele/inner/v1"), inner[:], b.aad()); err != nil {
		return [32]byte{}, fmt.Errorf("%w: scope key: %w", ErrUnwrap, err)
	}
	return key, nil
}

// IntakeWrap wraps what [ReadWrap] wrapped, and the tags, to the intake key of a week.
type IntakeWrap struct {
	Encapsulation [EncapsulationSize]byte
	Week          uint16
	aead          cipher.AEAD
}

// NewIntakeWrap encapsulates to the intake key of the given [Week], for one stream. It takes about 0.15 ms.
func NewIntakeWrap(key hpke.PublicKey, archive, stream [16]byte, week uint16) (*IntakeWrap, error) {
	enc, aead, err := encapsulate(key, intakeInfo(archive, stream, week), intakeLabel)
	if err != nil {
		return nil, err
	}
	return &IntakeWrap{Encapsulation: enc, Week: week, aead: aead}, nil
}

// OpenIntakeWrap recovers the wrap from its encapsulation. A wrong key or other arguments show only when
// [IntakeWrap.Unwrap] fails.
func OpenIntakeWrap(key hpke.PrivateKey, archive, stream [16]byte, week uint16, enc *[EncapsulationSize]byte) (*IntakeWrap, error) {
	aead, err := decapsulate(key, enc, intakeInfo(archive, stream, week), intakeLabel)
	if err != nil {
		return nil, err
	}
	return &IntakeWrap{Encapsulation: *enc, Week: week, aead: aead}, nil
}

// Wrap wraps a wrapped scope key and the tags of the scope.
func (w *IntakeWrap) Wrap(inner *[InnerSize]byte, tags *Tags, b *Binding) (outer [OuterSize]byte) {
	plain := tags.append(append(make([]byte, 0, OuterSize), inner[:]...))
	// The nonce differs for each scope id and the encapsulation serves one stream, so no nonce comes twice.
	w.aead.Seal(outer[:0], b.nonce("stele/outer/v1"), plain, b.aad())
	return outer
}

// Unwrap recovers the wrapped scope key and the tags. The error is [ErrUnwrap].
func (w *IntakeWrap) Unwrap(outer *[OuterSize]byte, b *Binding) (inner [InnerSize]byte, tags Tags, err error) {
	plain, err := w.aead.Open(nil, b.nonce("stele/outer/v1"), outer[:], b.aad())
	if err != nil {
		return inner, tags, fmt.Errorf("%w: grant: %w", ErrUnwrap, err)
	}
	c := cursor{data: plain}
	c.fixed(inner[:])
	tags = c.tags()
	return inner, tags, nil
}

// KeyCheck is the key check value of a scope. The writer signs it in the scope entry, the key service computes it again
// from the wrapped key that it holds.
func KeyCheck(scope, encapsulation [16]byte, inner *[InnerSize]byte) [32]byte {
	b := append([]byte("stele/kcv/v1"), scope[:]...)
	b = append(b, encapsulation[:]...)
	return sha256.Sum256(append(b, inner[:]...))
}
