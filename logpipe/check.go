package logpipe

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/stelelog/stele/internal/chatjson"
	"github.com/stelelog/stele/internal/record"
)

// Limits of a record besides Config.MaxBody.
const (
	maxParts  = 4096
	maxFields = 128 << 10 // bytes of all fields that go into the frame beside the body
	maxName   = 4095      // one less than a power of two, so that lengths can be tested together
	maxTrace  = 255

	maxSeconds = (1<<63 - 1) / 1_000_000_000
)

// check reports what is wrong with a record. It is on the path of every Capture.
func (r *Record) check(maxBody int) error {
	if r.Kind < Input || r.Kind > Error {
		return invalid("Kind", "%v is none of Input, Output, State, Error", r.Kind)
	}
	if r.Class != "" && !record.ValidClass(r.Class) {
		return invalid("Class", "not 1 to 32 of a-z, 0-9 and -")
	}
	if err := r.checkTexts(); err != nil {
		return err
	}
	if len(r.Attributes) > 0 {
		if err := checkAttributes(r.Attributes); err != nil {
			return err
		}
	}
	if !r.Time.IsZero() {
		if s := r.Time.Unix(); s < -maxSeconds || s >= maxSeconds {
			return invalid("Time", "%d is not between the years 1677 and 2262", r.Time.Year())
		}
	}
	body, fields := len(r.Body), len(r.CallerID)+len(r.ContentType)+len(r.Attributes)
	if len(r.Parts) > 0 {
		if len(r.Body) > 0 {
			return invalid("Parts", "set together with Body")
		}
		var err error
		if body, fields, err = checkParts(r.Parts, fields); err != nil {
			return err
		}
	}
	if body > maxBody {
		return &OpError{"capture", "Body", fmt.Errorf("%w: %d bytes, at most %d, the MaxBody of this pipe", ErrTooLarge, body, maxBody)}
	}
	if fields > maxFields {
		return &OpError{"capture", "", fmt.Errorf("%w: %d bytes beside the body, at most %d", ErrTooLarge, fields, maxFields)}
	}
	return nil
}

func (r *Record) checkTexts() error {
	traces := len(r.TraceID) | len(r.SpanID) | len(r.ParentID)
	if len(r.Tenant)|len(r.Subject)|len(r.Session)|len(r.ContentType) > maxName || traces > maxTrace {
		if err := r.tooLong(); err != nil {
			return err
		}
	}
	if !ascii(r.Session) || !ascii(r.Subject) || !ascii(r.Tenant) {
		return r.checkUTF8()
	}
	if traces|len(r.CallerID)|len(r.ContentType) == 0 { // most records have none of these
		return nil
	}
	if !ascii(r.CallerID) || !ascii(r.ContentType) || !ascii(r.TraceID) || !ascii(r.SpanID) || !ascii(r.ParentID) {
		return r.checkUTF8()
	}
	return nil
}

// ascii reports whether s has only bytes below 0x80.
func ascii(s string) bool {
	var all byte
	for i := 0; i < len(s); i++ {
		all |= s[i]
	}
	return all < utf8.RuneSelf
}

type text struct {
	name, value string
	most        int
}

func (r *Record) texts() [8]text {
	return [...]text{{"Tenant", r.Tenant, maxName}, {"Subject", r.Subject, maxName}, {"Session", r.Session, maxName},
		{"CallerID", r.CallerID, maxFields}, {"ContentType", r.ContentType, maxName},
		{"TraceID", r.TraceID, maxTrace}, {"SpanID", r.SpanID, maxTrace}, {"ParentID", r.ParentID, maxTrace}}
}

func (r *Record) tooLong() error {
	for _, f := range r.texts() {
		if len(f.value) > f.most {
			return &OpError{"capture", f.name, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(f.value), f.most)}
		}
	}
	return nil
}

func (r *Record) checkUTF8() error {
	for _, f := range r.texts() {
		if !utf8.ValidString(f.value) {
			return &OpError{"capture", f.name, errNotUTF8}
		}
	}
	return nil
}

var errNotUTF8 = errors.New("not UTF-8")

func checkAttributes(object []byte) error {
	switch {
	case chatjson.IsObject(object):
		return nil
	case !utf8.Valid(object):
		return &OpError{"capture", "Attributes", errNotUTF8}
	}
	return invalid("Attributes", "no JSON object, or one of too many levels")
}

func checkParts(parts []Part, fields int) (body, all int, err error) {
	if len(parts) > maxParts {
		return 0, 0, &OpError{"capture", "Parts", fmt.Errorf("%w: %d parts, at most %d", ErrTooLarge, len(parts), maxParts)}
	}
	for i := range parts {
		p := &parts[i]
		switch {
		case p.URI == "":
			body += len(p.Data)
		case len(p.Data) > 0 || p.Size < 0:
			return 0, 0, invalid("Parts", "part %d: literal bytes and a URI, or a negative size", i)
		case !utf8.ValidString(p.URI) || !utf8.ValidString(p.MediaType):
			return 0, 0, &OpError{"capture", "Parts", errNotUTF8}
		default:
			fields += len(p.URI) + len(p.MediaType)
		}
	}
	return body, fields + 32*len(parts), nil
}

// zoneOf tells the zone offset that t was given with: 0 for Z, else minutes + 1,440. The local time of a machine that
// runs in UTC is Z.
func zoneOf(t time.Time) uint16 {
	if t.Location() == time.UTC {
		return 0
	}
	_, seconds := t.Zone()
	if seconds == 0 && t.Location() == time.Local {
		return 0
	}
	minutes := seconds / 60
	if minutes <= -1440 || minutes >= 1440 {
		return 0
	}
	return uint16(minutes + 1440)
}
