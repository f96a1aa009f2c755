package keyscope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Sizes in bytes.
const (
	SeedSize          = 32
	EncapsulationSize = 1120
)

// KEM is the key encapsulation of all read, intake and reader keys: ML-KEM-768 with X25519. Its private keys are their
// 32-byte seeds, its NewPrivateKey and NewPublicKey take the bytes that files and entries hold.
func KEM() hpke.KEM { return hpke.MLKEM768X25519() }

// EncapsulationID names an encapsulation: the first 16 bytes of its SHA-256.
func EncapsulationID(enc *[EncapsulationSize]byte) (id [16]byte) {
	h := sha256.Sum256(enc[:])
	copy(id[:], h[:])
	return id
}

// encapsulate makes a fresh secret for the holder of the private half of key, and the cipher under it.
func encapsulate(key hpke.PublicKey, info []byte, label string) (enc [EncapsulationSize]byte, aead cipher.AEAD, err error) {
	b, sender, err := hpke.NewSender(key, hpke.HKDFSHA256(), hpke.ExportOnly(), info)
	if err != nil {
		return enc, nil, fmt.Errorf("keyscope: encapsulate: %w", err)
	}
	if len(b) != len(enc) {
		return enc, nil, fmt.Errorf("keyscope: encapsulation has %d bytes: key of another kind", len(b))
	}
	copy(enc[:], b)
	aead, err = exported(sender.Export(label, 32))
	return enc, aead, err
}

// decapsulate recovers the cipher. It does not notice a wrong key or changed bytes: what is unwrapped with it does.
func decapsulate(key hpke.PrivateKey, enc *[EncapsulationSize]byte, info []byte, label string) (cipher.AEAD, error) {
	recipient, err := hpke.NewRecipient(enc[:], key, hpke.HKDFSHA256(), hpke.ExportOnly(), info)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnwrap, err)
	}
	return exported(recipient.Export(label, 32))
}

func exported(key []byte, err error) (cipher.AEAD, error) {
	if err != nil {
		return nil, fmt.Errorf("keyscope: export: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// streamInfo binds an encapsulation to an archive, a stream and a day or week.
func streamInfo(context string, archive, stream [16]byte, period uint16) []byte {
	info := append([]byte(context), archive[:]...)
	info = append(info, stream[:]...)
	return binary.LittleEndian.AppendUint16(info, period)
}
