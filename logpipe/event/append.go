package event

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/stelelog/stele/logpipe"
)

// Append writes r as one line, with the LF, behind dst. [Decode] of the line gives a record that equals r but for ID,
// white space inside Attributes, and how the literal bytes of the body are divided into parts. The error is an
// [*Error] and returned with dst as it was: r cannot be written without loss.
func Append(dst []byte, r *logpipe.Record) ([]byte, error) {
	line, err := appendRecord(dst, r)
	if err != nil {
		return dst, err
	}
	return line, nil
}

func appendRecord(dst []byte, r *logpipe.Record) ([]byte, *Error) {
	kind, bad := r.Kind.MarshalText()
	if bad != nil {
		return nil, refuse("kind", "is none of input, output, state, error")
	}
	dst = append(append(append(dst, `{"kind":"`...), kind...), '"')
	if !r.Time.IsZero() {
		if err := checkTime(r.Time); err != nil {
			return nil, err
		}
		dst = appendTime(append(dst, `,"time":`...), r.Time)
	}
	for _, t := range texts(r) {
		if t.name == "content_type" && len(r.Attributes) > 0 {
			if err := checkAttributes(r.Attributes); err != nil {
				return nil, err
			}
			dst = append(append(dst, `,"attributes":`...), compact(r.Attributes)...)
		}
		if *t.value == "" {
			continue
		}
		if !utf8.ValidString(*t.value) {
			return nil, refuse(t.name, "holds bytes that are no UTF-8")
		}
		dst = appendString(appendName(dst, t.name), *t.value)
	}
	dst, err := appendBody(dst, r)
	return append(dst, '}', '\n'), err
}

func checkAttributes(attributes []byte) *Error {
	switch err := checkObject(attributes); {
	case err != nil:
		return refuse("attributes", "%s", err.Reason)
	case !utf8.Valid(attributes):
		return refuse("attributes", "holds bytes that are no UTF-8")
	}
	return nil
}

// appendTime keeps the instant exactly and the offset to the minute, which is all that RFC 3339 can say. What Capture
// keeps of a zone is the same.
func appendTime(dst []byte, t time.Time) []byte {
	_, offset := t.Zone()
	minutes := offset / 60
	switch {
	case t.Location() == time.UTC, t.Location() == time.Local && offset == 0, minutes <= -1440, minutes >= 1440:
		return t.UTC().AppendFormat(dst, `"2006-01-02T15:04:05.999999999Z"`)
	}
	return t.In(time.FixedZone("", minutes*60)).AppendFormat(dst, `"2006-01-02T15:04:05.999999999-07:00"`)
}

func appendBody(dst []byte, r *logpipe.Record) ([]byte, *Error) {
	body, outside, err := takeParts(r)
	if err != nil {
		return nil, err
	}
	switch {
	case len(body) == 0:
	case utf8.Valid(body):
		dst = appendString(appendName(dst, "body"), body)
	default:
		dst = append(appendName(dst, "body_base64"), '"')
		dst = append(base64.StdEncoding.AppendEncode(dst, body), '"')
	}
	for i, p := range outside {
		if !utf8.ValidString(p.URI) || !utf8.ValidString(p.MediaType) {
			return nil, refuse("parts", "holds bytes that are no UTF-8")
		}
		sep := `,{`
		if i == 0 {
			sep = `,"parts":[{`
		}
		dst = appendPart(append(dst, sep...), p)
	}
	if len(outside) > 0 {
		dst = append(dst, ']')
	}
	return dst, nil
}

func appendPart(dst []byte, p part) []byte {
	if p.at > 0 {
		dst = append(strconv.AppendInt(append(dst, `"at":`...), p.at, 10), ',')
	}
	dst = appendString(append(dst, `"uri":`...), p.URI)
	dst = hex.AppendEncode(append(dst, `,"sha256":"`...), p.SHA256[:])
	dst = strconv.AppendInt(append(dst, `","size":`...), p.Size, 10)
	if p.MediaType != "" {
		dst = appendString(appendName(dst, "media_type"), p.MediaType)
	}
	return append(dst, '}')
}

func appendName(dst []byte, name string) []byte {
	return append(append(append(dst, `,"`...), name...), `":`...)
}

// appendString writes valid UTF-8 as a JSON string and escapes only what JSON does not allow bare.
func appendString[T string | []byte](dst []byte, s T) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	run := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[run:i]...)
		run = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	return append(append(dst, s[run:]...), '"')
}
