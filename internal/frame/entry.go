package frame

import (
	"crypto/sha256"

	"github.com/stelelog/stele/merkle"
)

// Kinds of entries.
const (
	entryScope = 1
	entryEncap = 2
	// EncapLen is the length of an HPKE encapsulation.
	EncapLen = 1120
)

// ScopeEntry introduces a scope in the frame that first uses it.
type ScopeEntry struct {
	ID      [16]byte
	Start   int64       // ns
	Grant   merkle.Hash // of the grant's bytes
	KCV     merkle.Hash // key check value
	Tenant  merkle.Hash // commitments
	Subject merkle.Hash
	Session merkle.Hash
	Class   string
}

// EncapEntry carries the encapsulation under which a stream wraps its scope keys for a day.
type EncapEntry struct {
	Day, Year uint16 // Year is that of the read key
	Enc       []byte // EncapLen bytes
}

// EncapID names an encapsulation.
func EncapID(enc []byte) [16]byte {
	h := sha256.Sum256(enc)
	return [16]byte(h[:])
}

// Append appends the bytes of the entry.
func (e *ScopeEntry) Append(dst []byte) []byte {
	dst = append(append(dst, entryScope), e.ID[:]...)
	dst = le.AppendUint64(dst, uint64(e.Start))
	for _, h := range [...]*merkle.Hash{&e.Grant, &e.KCV, &e.Tenant, &e.Subject, &e.Session} {
		dst = append(dst, h[:]...)
	}
	return append(append(dst, byte(len(e.Class))), e.Class...)
}

// Append appends the bytes of the entry.
func (e *EncapEntry) Append(dst []byte) []byte {
	dst = append(dst, entryEncap)
	dst = le.AppendUint16(dst, e.Day)
	dst = le.AppendUint16(dst, e.Year)
	return append(dst, e.Enc...)
}

const scopeFixed = 1 + 16 + 8 + 5*32 // of a scope entry, up to the length of its class

// entryKind is the kind of an entry that has the shape of one.
func entryKind(b []byte) (byte, error) {
	switch {
	case len(b) == 0:
	case b[0] == entryScope && len(b) > scopeFixed && len(b) == scopeFixed+1+int(b[scopeFixed]),
		b[0] == entryEncap && len(b) == 5+EncapLen:
		return b[0], nil
	}
	return 0, bad(SignedLen, "an entry is neither a scope nor an encapsulation")
}

// ParseEntry reads an entry: one of the two results is not nil.
func ParseEntry(b []byte) (*ScopeEntry, *EncapEntry, error) {
	kind, err := entryKind(b)
	if err != nil {
		return nil, nil, err
	}
	if kind == entryEncap {
		return nil, &EncapEntry{le.Uint16(b[1:]), le.Uint16(b[3:]), b[5:]}, nil
	}
	e := &ScopeEntry{ID: [16]byte(b[1:]), Start: int64(le.Uint64(b[17:])), Class: string(b[scopeFixed+1:])}
	for i, h := range [...]*merkle.Hash{&e.Grant, &e.KCV, &e.Tenant, &e.Subject, &e.Session} {
		copy(h[:], b[25+32*i:])
	}
	return e, nil, nil
}

// PeekScope reads what verifying keys needs of an entry that was hashed; ok is false if it is none of a scope.
// The class shares memory with b.
func PeekScope(b []byte) (id [16]byte, start int64, kcv merkle.Hash, class []byte, ok bool) {
	if kind, err := entryKind(b); err != nil || kind != entryScope {
		return id, 0, kcv, nil, false
	}
	return [16]byte(b[1:]), int64(le.Uint64(b[17:])), merkle.Hash(b[57:]), b[scopeFixed+1:], true
}

// Encaps checks all entries and returns those that are encapsulations. They share memory with the frame.
func (f *Frame) Encaps() (encaps []EncapEntry, err error) {
	for _, e := range f.EntryList {
		switch kind, err := entryKind(e); {
		case err != nil:
			return nil, err
		case kind == entryEncap:
			encaps = append(encaps, EncapEntry{le.Uint16(e[1:]), le.Uint16(e[3:]), e[5:]})
		}
	}
	return encaps, nil
}
