package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Packing is how a plaintext is compressed.
type Packing uint8

// The packings.
const (
	PackNone Packing = iota
	PackS2           // fast
	PackZstd         // small
)

const (
	nonceSize = 12
	tagSize   = 16
)

// Options of a [Codec].
type Options struct {
	// Thorough makes zstd search longer: its default level in place of its fastest.
	Thorough bool

	// AEAD makes the cipher of a block from its key. Nil, as everywhere outside of tests, means AES-256-GCM. It exists so
	// that the test which looks for plaintext in stored bytes can be run with a cipher that does nothing, and be seen to
	// fail. The cipher must have 12-byte nonces and 16 bytes of overhead.
	AEAD func(key []byte) (cipher.AEAD, error)
}

// Place is where a block belongs. The block opens nowhere else.
type Place struct {
	Archive   [16]byte
	Partition uint32
	Stream    [16]byte
	Scope     [16]byte
	Class     string // at most 255 bytes
}

// Codec packs and encrypts blocks, and opens them. It owns its compressors, made when they are first needed, and its
// buffers: about 1 MiB for sealing, up to 5 MiB for opening.
type Codec struct {
	opt    Options
	enc    *zstd.Encoder
	dec    *zstd.Decoder
	inner  []byte // what opening decrypts into
	aad    []byte
	digest []byte // what the nonce is the hash of
}

// NewCodec returns a codec.
func NewCodec(opt Options) *Codec {
	if opt.AEAD == nil {
		opt.AEAD = newGCM
	}
	return &Codec{opt: opt}
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Close lets go of the compressors. The codec may be used on and makes new ones.
func (c *Codec) Close() error {
	if c.dec != nil {
		c.dec.Close()
		c.dec = nil
	}
	if c.enc == nil {
		return nil
	}
	err := c.enc.Close()
	c.enc = nil
	return err
}

// Seal appends the sealed block to dst. A packing that makes the plaintext no smaller is not used. b stays as it is, so
// that it can be sealed again: the same records in the same place give the same bytes.
func (c *Codec) Seal(dst []byte, s *Scope, at *Place, b *Block, packing Packing) ([]byte, error) {
	if b.n == 0 {
		return nil, errors.New("seal: block without a record")
	}
	aead, err := c.cipher(s, b.first)
	if err != nil {
		return nil, err
	}
	if err := c.setAAD(at, b.first); err != nil {
		return nil, err
	}
	start := len(dst)
	nonce := c.nonce(at, b)
	dst = append(dst, nonce[:]...)
	if dst, err = c.pack(dst, b.plain, packing); err != nil {
		return nil, err
	}
	inner := dst[start+nonceSize:]
	return aead.Seal(dst[:start+nonceSize], dst[start:start+nonceSize], inner, c.aad), nil
}

// Open decrypts and unpacks a block whose slot 0 has the sequence number first, and appends its plaintext to dst, for
// [Plaintext.Parse]. The error is [ErrOpen], or a [FormatError] for what an authentic writer packed wrongly.
func (c *Codec) Open(dst []byte, s *Scope, at *Place, first uint64, block []byte) ([]byte, error) {
	if len(block) < nonceSize+tagSize {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrOpen, len(block))
	}
	aead, err := c.cipher(s, first)
	if err != nil {
		return nil, err
	}
	if err := c.setAAD(at, first); err != nil {
		return nil, err
	}
	c.inner, err = aead.Open(c.inner[:0], block[:nonceSize], block[nonceSize:], c.aad)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOpen, err)
	}
	return c.unpack(dst, c.inner)
}

func (c *Codec) cipher(s *Scope, first uint64) (cipher.AEAD, error) {
	key := s.blockKey(first)
	return c.opt.AEAD(key[:])
}

func (c *Codec) setAAD(at *Place, first uint64) error {
	if len(at.Class) > 255 {
		return fmt.Errorf("seal: class name has %d bytes", len(at.Class))
	}
	aad := append(c.aad[:0], version)
	aad = append(aad, at.Archive[:]...)
	aad = binary.LittleEndian.AppendUint32(aad, at.Partition)
	aad = append(aad, at.Stream[:]...)
	aad = append(aad, at.Scope[:]...)
	aad = binary.LittleEndian.AppendUint64(aad, first)
	aad = append(aad, byte(len(at.Class)))
	c.aad = append(aad, at.Class...)
	return nil
}

