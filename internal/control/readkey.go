package control

import (
	"crypto/hpke"
	"crypto/sha256"
	"errors"

	"github.com/stelelog/stele/internal/keyscope"
)

// NewWrap seals the seed of the read key of a year to a reader.
func NewWrap(by string, reader hpke.PublicKey, archive [16]byte, year uint16, seed [keyscope.SeedSize]byte) (Wrap, error) {
	sealed, err := keyscope.SealReadKey(reader, archive, year, &seed)
	if err != nil {
		return Wrap{}, err
	}
	return Wrap{Reader: by, Key: sha256.Sum256(reader.Bytes()), Enc: sealed.Encapsulation[:], Sealed: sealed.Sealed[:]}, nil
}

// Open recovers the seed of the read key of a year with the key of the reader to whom it is wrapped.
func (w *Wrap) Open(key hpke.PrivateKey, archive [16]byte, year uint16) (seed [keyscope.SeedSize]byte, err error) {
	var s keyscope.SealedReadKey
	if len(w.Enc) != len(s.Encapsulation) || len(w.Sealed) != len(s.Sealed) {
		return seed, errors.New("wrap has a wrong length")
	}
	copy(s.Encapsulation[:], w.Enc)
	copy(s.Sealed[:], w.Sealed)
	return s.Open(key, archive, year)
}
