package event

import (
	"bytes"
	"encoding/hex"
	"strconv"

	"github.com/stelelog/stele/logpipe"
)

// part is a reference to content outside the archive, and where in the body it belongs.
type part struct {
	at int64
	logpipe.Part
}

// parts reads the member parts; where they belong is checked when the body is known.
func (d *decoder) parts(value []byte) *Error {
	if value[0] != '[' {
		return refuse("parts", "is no array")
	}
	return elements(value, func(element []byte) *Error {
		if element[0] != '{' {
			return refuse("parts", "holds what is no object")
		}
		p, err := parsePart(element)
		d.outside = append(d.outside, p)
		return err
	})
}

func parsePart(object []byte) (p part, err *Error) {
	seen := map[string]bool{}
	err = members(object, func(name string, value []byte) (err *Error) {
		field := "parts." + name
		if seen[name] {
			return refuse(field, "appears twice")
		}
		seen[name] = true
		switch name {
		case "at":
			p.at, err = sizeOf(field, value)
		case "size":
			p.Size, err = sizeOf(field, value)
		case "uri":
			p.URI, err = stringOf(field, value)
		case "media_type":
			p.MediaType, err = stringOf(field, value)
		case "sha256":
			p.SHA256, err = digestOf(field, value)
		default:
			return refuse(clip(field), "is no member of an event")
		}
		return err
	})
	for _, name := range []string{"uri", "sha256", "size"} {
		if err == nil && (!seen[name] || name == "uri" && p.URI == "") {
			err = refuse("parts."+name, "is missing: content outside the archive needs uri, sha256 and size")
		}
	}
	return p, err
}

func sizeOf(field string, value []byte) (int64, *Error) {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < 0 {
		return 0, refuse(field, "is %s, no number of bytes", clip(string(value)))
	}
	return n, nil
}

func digestOf(field string, value []byte) (sum [32]byte, err *Error) {
	s, err := stringOf(field, value)
	if err != nil {
		return sum, err
	}
	raw, bad := hex.DecodeString(s)
	if bad != nil || copy(sum[:], raw) != 32 || len(raw) != 32 || hex.EncodeToString(raw) != s {
		return sum, refuse(field, "is not 64 lower-case hex digits")
	}
	return sum, nil
}

// placeParts turns body and outside references into the parts of the record.
func (d *decoder) placeParts() *Error {
	if len(d.outside) == 0 {
		return nil
	}
	r, from := d.record, int64(0)
	for _, p := range d.outside {
		switch {
		case p.at < from:
			return refuse("parts.at", "falls to %d after %d: parts are in the order of the body", p.at, from)
		case p.at > int64(len(r.Body)):
			return refuse("parts.at", "is %d, beyond the end of a body of %d bytes", p.at, len(r.Body))
		case p.at > from:
			r.Parts = append(r.Parts, logpipe.Part{Data: r.Body[from:p.at:p.at]})
		}
		r.Parts = append(r.Parts, p.Part)
		from = p.at
	}
	if from < int64(len(r.Body)) {
		r.Parts = append(r.Parts, logpipe.Part{Data: r.Body[from:]})
	}
	r.Body = nil
	return nil
}

// takeParts is the way back: the whole body, and the outside references with their places.
func takeParts(r *logpipe.Record) (body []byte, outside []part, err *Error) {
	if len(r.Parts) == 0 {
		return r.Body, nil, nil
	}
	if len(r.Body) > 0 {
		return nil, nil, refuse("body", "stands beside parts: a record has one of them")
	}
	literal := make([][]byte, 0, len(r.Parts))
	at := int64(0)
	for _, p := range r.Parts {
		switch {
		case p.URI == "":
			literal = append(literal, p.Data)
			at += int64(len(p.Data))
		case len(p.Data) > 0:
			return nil, nil, refuse("parts", "has bytes beside a URI: a part has one of them")
		case p.Size < 0:
			return nil, nil, refuse("parts.size", "is %d, no number of bytes", p.Size)
		default:
			outside = append(outside, part{at, p})
		}
	}
	return bytes.Join(literal, nil), outside, nil
}
