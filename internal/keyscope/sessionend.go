package keyscope

import (
	"crypto/ed25519"
	"encoding/binary"
)

const sessionEndContext = "stele/session-end/v1\n"

// SessionEnd says that a session is over. It takes effect for scopes opened by streams of the same service.
type SessionEnd struct {
	Cert *Cert
	Time int64 // nanoseconds since 1970
	Tags Tags
}

// Sign returns the bytes of the message. The key is the one that the certificate names.
func (m *SessionEnd) Sign(stream ed25519.PrivateKey) ([]byte, error) {
	b, err := m.Cert.appendTo(appendHead(nil, "STLE"), stream)
	if err != nil {
		return nil, err
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Time))
	return sign(m.Tags.append(b), sessionEndContext, stream), nil
}

// ParseSessionEnd reads a session end and checks what [ParseGrants] checks.
func ParseSessionEnd(data []byte) (*SessionEnd, error) {
	c := cursor{what: "session end", data: data}
	c.head("STLE")
	m := &SessionEnd{Cert: c.cert(), Time: int64(c.u64()), Tags: c.tags()}
	if err := c.signed(m.Cert, sessionEndContext); err != nil {
		return nil, err
	}
	return m, nil
}
