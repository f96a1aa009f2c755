package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stelelog/stele/logpipe"
)

// Decode reads one event into r, all of whose fields it sets. Nothing of r aliases line afterwards. Every error is an
// [*Error], and leaves r undefined.
func Decode(line []byte, r *logpipe.Record) error {
	if err := decode(line, r); err != nil {
		return err
	}
	return nil
}

func decode(line []byte, r *logpipe.Record) *Error {
	*r = logpipe.Record{}
	if err := checkObject(line); err != nil {
		return err
	}
	d := decoder{record: r, seen: make(map[string]bool, 16)}
	if err := members(line, d.member); err != nil {
		return err
	}
	if r.Kind == 0 {
		return refuse("kind", "is missing: it is one of input, output, state, error")
	}
	return d.placeParts()
}

// checkObject makes sure that text is one JSON object, so that what reads it afterwards can be simple.
func checkObject(text []byte) *Error {
	if !json.Valid(text) {
		var v json.RawMessage
		return refuse("", "is no JSON: %v", json.Unmarshal(text, &v))
	}
	if bytes.TrimLeft(text, " \t\r\n")[0] != '{' {
		return refuse("", "is no JSON object")
	}
	return nil
}

// decoder holds what members say of one another.
type decoder struct {
	record  *logpipe.Record
	seen    map[string]bool
	outside []part
}

func (d *decoder) member(name string, value []byte) *Error {
	if d.seen[name] {
		return refuse(name, "appears twice")
	}
	d.seen[name] = true
	r := d.record
	switch name {
	case "kind":
		s, err := stringOf(name, value)
		if err == nil && r.Kind.UnmarshalText([]byte(s)) != nil {
			err = refuse(name, "is %q, none of input, output, state, error", clip(s))
		}
		return err
	case "time":
		return d.time(value)
	case "attributes":
		return d.attributes(value)
	case "body", "body_base64":
		return d.body(name, value)
	case "parts":
		return d.parts(value)
	}
	for _, t := range texts(r) {
		if t.name == name {
			var err *Error
			*t.value, err = stringOf(name, value)
			return err
		}
	}
	return refuse(clip(name), "is no member of an event; what has no member of its own goes into attributes")
}

func (d *decoder) time(value []byte) *Error {
	s, refused := stringOf("time", value)
	if refused != nil {
		return refused
	}
	t, err := parseTime(s)
	if err != nil {
		return err
	}
	d.record.Time = t
	return checkTime(t)
}

// rfc3339 is stricter than package time, which takes one digit for an hour, a comma for a point, and any offset.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(\d+))?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$`)

// parseTime reads RFC 3339. An offset stays what it was, also where it is the one of this machine; 'Z' is UTC.
func parseTime(s string) (time.Time, *Error) {
	shape := rfc3339.FindStringSubmatch(s)
	t, err := time.Parse(time.RFC3339, s)
	switch {
	case shape == nil || err != nil:
		return t, refuse("time", "is %q, no RFC 3339 time such as 2026-03-01T12:00:00.000000001+01:00", clip(s))
	case len(shape[1]) > 9:
		return t, refuse("time", "is %q: more than nine digits after the point cannot be kept", clip(s))
	case strings.HasSuffix(s, "Z"):
		return t.UTC(), nil
	}
	_, offset := t.Zone()
	return t.In(time.FixedZone("", offset)), nil
}

func (d *decoder) attributes(value []byte) *Error {
	if value[0] != '{' {
		return refuse("attributes", "is no JSON object")
	}
	if !utf8.Valid(value) {
		return refuse("attributes", "holds bytes that are no UTF-8")
	}
	d.record.Attributes = compact(value)
	return nil
}

// compact removes insignificant white space from valid JSON.
func compact(value []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(value))
	_ = json.Compact(&b, value) // fails on invalid JSON only
	return b.Bytes()
}

func (d *decoder) body(name string, value []byte) *Error {
	if d.seen["body"] && d.seen["body_base64"] {
		return refuse("body_base64", "stands beside body: give one of them")
	}
	if len(value) > 2 && value[0] == '"' && bytes.IndexByte(value, '\\') < 0 && name == "body" && utf8.Valid(value) {
		d.record.Body = bytes.Clone(value[1 : len(value)-1]) // the usual case, without a second copy
		return nil
	}
	s, err := stringOf(name, value)
	if err != nil || s == "" {
		return err
	}
	if name == "body" {
		d.record.Body = []byte(s)
		return nil
	}
	if strings.ContainsAny(s, "\r\n") {
		return refuse(name, "holds line breaks")
	}
	body, bad := base64.StdEncoding.Strict().DecodeString(s)
	if bad != nil {
		return refuse(name, "is no base64 (RFC 4648 section 4, with padding): %v", bad)
	}
	d.record.Body = body
	return nil
}

// stringOf returns the string that a JSON value is.
func stringOf(field string, value []byte) (string, *Error) {
	switch {
	case value[0] == 'n':
		return "", refuse(field, "is null: leave it out, or give a string")
	case value[0] != '"':
		return "", refuse(field, "is no string")
	}
	if !utf8.Valid(value) {
		return "", refuse(field, "holds bytes that are no UTF-8%s", hint(field))
	}
	s, ok := unquote(value[1 : len(value)-1])
	if !ok {
		return "", refuse(field, "escapes half of a surrogate pair, which is no character%s", hint(field))
	}
	return s, nil
}

func hint(field string) string {
	if field == "body" {
		return "; what is no text goes into body_base64"
	}
	return ""
}

// clip keeps what is quoted in an error short.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
