package ngram

import (
	"html"
	"strings"
)

// readHTML gathers the paragraphs of a document as the Go distribution writes
// them: well-formed enough that its tags need no parser.
func readHTML(src []byte, p *paragraph) {
	p.doc = true
	var text strings.Builder // of the paragraph so far, inline tags removed
	flush := func() {
		p.line(html.UnescapeString(text.String()))
		p.end()
		text.Reset()
	}
	for rest := string(src); rest != ""; {
		before, tail, _ := strings.Cut(rest, "<")
		text.WriteString(before)
		name, after := readTag(tail)
		switch name {
		case "pre", "style", "script":
			flush()
			_, after, _ = strings.Cut(after, "</"+name)
			_, after, _ = strings.Cut(after, ">")
		case "p", "li", "ul", "ol", "dl", "dt", "dd", "table", "tr", "td", "h1", "h2", "h3", "h4", "div", "br":
			flush()
		}
		rest = after
	}
	flush()
}

// readTag returns the name of the tag whose "<" precedes s, without a slash,
// and what follows the tag.
func readTag(s string) (name, rest string) {
	if strings.HasPrefix(s, "!--") {
		_, rest, _ = strings.Cut(s, "-->")
		return "", rest
	}
	tag, rest, _ := strings.Cut(s, ">")
	name = strings.TrimPrefix(tag, "/")
	if i := strings.IndexAny(name, " \t\r\n"); i >= 0 {
		name = name[:i]
	}
	return strings.ToLower(name), rest
}
