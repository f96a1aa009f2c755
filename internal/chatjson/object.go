package chatjson

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Object builds a JSON object member by member. The zero value is the empty object. It does not look for a name that is
// set twice.
type Object struct{ members []byte }

// Attributes name things, they do not hold content: what is over these limits is cut off. Otherwise a sender could make
// a record too large to be kept.
const (
	maxText  = 1024 // bytes
	maxTexts = 16   // texts of a list
	maxItem  = 256  // bytes of each
)

// Text adds a string. Bytes that are no UTF-8 are replaced, and what is over 1,024 bytes is cut off.
func (o *Object) Text(name, s string) {
	o.name(name)
	o.members = appendText(o.members, s[:min(len(s), maxText)])
}

// Texts adds an array of the first 16 strings, each cut at 256 bytes.
func (o *Object) Texts(name string, list []string) {
	o.name(name)
	o.members = append(o.members, '[')
	for i, s := range list[:min(len(list), maxTexts)] {
		if i > 0 {
			o.members = append(o.members, ',')
		}
		o.members = appendText(o.members, s[:min(len(s), maxItem)])
	}
	o.members = append(o.members, ']')
}

// Int adds a number.
func (o *Object) Int(name string, n int64) { o.Raw(name, strconv.AppendInt(nil, n, 10)) }

// Raw adds a value that is JSON already. The value is copied.
func (o *Object) Raw(name string, value []byte) {
	o.name(name)
	o.members = append(o.members, value...)
}

func (o *Object) name(name string) {
	if o.members == nil {
		o.members = make([]byte, 0, 512)
	}
	if len(o.members) > 0 {
		o.members = append(o.members, ',')
	}
	o.members = append(appendText(o.members, name), ':')
}

// appendText appends s as a JSON string.
func appendText(to []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			raw, _ := json.Marshal(strings.ToValidUTF8(s, "\uFFFD")) // strings do not fail
			return append(to, raw...)
		}
	}
	return append(append(append(to, '"'), s...), '"')
}

// Len returns the bytes of the members so far.
func (o *Object) Len() int { return len(o.members) }

// Append adds the members of another object.
func (o *Object) Append(other *Object) {
	if len(o.members) > 0 && len(other.members) > 0 {
		o.members = append(o.members, ',')
	}
	o.members = append(o.members, other.members...)
}

// has reports whether name is set. In a value the closing quote of the same text would be escaped.
func (o *Object) has(name string) bool {
	return bytes.Contains(o.members, []byte(`"`+name+`":`))
}

// JSON returns the object.
func (o *Object) JSON() []byte {
	out := make([]byte, 0, len(o.members)+2)
	return append(append(append(out, '{'), o.members...), '}')
}

// IsObject reports whether b is one JSON object (RFC 8259) in UTF-8, of at most 512 levels. It does not allocate.
func IsObject(b []byte) bool {
	i := space(b, 0)
	if i == len(b) || b[i] != '{' {
		return false
	}
	i = plain(b, space(b, i+1))
	if i < len(b) && b[i] == '}' { // so there is nothing but ASCII
		return space(b, i+1) == len(b)
	}
	i = moreMembers(b, i, 0, nil)
	return i >= 0 && space(b, i) == len(b) && utf8.Valid(b)
}

// IsPlain reports whether b is a JSON object in ASCII, of strings without escapes and whole numbers, without any white
// space: the usual form of attributes, and quickly seen.
func IsPlain(b []byte) bool {
	return len(b) > 0 && b[0] == '{' && plain(b, 1) == len(b)-1 && b[len(b)-1] == '}'
}

// Members calls visit for each member of a JSON object, in the order of its text, and reports whether object is one. When
// it is not, some may have been visited all the same. value is as it is written.
func Members(object []byte, visit func(name string, value []byte)) bool {
	start := space(object, 0)
	if start == len(object) || object[start] != '{' {
		return false
	}
	end := members(object, start, 0, func(name []byte, from, to int) {
		if bytes.IndexByte(name, '\\') >= 0 {
			visit(unquote(append(append([]byte{'"'}, name...), '"')), object[from:to])
			return
		}
		visit(strings.ToValidUTF8(string(name), "\uFFFD"), object[from:to])
	})
	return end >= 0 && space(object, end) == len(object)
}

// unquote returns the text of a JSON string, or "" if raw is none.
func unquote(raw []byte) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	inner := string(raw[1 : len(raw)-1])
	if !strings.Contains(inner, `\`) {
		return strings.ToValidUTF8(inner, "\uFFFD")
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// short is unquote for a name: what is too long for one is cut off.
func short(raw []byte) string {
	s := unquote(raw)
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "\uFFFD")
}

// maxNumber bounds the text of a number that is taken over as it is written.
const maxNumber = 32

func isNumber(raw []byte) bool {
	return len(raw) > 0 && len(raw) <= maxNumber && (raw[0] == '-' || isDigit(raw[0]))
}
