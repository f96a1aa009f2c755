package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// Scope is what follows from the key of one scope. It takes about 2 KiB; commitments allocate nothing.
type Scope struct {
	blocks hash.Hash    // HMAC-SHA-256 under Kenc
	salts  cipher.Block // AES-256 under Ksalt
	hash   hash.Hash    // SHA-256, for values that do not fit into buf
	seed   [aes.BlockSize]byte
	buf    [256]byte
}

// NewScope derives the keys of a scope from its scope key.
func NewScope(key [32]byte) (*Scope, error) {
	enc, err := hkdf.Expand(sha256.New, key[:], "stele/v1/block", 32)
	if err != nil {
		return nil, err
	}
	salt, err := hkdf.Expand(sha256.New, key[:], "stele/v1/salt", 32)
	if err != nil {
		return nil, err
	}
	salts, err := aes.NewCipher(salt)
	if err != nil {
		return nil, err
	}
	return &Scope{blocks: hmac.New(sha256.New, enc), salts: salts, hash: sha256.New()}, nil
}

// blockKey derives the key of the block whose slot 0 has the sequence number q. HKDF-Expand to 32 bytes is one HMAC of
// the info and the byte 1 (RFC 5869, section 2.3); this one keeps the state that the key leads to.
func (s *Scope) blockKey(q uint64) (key [32]byte) {
	info := append(s.buf[:0], "stele/v1/key"...)
	info = binary.LittleEndian.AppendUint64(info, q)
	s.blocks.Reset()
	s.blocks.Write(append(info, 1))
	s.blocks.Sum(key[:0])
	return key
}

// Salt returns the salt of one field of one record: with the value and the other five field hashes it discloses this
// field and no other. The seq of the scope's own fields (tenant, subject, session) is [ScopeSeq].
func (s *Scope) Salt(seq uint64, f Field) (salt [SaltSize]byte) {
	s.putSalt(seq, f)
	copy(salt[:], s.buf[:])
	return salt
}

// putSalt writes the salt to the front of buf.
func (s *Scope) putSalt(seq uint64, f Field) {
	binary.LittleEndian.PutUint64(s.seed[:], seq)
	binary.LittleEndian.PutUint64(s.seed[8:], uint64(f))
	s.salts.Encrypt(s.buf[:SaltSize], s.seed[:])
}

// Commit returns the commitment to a record that has the sequence number seq.
func (s *Scope) Commit(seq uint64, v *Fields) [32]byte {
	hashes := s.FieldHashes(seq, v)
	return Commitment(&hashes)
}

// FieldHashes returns the six field hashes that [Commitment] joins, field 1 first.
func (s *Scope) FieldHashes(seq uint64, v *Fields) [FieldCount][32]byte {
	return [FieldCount][32]byte{
		s.bodyHash(seq, v.Body),
		s.fieldHash(seq, FieldCallerID, v.CallerID),
		s.fieldHash(seq, FieldTrace, v.Trace),
		s.fieldHash(seq, FieldAttributes, v.Attributes),
		s.fieldHash(seq, FieldContentType, v.ContentType),
		s.fieldHash(seq, FieldMore, v.More),
	}
}

// CommitScope returns the commitments of a scope entry to tenant, subject and session.
func (s *Scope) CommitScope(tenant, subject, session []byte) [3][32]byte {
	return [3][32]byte{
		s.fieldHash(ScopeSeq, FieldTenant, tenant),
		s.fieldHash(ScopeSeq, FieldSubject, subject),
		s.fieldHash(ScopeSeq, FieldSession, session),
	}
}

func (s *Scope) fieldHash(seq uint64, f Field, value []byte) [32]byte {
	s.putSalt(seq, f)
	s.buf[SaltSize] = byte(f)
	const head = SaltSize + 1
	if head+len(value) <= len(s.buf) {
		n := copy(s.buf[head:], value)
		return sha256.Sum256(s.buf[:head+n])
	}
	s.hash.Reset()
	s.hash.Write(s.buf[:head])
	s.hash.Write(value)
	return s.sum()
}

func (s *Scope) bodyHash(seq uint64, pieces [][]byte) [32]byte {
	switch len(pieces) {
	case 0:
		return s.fieldHash(seq, FieldBody, nil)
	case 1:
		return s.fieldHash(seq, FieldBody, pieces[0])
	}
	s.putSalt(seq, FieldBody)
	s.buf[SaltSize] = byte(FieldBody)
	s.hash.Reset()
	s.hash.Write(s.buf[:SaltSize+1])
	for _, p := range pieces {
		s.hash.Write(p)
	}
	return s.sum()
}

func (s *Scope) sum() (h [32]byte) {
	s.hash.Sum(s.buf[:0])
	copy(h[:], s.buf[:])
	return h
}
