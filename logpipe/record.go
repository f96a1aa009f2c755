package logpipe

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"
)

// Kind says what a record is.
type Kind uint8

// The four kinds.
const (
	Input  Kind = 1 + iota // what a model or tool was asked
	Output                 // what it answered
	State                  // what happened in between: retrieved context, tool calls, probabilities
	Error                  // what went wrong
)

var kindNames = [...]string{"", "input", "output", "state", "error"}

// String returns the name of the kind as it stands in JSON.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// MarshalText writes the name of the kind.
func (k Kind) MarshalText() ([]byte, error) {
	if k < Input || k > Error {
		return nil, fmt.Errorf("logpipe: no such kind %d", uint8(k))
	}
	return []byte(kindNames[k]), nil
}

// UnmarshalText reads the name of a kind.
func (k *Kind) UnmarshalText(text []byte) error {
	for i := Input; i <= Error; i++ {
		if kindNames[i] == string(text) {
			*k = i
			return nil
		}
	}
	return fmt.Errorf("logpipe: kind %q is none of input, output, state, error", text)
}

// ID names a record for ever. It is random.
type ID [16]byte

// NewID makes an ID.
func NewID() (id ID) {
	rand.Read(id[:])
	return id
}

// String returns 32 hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Record is one thing to keep. Only Kind is required.
type Record struct {
	ID   ID        // made by the pipe when zero
	Kind Kind      //
	Time time.Time // of the event; the time of capture when zero; 1677 to 2262; the zone offset is kept

	Tenant  string // whose data this is; sealed, searchable by those who may read
	Subject string // the data subject, the person that can ask to be forgotten; sealed
	Session string // conversation or run; records of one session keep their order; sealed

	Class string // retention class; "" is "default", and which of the two was given is kept

	CallerID string // the caller's own id, kept as it is and not made unique
	TraceID  string // of OpenTelemetry, or any
	SpanID   string
	ParentID string

	// Attributes is a JSON object, kept to the digit. Names of OpenTelemetry (gen_ai.*) are understood; a few
	// operational ones stay in clear, see docs/formats/record.md.
	Attributes []byte

	ContentType string
	Body        []byte // at most Config.MaxBody bytes

	// Parts, if set, are the body in pieces, and Body must be empty. Split where content repeats, at message
	// boundaries of a chat say: a part that an earlier record of the same session and hour held is stored once.
	Parts []Part
}

// Part is a piece of a body: bytes, or a reference to content that is kept elsewhere.
type Part struct {
	Data []byte // literal bytes

	// With a URI, the part refers to content outside the archive, which only its digest ties to the record.
	URI       string
	SHA256    [32]byte
	Size      int64 // bytes
	MediaType string
}
