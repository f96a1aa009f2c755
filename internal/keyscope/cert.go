package keyscope

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Durability says when a writer calls a record captured.
type Durability uint8

// The durabilities, weakest first.
const (
	Memory  Durability = 1 + iota // in the memory of the process
	Spooled                       // on the local disk
	Acked                         // in the transport
)

const certContext = "stele/stream/v1\n"

// Link names the end of a stream's predecessor. The zero Link says that there is none.
type Link struct {
	Stream [16]byte
	Seq    uint64   // of the last leaf
	Head   [32]byte // of the last frame
}

// Cert is a stream certificate: the service key says that the stream key signs for it. Certificates come from
// [SignCert] and [ParseCert] and are not to be changed.
type Cert struct {
	Archive    [16]byte
	Partition  uint32
	Stream     [16]byte
	StreamKey  [ed25519.PublicKeySize]byte
	ServiceKey [ed25519.PublicKeySize]byte
	Time       int64  // nanoseconds since 1970
	BeatEvery  uint32 // milliseconds
	Durability Durability
	Prev       Link
	Service    string // at most 255 bytes
	Software   string // at most 255 bytes

	raw []byte
}

// SignCert completes c with the public half of the service key and signs it.
func SignCert(c Cert, service ed25519.PrivateKey) (*Cert, error) {
	if c.Durability < Memory || c.Durability > Acked {
		return nil, fmt.Errorf("keyscope: no such durability: %d", c.Durability)
	}
	for _, s := range [...]string{c.Service, c.Software} {
		if len(s) > 255 || !utf8.ValidString(s) {
			return nil, errors.New("keyscope: names in a stream certificate are UTF-8 of at most 255 bytes")
		}
	}
	copy(c.ServiceKey[:], service.Public().(ed25519.PublicKey))
	c.raw = sign(c.body(), certContext, service)
	return &c, nil
}

func (c *Cert) body() []byte {
	le := binary.LittleEndian
	b := append([]byte{version}, c.Archive[:]...)
	b = le.AppendUint32(b, c.Partition)
	b = append(b, c.Stream[:]...)
	b = append(b, c.StreamKey[:]...)
	b = append(b, c.ServiceKey[:]...)
	b = le.AppendUint64(b, uint64(c.Time))
	b = le.AppendUint32(b, c.BeatEvery)
	b = append(b, byte(c.Durability))
	b = append(b, c.Prev.Stream[:]...)
	b = le.AppendUint64(b, c.Prev.Seq)
	b = append(b, c.Prev.Head[:]...)
	b = appendString8(b, c.Service)
	return appendString8(b, c.Software)
}

// Bytes returns the certificate as it was signed. The caller must not change them.
func (c *Cert) Bytes() []byte { return c.raw }

// ParseCert reads a certificate and checks that the service key in it has signed it. It keeps a copy of data.
func ParseCert(data []byte) (*Cert, error) {
	c := cursor{what: "certificate", data: data}
	c.version()
	cert := &Cert{
		Archive:    c.id(),
		Partition:  c.u32(),
		Stream:     c.id(),
		StreamKey:  c.hash(),
		ServiceKey: c.hash(),
		Time:       int64(c.u64()),
		BeatEvery:  c.u32(),
	}
	at := c.off
	cert.Durability = Durability(c.u8())
	if c.err == nil && (cert.Durability < Memory || cert.Durability > Acked) {
		c.fail(at, fmt.Errorf("no such durability: %d", cert.Durability))
	}
	cert.Prev = Link{Stream: c.id(), Seq: c.u64(), Head: c.hash()}
	cert.Service, cert.Software = c.text8(), c.text8()
	c.take(ed25519.SignatureSize)
	if err := c.end(); err != nil {
		return nil, err
	}
	if err := verify(data, certContext, cert.ServiceKey[:]); err != nil {
		return nil, fmt.Errorf("stream certificate: %w", err)
	}
	cert.raw = append([]byte(nil), data...)
	return cert, nil
}

// sign appends to message its signature over the context and itself.
func sign(message []byte, context string, key ed25519.PrivateKey) []byte {
	return append(message, ed25519.Sign(key, append([]byte(context), message...))...)
}

// verify checks what sign has appended. The message has at least the length of a signature.
func verify(signed []byte, context string, key ed25519.PublicKey) error {
	n := len(signed) - ed25519.SignatureSize
	if !ed25519.Verify(key, append([]byte(context), signed[:n]...), signed[n:]) {
		return ErrSignature
	}
	return nil
}
