package httplog

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"
)

// encodingOf returns the content coding of a body, "" for none.
func encodingOf(h http.Header) string {
	coding := strings.ToLower(strings.TrimSpace(strings.Join(h.Values("Content-Encoding"), ", ")))
	if coding == "identity" {
		return ""
	}
	return coding
}

// decode returns up to limit bytes of what body holds under its content coding, so that attributes can be read from
// them. readable reports that at most a tail is missing which the body itself does not have.
func decode(coding string, body []byte, limit int) (plain []byte, readable bool) {
	var r io.Reader
	var err error
	switch coding {
	case "":
		return body, true
	case "gzip", "x-gzip":
		r, err = gzip.NewReader(bytes.NewReader(body))
	case "deflate":
		r, err = zlib.NewReader(bytes.NewReader(body))
	default:
		return nil, false
	}
	if err == nil {
		plain, err = io.ReadAll(io.LimitReader(r, int64(limit)+1))
	}
	if len(plain) > limit {
		return plain[:limit], false
	}
	return plain, err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
