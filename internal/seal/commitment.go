package seal

import (
	"crypto/sha256"
	"math"
)

// SaltSize is the length of a salt in bytes.
const SaltSize = 16

// ScopeSeq stands for the sequence number where a scope commits to its own fields.
const ScopeSeq = math.MaxUint64

// Field is the number of a sealed field.
type Field uint8

// The sealed fields of a record, then those of a scope.
const (
	FieldBody        Field = 1
	FieldCallerID    Field = 2
	FieldTrace       Field = 3
	FieldAttributes  Field = 4
	FieldContentType Field = 5
	FieldMore        Field = 6

	FieldTenant  Field = 16
	FieldSubject Field = 17
	FieldSession Field = 18
)

// FieldCount is how many sealed fields a record has.
const FieldCount = 6

// Fields are the sealed values of a record. All are always present and may be empty.
type Fields struct {
	Body        [][]byte // the body is the pieces joined
	CallerID    []byte
	Trace       []byte // see [AppendTrace]
	Attributes  []byte // the JSON object as captured, insignificant white space removed
	ContentType []byte
	More        []byte // see [AppendZone]
}

// FieldHash is the hash of one field under its salt. It needs no key.
func FieldHash(salt [SaltSize]byte, f Field, value []byte) (h [32]byte) {
	d := sha256.New()
	d.Write(salt[:])
	d.Write([]byte{byte(f)})
	d.Write(value)
	d.Sum(h[:0])
	return h
}

// Commitment joins the six field hashes of a record, field 1 first, to the commitment in its leaf. It needs no key.
func Commitment(hashes *[FieldCount][32]byte) [32]byte {
	const context = "stele/commit/v1\x00"
	var buf [len(context) + FieldCount*32]byte
	n := copy(buf[:], context)
	for i := range hashes {
		n += copy(buf[n:], hashes[i][:])
	}
	return sha256.Sum256(buf[:])
}
