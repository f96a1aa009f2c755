// Package envelope is the blob that the file and pkcs11 custodians write (docs/formats/custodian.md): an IV, and a share
// under AES-256-GCM.
package envelope

import "errors"

// The sizes of what is in a blob.
const (
	MinIV      = 12
	MaxIV      = 16
	Ciphertext = 32 + 16 // a share and a tag
)

const head = "STLC\x01"

// Pack joins an IV of 12 to 16 bytes and a ciphertext.
func Pack(iv, ciphertext []byte) ([]byte, error) {
	if len(iv) < MinIV || len(iv) > MaxIV {
		return nil, errors.New("the IV has not 12 to 16 bytes")
	}
	if len(ciphertext) != Ciphertext {
		return nil, errors.New("the ciphertext of a share has not 48 bytes")
	}
	blob := append([]byte(head), byte(len(iv)))
	return append(append(blob, iv...), ciphertext...), nil
}

// Unpack parts a blob. What it returns are parts of blob.
func Unpack(blob []byte) (iv, ciphertext []byte, err error) {
	if len(blob) <= len(head) || string(blob[:len(head)]) != head {
		return nil, nil, errors.New("it does not begin as one of version 1")
	}
	n, rest := int(blob[len(head)]), blob[len(head)+1:]
	if n < MinIV || n > MaxIV || len(rest) != n+Ciphertext {
		return nil, nil, errors.New("it has the wrong length")
	}
	return rest[:n], rest[n:], nil
}
