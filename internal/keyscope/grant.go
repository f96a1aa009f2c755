package keyscope

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxGrants is how many grants a message may carry; it then has less than 400 KiB.
const MaxGrants = 2048

const grantsContext = "stele/grants/v1\n"

// Grant carries the key of one scope, wrapped twice.
type Grant struct {
	Scope         [16]byte
	Start         int64    // nanoseconds since 1970
	Encapsulation [16]byte // id of the encapsulation to the read key
	Outer         [OuterSize]byte
	Class         string // 1 to 32 bytes of a-z 0-9 -
}

// MakeGrant wraps the key of a scope with both wraps, which must be of the archive and stream in b, and returns the
// key check value for the scope entry beside it.
func MakeGrant(key *[32]byte, tags *Tags, b *Binding, read *ReadWrap, intake *IntakeWrap) (g Grant, check [32]byte, err error) {
	if !validClass(b.Class) {
		return g, check, fmt.Errorf("keyscope: %q is no class name", b.Class)
	}
	inner := read.Wrap(key, b)
	g = Grant{
		Scope:         b.Scope,
		Start:         b.Start,
		Encapsulation: read.ID,
		Outer:         intake.Wrap(&inner, tags, b),
		Class:         b.Class,
	}
	return g, KeyCheck(b.Scope, read.ID, &inner), nil
}

// Hash is H(grant), which the scope entry names.
func (g *Grant) Hash() [32]byte { return sha256.Sum256(g.append(nil)) }

func (g *Grant) append(dst []byte) []byte {
	dst = append(dst, g.Scope[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(g.Start))
	dst = append(dst, g.Encapsulation[:]...)
	dst = append(dst, g.Outer[:]...)
	return appendString8(dst, g.Class)
}

// Grants is a grant message: grants of one stream under one encapsulation to an intake key.
type Grants struct {
	Cert   *Cert
	Week   uint16
	Intake [EncapsulationSize]byte
	Grants []Grant
}

// Binding returns what the wraps of grant i are bound to.
func (m *Grants) Binding(i int) Binding {
	g := &m.Grants[i]
	return Binding{Archive: m.Cert.Archive, Stream: m.Cert.Stream, Scope: g.Scope, Start: g.Start, Class: g.Class}
}

// Sign returns the bytes of the message. The key is the one that the certificate names.
func (m *Grants) Sign(stream ed25519.PrivateKey) ([]byte, error) {
	if len(m.Grants) < 1 || len(m.Grants) > MaxGrants {
		return nil, fmt.Errorf("keyscope: %d grants in a message, 1 to %d may be", len(m.Grants), MaxGrants)
	}
	b, err := m.Cert.appendTo(appendHead(nil, "STLG"), stream)
	if err != nil {
		return nil, err
	}
	b = binary.LittleEndian.AppendUint16(b, m.Week)
	b = append(b, m.Intake[:]...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(m.Grants)))
	for i := range m.Grants {
		if !validClass(m.Grants[i].Class) {
			return nil, fmt.Errorf("keyscope: %q is no class name", m.Grants[i].Class)
		}
		b = m.Grants[i].append(b)
	}
	return sign(b, grantsContext, stream), nil
}

// ParseGrants reads a grant message. It checks both signatures: of the service key in the certificate, of the stream key
// over the message, and that archive and stream are those of the certificate. Nothing of data is kept.
func ParseGrants(data []byte) (*Grants, error) {
	c := cursor{what: "grants", data: data}
	c.head("STLG")
	m := &Grants{Cert: c.cert(), Week: c.u16()}
	c.fixed(m.Intake[:])
	at := c.off
	n := int(c.u16())
	if c.err == nil && (n < 1 || n > MaxGrants) {
		c.fail(at, fmt.Errorf("%d grants in a message, 1 to %d may be", n, MaxGrants))
	}
	for i := 0; i < n && c.err == nil; i++ {
		g := Grant{Scope: c.id(), Start: int64(c.u64()), Encapsulation: c.id()}
		c.fixed(g.Outer[:])
		g.Class = c.class()
		m.Grants = append(m.Grants, g)
	}
	if err := c.signed(m.Cert, grantsContext); err != nil {
		return nil, err
	}
	return m, nil
}

// appendTo appends archive, stream and certificate, with which both messages begin, and refuses another stream's key.
func (c *Cert) appendTo(dst []byte, stream ed25519.PrivateKey) ([]byte, error) {
	if [ed25519.PublicKeySize]byte(stream.Public().(ed25519.PublicKey)) != c.StreamKey {
		return nil, errors.New("keyscope: key is not the one in the stream certificate")
	}
	if len(c.raw) == 0 {
		return nil, errors.New("keyscope: stream certificate is not signed")
	}
	dst = append(dst, c.Archive[:]...)
	dst = append(dst, c.Stream[:]...)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(c.raw)))
	return append(dst, c.raw...), nil
}

// cert reads what appendTo appends. It returns nil after an error.
func (c *cursor) cert() *Cert {
	at := c.off
	archive, stream := c.id(), c.id()
	b := c.take(int(c.u16()))
	if c.err != nil {
		return nil
	}
	cert, err := ParseCert(b)
	if err == nil && (cert.Archive != archive || cert.Stream != stream) {
		err = errors.New("archive or stream is not the one in the certificate")
	}
	if err != nil {
		c.fail(at, err)
		return nil
	}
	return cert
}

// signed reads the signature with which both messages end and checks it.
func (c *cursor) signed(cert *Cert, context string) error {
	at := c.off
	c.take(ed25519.SignatureSize)
	if err := c.end(); err != nil {
		return err
	}
	if err := verify(c.data, context, cert.StreamKey[:]); err != nil {
		c.fail(at, err)
	}
	return c.err
}
