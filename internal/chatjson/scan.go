package chatjson

import (
	"encoding/binary"
	"math/bits"
)

// maxDepth bounds nesting, and with it recursion. Deeper text counts as foreign.
const maxDepth = 512

// space returns the index of the first byte at or after i that is no JSON white space.
func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// document returns the bounds of the one JSON value that b holds, or ok = false.
func document(b []byte) (start, end int, ok bool) {
	start = space(b, 0)
	end = value(b, start, 0)
	return start, end, end >= 0 && space(b, end) == len(b)
}

// value returns the end of the JSON value (RFC 8259) that starts at i, or -1.
func value(b []byte, i, depth int) int {
	if i >= len(b) {
		return -1
	}
	switch c := b[i]; {
	case c == '"':
		return text(b, i)
	case c == '{':
		return members(b, i, depth, nil)
	case c == '[':
		return elements(b, i, depth, nil)
	case c == 't':
		return literal(b, i, "true")
	case c == 'f':
		return literal(b, i, "false")
	case c == 'n':
		return literal(b, i, "null")
	case c == '-' || isDigit(c):
		return number(b, i)
	}
	return -1
}

// members walks the object that starts at i, calls visit, if set, with each name as it is spelled and the bounds of its
// value, and returns the end of the object, or -1.
func members(b []byte, i, depth int, visit func(name []byte, from, to int)) int {
	if depth >= maxDepth {
		return -1
	}
	i = space(b, i+1)
	if visit == nil {
		i = plain(b, i)
	}
	if i < len(b) && b[i] == '}' {
		return i + 1
	}
	return moreMembers(b, i, depth, visit)
}

// moreMembers walks those that begin at i.
func moreMembers(b []byte, i, depth int, visit func(name []byte, from, to int)) int {
	for i < len(b) && b[i] == '"' {
		name := i
		i = text(b, i)
		if i < 0 {
			return -1
		}
		nameEnd := i
		i = space(b, i)
		if i >= len(b) || b[i] != ':' {
			return -1
		}
		from := space(b, i+1)
		if i = value(b, from, depth+1); i < 0 {
			return -1
		}
		to := i
		i = space(b, i)
		if i >= len(b) || b[i] != ',' && b[i] != '}' { // the value may go on where b breaks off
			return -1
		}
		if visit != nil {
			visit(b[name+1:nameEnd-1], from, to)
		}
		if b[i] == '}' {
			return i + 1
		}
		i = space(b, i+1)
	}
	return -1
}

// plain passes over the first members of an object if they are as programs write them: strings in ASCII without escapes,
// whole numbers, no space. It returns where the first other member begins, or where the object ends. moreMembers would
// come to the same, in twice the time.
func plain(b []byte, i int) int {
	begin, name := i, true
	for i < len(b) && b[i] == '"' {
		if name {
			begin = i
		}
		for i++; ; i += 8 {
			var w uint64
			if i+8 <= len(b) {
				w = binary.LittleEndian.Uint64(b[i : i+8 : i+8])
			} else if len(b) >= 8 { // zeros stand for what is not there
				w = binary.LittleEndian.Uint64(b[len(b)-8:]) >> (8 * uint(i+8-len(b)))
			}
			// As in marks, but for what is no ASCII, which is marked, too: at least one of the differences has its high bit.
			if m := (((w ^ ones*'"') - ones) | ((w ^ ones*'\\') - ones) | (w - ones*0x20)) & highs; m != 0 {
				i += bits.TrailingZeros64(m) / 8
				break
			}
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
			for i < len(b) && isDigit(b[i]) {
				i++
			}
			if i == first || b[first] == '0' || i == len(b) {
				return begin
			}
		}
		if b[i] != ',' {
			if b[i] == '}' {
				return i
			}
			return begin
		}
		i++
		name = true
	}
	return begin
}

// elements walks the array that starts at i like members.
func elements(b []byte, i, depth int, visit func(from, to int)) int {
	if depth >= maxDepth {
		return -1
	}
	i = space(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1
	}
	for {
		from := i
		if i = value(b, from, depth+1); i < 0 {
			return -1
		}
		to := i
		i = space(b, i)
		if i >= len(b) || b[i] != ',' && b[i] != ']' {
			return -1
		}
		if visit != nil {
			visit(from, to)
		}
		if b[i] == ']' {
			return i + 1
		}
		i = space(b, i+1)
	}
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// marks sets the highest bit of each byte of w that is a quote, a backslash or a control character. The lowest byte
// that is marked is right; borrows can only spoil the ones above it.
func marks(w uint64) uint64 {
	quote, slash := w^(ones*'"'), w^(ones*'\\')
	return (((quote-ones)&^quote | (slash-ones)&^slash) | (w-ones*0x20)&^w) & highs
}

// text returns the end of the string that starts at i, or -1.
func text(b []byte, i int) int {
	for i++; ; {
		for ; i+8 <= len(b); i += 8 {
			if m := marks(binary.LittleEndian.Uint64(b[i : i+8 : i+8])); m != 0 {
				i += bits.TrailingZeros64(m) / 8
				break
			}
		}
		if i >= len(b) {
			return -1
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			if i = escape(b, i); i < 0 {
				return -1
			}
		case c < 0x20:
			return -1
		default:
			i++
		}
	}
}

// escape returns the end of the escape sequence that starts at i, or -1.
func escape(b []byte, i int) int {
	if i+1 >= len(b) {
		return -1
	}
	switch b[i+1] {
	case 'n', '"', '\\', 't', '/', 'r', 'b', 'f':
		return i + 2
	case 'u':
	default:
		return -1
	}
	if i+6 > len(b) {
		return -1
	}
	for _, c := range b[i+2 : i+6] {
		if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
			return -1
		}
	}
	return i + 6
}

func literal(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

// number returns the end of the number that starts at i, or -1.
func number(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if i = digits(b, i); i < 0 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		if i = digits(b, i+1); i < 0 {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return digits(b, i)
	}
	return i
}

// digits returns the end of the run of at least one digit at i, or -1.
func digits(b []byte, i int) int {
	from := i
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	if i == from {
		return -1
	}
	return i
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
