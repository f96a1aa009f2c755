package keyscope

import (
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

const (
	readKeyLabel    = "stele/readkey-wrap/v1"
	quarantineLabel = "stele/quarantine/v1"
)

// zeroNonce serves keys that encrypt once.
var zeroNonce [12]byte

// SealedReadKey is the seed of a year's read key, wrapped for one reader.
type SealedReadKey struct {
	Encapsulation [EncapsulationSize]byte
	Sealed        [SeedSize + 16]byte
}

// SealReadKey wraps the seed of the read key of a year for a reader.
func SealReadKey(reader hpke.PublicKey, archive [16]byte, year uint16, seed *[SeedSize]byte) (*SealedReadKey, error) {
	aad := readKeyAAD(archive, year)
	enc, aead, err := encapsulate(reader, append([]byte("stele/reader/v1"), aad...), readKeyLabel)
	if err != nil {
		return nil, err
	}
	s := &SealedReadKey{Encapsulation: enc}
	aead.Seal(s.Sealed[:0], zeroNonce[:], seed[:], aad)
	return s, nil
}

// Open recovers the seed. The error is [ErrUnwrap]. The caller compares the public half with the key in the control log.
func (s *SealedReadKey) Open(reader hpke.PrivateKey, archive [16]byte, year uint16) (seed [SeedSize]byte, err error) {
	aad := readKeyAAD(archive, year)
	aead, err := decapsulate(reader, &s.Encapsulation, append([]byte("stele/reader/v1"), aad...), readKeyLabel)
	if err != nil {
		return seed, err
	}
	if _, err := aead.Open(seed[:0], zeroNonce[:], s.Sealed[:], aad); err != nil {
		return [SeedSize]byte{}, fmt.Errorf("%w: read key of %d: %w", ErrUnwrap, year, err)
	}
	return seed, nil
}

func readKeyAAD(archive [16]byte, year uint16) []byte {
	return binary.LittleEndian.AppendUint16(append(make([]byte, 0, 18), archive[:]...), year)
}

// SealQuarantine seals a message that was set aside to the newest read key.
func SealQuarantine(key hpke.PublicKey, archive [16]byte, message []byte) ([]byte, error) {
	enc, aead, err := encapsulate(key, quarantineInfo(archive, sha256.Sum256(message)), quarantineLabel)
	if err != nil {
		return nil, err
	}
	return aead.Seal(append(make([]byte, 0, len(enc)+len(message)+16), enc[:]...), zeroNonce[:], message, nil), nil
}

// OpenQuarantine opens what SealQuarantine sealed and checks that the message has the SHA-256 that the list names. The
// error is [ErrUnwrap].
func OpenQuarantine(key hpke.PrivateKey, archive [16]byte, sum [32]byte, sealed []byte) ([]byte, error) {
	if len(sealed) < EncapsulationSize {
		return nil, fmt.Errorf("%w: quarantined message of %d bytes", ErrUnwrap, len(sealed))
	}
	enc := (*[EncapsulationSize]byte)(sealed)
	aead, err := decapsulate(key, enc, quarantineInfo(archive, sum), quarantineLabel)
	if err != nil {
		return nil, err
	}
	message, err := aead.Open(nil, zeroNonce[:], sealed[EncapsulationSize:], nil)
	if err != nil {
		return nil, fmt.Errorf("%w: quarantined message: %w", ErrUnwrap, err)
	}
	if sha256.Sum256(message) != sum {
		return nil, fmt.Errorf("%w: quarantined message has another SHA-256", ErrUnwrap)
	}
	return message, nil
}

func quarantineInfo(archive [16]byte, sum [32]byte) []byte {
	return append(append([]byte("stele/quarantine/v1"), archive[:]...), sum[:]...)
}
