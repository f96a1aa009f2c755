// Package cosign is who else has seen the heads of a log: cosignatures of witnesses (c2sp.org/tlog-cosignature) and the
// policy that says how many of them are wanted (c2sp.org/tlog-policy). Pure: no I/O, no clock.
package cosign

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/merkle"
)

const (
	algCosignature = 4 // Ed25519 with a time
	sigBytes       = 8 + ed25519.SignatureSize
)

// Verifier checks the cosignatures of one witness: it implements note.Verifier.
type Verifier struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

// NewVerifier reads the key of a witness, name+hash+base64.
func NewVerifier(vkey string) (*Verifier, error) {
	name, rest, _ := strings.Cut(vkey, "+")
	hash, encoded, _ := strings.Cut(rest, "+")
	n, err := strconv.ParseUint(hash, 16, 32)
	key, err2 := base64.StdEncoding.Strict().DecodeString(encoded)
	switch {
	case name == "" || strings.ContainsAny(name, " \n") || len(hash) != 8 || errors.Join(err, err2) != nil:
		return nil, errors.New("a key of a witness is name+hash+base64")
	case len(key) == 0 || key[0] != algCosignature:
		return nil, errors.New("the key is not one for Ed25519 cosignatures with a time, the kind that is known here")
	case len(key) != 1+ed25519.PublicKeySize:
		return nil, fmt.Errorf("the key has %d bytes, not 32", len(key)-1)
	}
	sum := sha256.Sum256([]byte(name + "\n" + string(key)))
	if binary.BigEndian.Uint32(sum[:]) != uint32(n) {
		return nil, errors.New("the hash in the key is not that of its name and bytes")
	}
	return &Verifier{name, uint32(n), ed25519.PublicKey(key[1:])}, nil
}

// String is the key as NewVerifier reads it.
func (v *Verifier) String() string {
	return fmt.Sprintf("%s+%08x+%s", v.name, v.hash, base64.StdEncoding.EncodeToString(append([]byte{algCosignature}, v.key...)))
}

// Name implements note.Verifier.
func (v *Verifier) Name() string { return v.name }

// KeyHash implements note.Verifier.
func (v *Verifier) KeyHash() uint32 { return v.hash }

// Verify implements note.Verifier.
func (v *Verifier) Verify(msg, sig []byte) bool {
	var c merkle.Checkpoint
	if len(sig) != sigBytes || c.UnmarshalText(msg) != nil {
		return false
	}
	signed := fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig), msg)
	return ed25519.Verify(v.key, signed, sig[8:])
}

// LookBack is how many entries back the archive is searched for what witnesses cosigned last. It is a hint: a witness
// says itself what it knows.
const LookBack = 1000

// Cosignature is what one witness said of a checkpoint.
type Cosignature struct {
	Witness string // its name in the policy
	Time    time.Time
	Line    string // of the note, with its newline
}

// Read returns the cosignatures on a signed checkpoint by witnesses of the policy, each once. One that is wrong is an
// error; who else signed does not matter here.
func (p *Policy) Read(checkpoint []byte) ([]Cosignature, error) {
	n, err := note.Open(checkpoint, verifiers(p.Witnesses))
	var none *note.UnverifiedNoteError
	if errors.As(err, &none) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Cosignature
	for _, s := range n.Sigs {
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil || len(raw) != 4+sigBytes {
			return nil, errors.New("cosign: signature of another length")
		}
		for _, w := range p.Witnesses {
			if w.Key.hash == s.Hash && w.Key.name == s.Name {
				out = append(out, Cosignature{w.Name, time.Unix(int64(binary.BigEndian.Uint64(raw[4:])), 0).UTC(), fmt.Sprintf("— %s %s\n", s.Name, s.Base64)})
			}
		}
	}
	return out, nil
}

// verifiers finds the key of a witness.
type verifiers []Witness

func (vs verifiers) Verifier(name string, hash uint32) (note.Verifier, error) {
	for _, w := range vs {
		if w.Key.name == name && w.Key.hash == hash {
			return w.Key, nil
		}
	}
	return nil, &note.UnknownVerifierError{Name: name, KeyHash: hash}
}
