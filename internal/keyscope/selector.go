package keyscope

import (
	"crypto/hpke"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	selectorLabel = "stele/selector/v1"
	selectorMagic = "STLS"
	selectorHead  = 8 + 16 + 2 // magic, version, zeros, archive id, week
	// selectorPad is what a selection is padded to a multiple of, so that its size does not tell whose name is in it.
	selectorPad = 512
	// maxSelector bounds a selection in bytes.
	maxSelector = 1 << 20
)

// SealSelector seals what a request or a hold selects to the intake key of a week: docs/formats/control.md.
func SealSelector(key hpke.PublicKey, archive [16]byte, week uint16, line []byte) ([]byte, error) {
	if len(line) > maxSelector {
		return nil, fmt.Errorf("selection of %d bytes, at most %d", len(line), maxSelector)
	}
	head := appendHead(nil, selectorMagic)
	head = binary.LittleEndian.AppendUint16(append(head, archive[:]...), week)
	enc, aead, err := encapsulate(key, append([]byte(selectorLabel), head[8:]...), selectorLabel)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, (4+len(line)+selectorPad-1)/selectorPad*selectorPad)
	binary.LittleEndian.PutUint32(plain, uint32(len(line)))
	copy(plain[4:], line)
	head = append(head, enc[:]...)
	return aead.Seal(head, zeroNonce[:], plain, head), nil
}

// SelectorWeek is the week of the intake key to which a selection is sealed.
func SelectorWeek(sealed []byte) (uint16, error) {
	if len(sealed) < selectorHead || string(sealed[:8]) != string(appendHead(nil, selectorMagic)) {
		return 0, errors.New("no sealed selection that this version can read")
	}
	return binary.LittleEndian.Uint16(sealed[24:]), nil
}

// OpenSelector opens what SealSelector sealed, with the private intake key of its week. The error is [ErrUnwrap].
func OpenSelector(key hpke.PrivateKey, archive [16]byte, sealed []byte) ([]byte, error) {
	if _, err := SelectorWeek(sealed); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnwrap, err)
	}
	if len(sealed) < selectorHead+EncapsulationSize || [16]byte(sealed[8:24]) != archive {
		return nil, fmt.Errorf("%w: sealed selection is cut, or of another archive", ErrUnwrap)
	}
	head := sealed[:selectorHead+EncapsulationSize]
	enc := (*[EncapsulationSize]byte)(sealed[selectorHead:])
	aead, err := decapsulate(key, enc, append([]byte(selectorLabel), sealed[8:selectorHead]...), selectorLabel)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, zeroNonce[:], sealed[len(head):], head)
	if err != nil {
		return nil, fmt.Errorf("%w: sealed selection: %w", ErrUnwrap, err)
	}
	if len(plain) < 4 {
		return nil, fmt.Errorf("%w: sealed selection without a length", ErrUnwrap)
	}
	n := binary.LittleEndian.Uint32(plain)
	if uint64(n) > uint64(len(plain)-4) {
		return nil, fmt.Errorf("%w: sealed selection of %d bytes in %d", ErrUnwrap, n, len(plain))
	}
	return plain[4 : 4+n], nil
}
