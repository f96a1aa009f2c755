package event

import (
	"bytes"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The functions of this file read JSON that is known to be valid. encoding/json would match names without regard to
// case, let the last of two equal names win, and put U+FFFD where a string is none.

// members calls see for every member of a valid JSON object, in order, with the raw text of its value.
func members(object []byte, see func(name string, value []byte) *Error) *Error {
	i := space(object, 0) + 1 // behind '{'
	for i = space(object, i); object[i] != '}'; i = space(object, i) {
		if object[i] == ',' {
			i = space(object, i+1)
		}
		end := valueEnd(object, i)
		name, ok := unquote(object[i+1 : end-1])
		if !ok || !utf8.ValidString(name) {
			return refuse(strings.ToValidUTF8(clip(name), "?"), "is no member of an event")
		}
		i = space(object, space(object, end)+1) // behind ':'
		end = valueEnd(object, i)
		if err := see(name, object[i:end]); err != nil {
			return err
		}
		i = end
	}
	return nil
}

// elements calls see for every element of a valid JSON array.
func elements(array []byte, see func(value []byte) *Error) *Error {
	for i := space(array, 1); array[i] != ']'; i = space(array, i) {
		if array[i] == ',' {
			i = space(array, i+1)
		}
		end := valueEnd(array, i)
		if err := see(array[i:end]); err != nil {
			return err
		}
		i = end
	}
	return nil
}

func space(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\r' || text[i] == '\n') {
		i++
	}
	return i
}

// valueEnd returns where the value that starts at i ends.
func valueEnd(text []byte, i int) int {
	depth := 0
	for ; i < len(text); i++ {
		switch text[i] {
		case '"':
			i = stringEnd(text, i)
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			if depth == 0 {
				return i + 1
			}
			if depth < 0 {
				return i // of what holds a number or a literal
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return i
}

// stringEnd returns the place of the quote that ends the string that starts at i.
func stringEnd(text []byte, i int) int {
	for i++; text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i
}

// unquote resolves the escapes of a valid JSON string that is given without its quotes. It reports false if one half
// of a surrogate pair stands alone.
func unquote(quoted []byte) (string, bool) {
	var b strings.Builder
	b.Grow(len(quoted))
	for i := 0; i < len(quoted); {
		if quoted[i] != '\\' {
			run := bytes.IndexByte(quoted[i:], '\\')
			if run < 0 {
				run = len(quoted) - i
			}
			b.Write(quoted[i : i+run])
			i += run
			continue
		}
		if quoted[i+1] != 'u' {
			b.WriteByte(short(quoted[i+1]))
			i += 2
			continue
		}
		r := hex4(quoted[i+2:])
		i += 6
		if utf16.IsSurrogate(r) {
			if len(quoted) < i+6 || quoted[i] != '\\' || quoted[i+1] != 'u' {
				return "", false
			}
			if r = utf16.DecodeRune(r, hex4(quoted[i+2:])); r == utf8.RuneError {
				return "", false
			}
			i += 6
		}
		b.WriteRune(r)
	}
	return b.String(), true
}

func short(escape byte) byte {
	switch escape {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return escape
}

func hex4(digits []byte) (r rune) {
	for _, c := range digits[:4] {
		switch {
		case c <= '9':
			c -= '0'
		case c <= 'F':
			c -= 'A' - 10
		default:
			c -= 'a' - 10
		}
		r = r<<4 | rune(c)
	}
	return r
}
