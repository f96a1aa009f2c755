// Package sealhook lets a test of this module replace the cipher of the blocks that a pipe seals: the test that looks for
// plaintext in stored bytes must be seen to fail with a cipher that does nothing. The replacement travels in the context
// that is given to logpipe.Open. In the same way the randomness of a key service can be replaced: the test that looks for
// erased keys must be seen to fail where node keys come again. Being internal, it is out of reach for services, and there is no setting for it.
package sealhook

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"io"
)

// AEAD makes the cipher of a block from its key, with 12-byte nonces and 16 bytes of overhead.
type AEAD func(key []byte) (cipher.AEAD, error)

type key struct{}

// With returns a context under which logpipe.Open uses f.
func With(ctx context.Context, f AEAD) context.Context { return context.WithValue(ctx, key{}, f) }

// From returns what With set, or nil.
func From(ctx context.Context) AEAD {
	f, _ := ctx.Value(key{}).(AEAD)
	return f
}

// Null is a cipher that does nothing: it appends 16 zero bytes.
func Null([]byte) (cipher.AEAD, error) { return null{}, nil }

type null struct{}

func (null) NonceSize() int { return 12 }
func (null) Overhead() int  { return 16 }

func (null) Seal(dst, _, plaintext, _ []byte) []byte {
	return append(append(dst, plaintext...), make([]byte, 16)...)
}

func (null) Open(dst, _, ciphertext, _ []byte) ([]byte, error) {
	return append(dst, ciphertext[:len(ciphertext)-16]...), nil
}

type randomKey struct{}

// WithRandom returns a context under which keys.Open takes random bytes from r.
func WithRandom(ctx context.Context, r io.Reader) context.Context {
	return context.WithValue(ctx, randomKey{}, r)
}

// Random returns what WithRandom set, or the random bytes of the system.
func Random(ctx context.Context) io.Reader {
	if r, ok := ctx.Value(randomKey{}).(io.Reader); ok {
		return r
	}
	return rand.Reader
}