func (c *Codec) nonce(at *Place, b *Block) (nonce [nonceSize]byte) {
	c.digest = append(c.digest[:0], at.Stream[:]...)
	c.digest = binary.LittleEndian.AppendUint64(c.digest, b.first)
	c.digest = append(c.digest, b.commitments...)
	h := sha256.Sum256(c.digest)
	copy(nonce[:], h[:])
	return nonce
}

// pack appends inner to dst.
func (c *Codec) pack(dst, plain []byte, packing Packing) ([]byte, error) {
	at := len(dst)
	dst = append(dst, byte(packing))
	dst = binary.AppendUvarint(dst, uint64(len(plain)))
	body := len(dst)
	switch packing {
	case PackNone:
	case PackS2:
		dst = slices.Grow(dst, s2.MaxEncodedLen(len(plain)))
		dst = dst[:body+len(s2.Encode(dst[body:cap(dst)], plain))]
	case PackZstd:
		enc, err := c.encoder()
		if err != nil {
			return nil, err
		}
		dst = enc.EncodeAll(plain, dst)
	default:
		return nil, fmt.Errorf("seal: no such packing: %d", packing)
	}
	if packing == PackNone || len(dst)-body >= len(plain) {
		dst[at] = byte(PackNone)
		dst = append(dst[:body], plain...)
	}
	return dst, nil
}

// unpack appends the plaintext of inner to dst. The declared length is checked before anything is allocated for it.
func (c *Codec) unpack(dst, inner []byte) ([]byte, error) {
	in := cursor{what: "inner", data: inner}
	packing := Packing(in.u8())
	declared := in.uv()
	if declared > maxPlaintext {
		in.fail(1, fmt.Errorf("%d bytes declared, the limit is %d", declared, maxPlaintext))
	}
	if in.err != nil {
		return nil, in.err
	}
	n, packed := int(declared), inner[in.off:]
	start := len(dst)
	dst = slices.Grow(dst, n)
	out, err := c.expand(dst[start:start:start+n], packed, packing)
	switch {
	case err != nil:
		in.fail(in.off, err)
	case len(out) != n:
		in.fail(in.off, fmt.Errorf("%d bytes, %d declared", len(out), n))
	}
	if in.err != nil {
		return nil, in.err
	}
	return dst[:start+n], nil
}

// expand unpacks into the empty slice dst, never past its capacity.
func (c *Codec) expand(dst, packed []byte, packing Packing) ([]byte, error) {
	switch packing {
	case PackNone:
		if len(packed) > cap(dst) {
			return nil, errors.New("more bytes than declared")
		}
		return append(dst, packed...), nil
	case PackS2:
		if n, err := s2.DecodedLen(packed); err != nil || n > cap(dst) {
			return nil, errors.New("s2: bad or other length than declared")
		}
		return s2.Decode(dst, packed)
	case PackZstd:
		dec, err := c.decoder()
		if err != nil {
			return nil, err
		}
		return dec.DecodeAll(packed, dst)
	}
	return nil, fmt.Errorf("no such packing: %d", packing)
}

// encoder makes the zstd encoder: no checksum, because the tag of the block says more.
func (c *Codec) encoder() (*zstd.Encoder, error) {
	if c.enc != nil {
		return c.enc, nil
	}
	level := zstd.SpeedFastest
	if c.opt.Thorough {
		level = zstd.SpeedDefault
	}
	var err error
	c.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
	return c.enc, err
}

func (c *Codec) decoder() (*zstd.Decoder, error) {
	if c.dec != nil {
		return c.dec, nil
	}
	var err error
	c.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxPlaintext), zstd.WithDecoderMaxWindow(maxPlaintext), zstd.WithDecodeAllCapLimit(true))
	return c.dec, err
}
