package merkle

import (
	"crypto/sha256"
	"encoding/base64"
)

// HashSize is the length of a [Hash] in bytes.
const HashSize = sha256.Size

const (
	// Domain separation of RFC 6962 section 2.1: a leaf never hashes like a node.
	leafPrefix = 0x00
	nodePrefix = 0x01

	// Up to this length leaf data is copied behind its prefix on the stack,
	// which costs less than feeding the hash twice.
	smallLeaf = 255
)

// base64Strict is RFC 4648 section 4 without its freedom: the unused bits of
// the last character are zero. It still skips line breaks, so callers check
// lengths.
var base64Strict = base64.StdEncoding.Strict()

// Hash is the SHA-256 hash of a leaf, of an interior node or of a whole tree.
type Hash [HashSize]byte

// LeafHash returns the hash of a leaf, SHA-256(0x00 || data) (RFC 6962 section
// 2.1). It does not allocate, and does not copy data longer than 255 bytes.
func LeafHash(data []byte) Hash {
	if len(data) <= smallLeaf {
		var buf [1 + smallLeaf]byte
		buf[0] = leafPrefix
		n := copy(buf[1:], data)
		return sha256.Sum256(buf[:1+n])
	}
	h := sha256.New()
	h.Write([]byte{leafPrefix})
	h.Write(data)
	var sum Hash
	h.Sum(sum[:0])
	return sum
}

// NodeHash returns the hash of the interior node over left and right,
// SHA-256(0x01 || left || right) (RFC 6962 section 2.1). It does not allocate.
func NodeHash(left, right Hash) Hash {
	var buf [1 + 2*HashSize]byte
	buf[0] = nodePrefix
	copy(buf[1:], left[:])
	copy(buf[1+HashSize:], right[:])
	return sha256.Sum256(buf[:])
}

// EmptyRoot returns the root of the tree without leaves, SHA-256 of nothing
// (RFC 6962 section 2.1).
func EmptyRoot() Hash { return sha256.Sum256(nil) }

// ParseHash parses the text form of a hash: 44 characters of standard base64,
// as [Hash.String] writes it. No other spelling is accepted.
func ParseHash(s string) (Hash, error) {
	var h Hash
	err := h.UnmarshalText([]byte(s))
	return h, err
}

// String returns h in standard base64 (RFC 4648 section 4), as checkpoints and
// proofs write it.
func (h Hash) String() string { return base64.StdEncoding.EncodeToString(h[:]) }

// MarshalText implements [encoding.TextMarshaler] with the form of [Hash.String].
func (h Hash) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, h[:]), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler]. It accepts what
// [ParseHash] accepts and leaves h unchanged when it fails.
func (h *Hash) UnmarshalText(text []byte) error {
	var buf [HashSize + 1]byte // room for what 44 characters without padding would hold
	if len(text) != base64.StdEncoding.EncodedLen(HashSize) {
		return invalidf("hash of %d characters, want %d", len(text), base64.StdEncoding.EncodedLen(HashSize))
	}
	n, err := base64Strict.Decode(buf[:], text)
	if err != nil {
		return invalidf("hash: %w", err)
	}
	if n != HashSize {
		return invalidf("hash of %d bytes, want %d", n, HashSize)
	}
	copy(h[:], buf[:])
	return nil
}
