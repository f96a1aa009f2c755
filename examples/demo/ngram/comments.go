package ngram

import (
	"bytes"
	"strings"
)

// comment is one comment of a Go file: the bytes between its markers.
type comment struct {
	text       string
	start, end int // with markers
	block      bool
}

// comments calls yield for every comment in src, in order. It knows as much of
// Go's lexical grammar as is needed to tell a comment from a string or a rune,
// which makes it several times faster than a full scanner.
func comments(src []byte, yield func(comment)) {
	for i := 0; i < len(src); i++ {
		switch src[i] {
		case '"', '\'':
			i = skipQuoted(src, i)
		case '`':
			i = indexFrom(src, i+1, "`")
		case '/':
			if i+1 == len(src) {
				return
			}
			switch src[i+1] {
			case '/':
				end := indexFrom(src, i+2, "\n")
				yield(comment{text: string(src[i+2 : end]), start: i, end: end})
				i = end
			case '*':
				end := indexFrom(src, i+2, "*/")
				yield(comment{text: string(src[i+2 : end]), start: i, end: min(end+2, len(src)), block: true})
				i = end + 1
			}
		}
	}
}

// skipQuoted returns the position of the quote that ends the literal at i. A
// line end ends it too, so that a broken file costs one line.
func skipQuoted(src []byte, i int) int {
	quote := src[i]
	for i++; i < len(src); i++ {
		switch src[i] {
		case '\\':
			i++
		case quote, '\n':
			return i
		}
	}
	return i
}

// indexFrom returns the position of what at or after i, or the end of src.
func indexFrom(src []byte, i int, what string) int {
	if i >= len(src) {
		return len(src)
	}
	if n := bytes.Index(src[i:], []byte(what)); n >= 0 {
		return i + n
	}
	return len(src)
}

// readComments gathers the paragraphs of a Go file's comments.
func readComments(src []byte, p *paragraph) {
	last := -1 // end of the line comment that the next one may continue
	comments(src, func(c comment) {
		if c.block || last < 0 || !adjoin(src[last:c.start]) {
			p.end()
			p.doc = c.start == 0 || src[c.start-1] == '\n'
		}
		if !c.block {
			lineComment(c.text, p)
			last = c.end
			return
		}
		for line := range strings.Lines(c.text) {
			line = strings.TrimRight(line, "\r\n")
			if !p.doc {
				line = strings.TrimLeft(line, "\t") // the indentation of the code around it
			}
			textLine(line, p)
		}
		p.end()
		last = -1
	})
	p.end()
}

// adjoin reports whether gap holds nothing but one line end and indentation.
func adjoin(gap []byte) bool {
	return bytes.Count(gap, []byte{'\n'}) == 1 && len(bytes.TrimSpace(gap)) == 0
}

// lineComment takes what follows "//". Without a blank it is a directive or
// disabled code.
func lineComment(s string, p *paragraph) {
	s = strings.TrimRight(s, "\r")
	switch {
	case s == "":
		p.end()
	case s[0] == ' ':
		textLine(s[1:], p)
	case s[0] == '\t':
		textLine(s, p)
	}
}

// textLine takes one line of a doc comment (see go.dev/doc/comment): a tab
// starts code, "#" a heading, "-" a list item.
func textLine(s string, p *paragraph) {
	trimmed := strings.TrimLeft(s, " ")
	switch {
	case trimmed == "" || trimmed[0] == '\t' || strings.HasPrefix(trimmed, "# ") || strings.HasPrefix(trimmed, "+build"):
		p.end()
	case strings.HasPrefix(trimmed, "- "):
		p.end()
		p.line(trimmed[2:])
	default:
		p.line(trimmed)
	}
}
