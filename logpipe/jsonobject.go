package logpipe

import (
	"math/bits"
	"unicode/utf8"
)

// maxDepth bounds the nesting of attributes.
const maxDepth = 512

// jsonObject reports whether b is one JSON object (RFC 8259) in UTF-8 of at most maxDepth levels. It is on the path of
// Capture, so it allocates nothing and passes over strings, which are most of the bytes, a word at a time.
func jsonObject(b []byte) bool {
	i := skipSpace(b, 0)
	return at(b, i) == '{' && skipSpace(b, skipList(b, i, '}', maxDepth)) == len(b)
}

// The functions below take the index of what they pass over and return the index behind it, or nowhere if it is not what
// they pass over. They take nowhere, too, and then return it.
const nowhere = -1

// at returns the byte at i, or 0 behind the end and nowhere, where no JSON has one.
func at(b []byte, i int) byte {
	if uint(i) < uint(len(b)) {
		return b[i]
	}
	return 0
}

func skipSpace(b []byte, i int) int {
	for uint(i) < uint(len(b)) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

func skipValue(b []byte, i, depth int) int {
	switch c := at(b, i); c {
	case '"':
		return skipText(b, i+1)
	case '{', '[':
		if depth > 0 {
			return skipList(b, i, c+2, depth) // in ASCII, brackets close two behind where they open
		}
		return nowhere
	case 't':
		return skipWord(b, i, "true")
	case 'f':
		return skipWord(b, i, "false")
	case 'n':
		return skipWord(b, i, "null")
	}
	return skipNumber(b, i)
}

// skipList passes over an object or array, whose opening bracket is at i.
func skipList(b []byte, i int, end byte, depth int) int {
	if i = skipSpace(b, i+1); at(b, i) == end {
		return i + 1
	}
	if end == '}' {
		if i = skipPlain(b, i); at(b, i) == end {
			return i + 1
		}
	}
	for {
		if end == '}' {
			if at(b, i) != '"' {
				return nowhere
			}
			if i = skipSpace(b, skipText(b, i+1)); at(b, i) != ':' {
				return nowhere
			}
			i = skipSpace(b, i+1)
		}
		i = skipSpace(b, skipValue(b, i, depth-1))
		switch at(b, i) {
		case end:
			return i + 1
		case ',':
			i = skipSpace(b, i+1)
		default:
			return nowhere
		}
	}
}

// skipPlain passes over the first members of an object if they are as services write them: strings without escapes, whole
// numbers, no space. It returns where the first other member begins, or where the object ends. skipList would come to the
// same, in half as much time again.
func skipPlain(b []byte, i int) int {
	begin, name := i, true
	for at(b, i) == '"' {
		if name {
			begin = i
		}
		i++
		for {
			if i+8 > len(b) {
				return begin
			}
			if m := stops(le.Uint64(b[i : i+8 : i+8])); m != 0 {
				i += bits.TrailingZeros64(m) / 8
				break
			}
			i += 8
		}
		if i+2 >= len(b) || b[i] != '"' {
			return begin
		}
		i++
		if name {
			if b[i] != ':' {
				return begin
			}
			if i++; b[i] == '"' {
				name = false
				continue
			}
			first := i
			for uint(i) < uint(len(b)) && b[i]-'0' <= 9 {
				i++
			}
			if i == first || b[first] == '0' {
				return begin
			}
		}
		if c := at(b, i); c != ',' {
			if c == '}' {
				return i
			}
			return begin
		}
		i++
		name = true
	}
	return begin
}

// stops marks, by its top bit, the first of eight bytes of a string that is a quote, a backslash, a control character or no
// ASCII. Bytes behind it may be marked, too.
func stops(w uint64) uint64 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	return ((((w ^ '"'*ones) - ones) | ((w ^ '\\'*ones) - ones)) | ((w - ' '*ones) | w)) & tops
}

// skipText passes over the rest of a string, whose opening quote is before i.
func skipText(b []byte, i int) int {
	for {
		for ; len(b)-i >= 8; i += 8 {
			if m := stops(le.Uint64(b[i : i+8 : i+8])); m != 0 {
				i += bits.TrailingZeros64(m) / 8
				break
			}
		}
		switch c := at(b, i); {
		case c == '"':
			return i + 1
		case c == '\\':
			if i = skipEscape(b, i+1); i == nowhere {
				return nowhere
			}
		case c < ' ':
			return nowhere
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 {
				return nowhere
			}
			i += n
		}
	}
}

// skipEscape passes over the rest of an escape, whose backslash is before i.
func skipEscape(b []byte, i int) int {
	switch at(b, i) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		for range 4 {
			i++
			if c := at(b, i); !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
				return nowhere
			}
		}
		return i + 1
	}
	return nowhere
}

func skipWord(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return nowhere
	}
	return i + len(word)
}

func skipNumber(b []byte, i int) int {
	if at(b, i) == '-' {
		i++
	}
	if at(b, i) == '0' {
		i++
	} else {
		i = skipDigits(b, i)
	}
	if at(b, i) == '.' {
		i = skipDigits(b, i+1)
	}
	if c := at(b, i); c == 'e' || c == 'E' {
		i++
		if c := at(b, i); c == '+' || c == '-' {
			i++
		}
		i = skipDigits(b, i)
	}
	return i
}

// skipDigits passes over one digit or more.
func skipDigits(b []byte, i int) int {
	start := i
	for uint(i) < uint(len(b)) && b[i]-'0' <= 9 {
		i++
	}
	if i == start {
		return nowhere
	}
	return i
}
