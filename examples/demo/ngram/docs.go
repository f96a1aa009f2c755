package ngram

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// ErrNoDocs means that a directory holds no documentation to learn from; most
// often it is not the root of a Go installation.
var ErrNoDocs = errors.New("ngram: no documentation found")

// Passage is one paragraph of documentation on a single line: words separated
// by one space, without markup or code blocks.
type Passage struct {
	Source string // import path of the package, or the name of the file under doc
	Text   string
	Doc    bool // a top-level comment or a document, not a remark inside code
}

// ReadDocs reads the paragraphs of every comment in the standard library below
// src, and of the HTML documents in doc if that exists. fsys is the root of a Go
// installation. Tests, commands, vendored code and testdata are left out. The
// order is that of the file names, so two reads give equal slices.
func ReadDocs(fsys fs.FS) ([]Passage, error) {
	var all []Passage
	for _, dir := range []string{"src", "doc"} {
		err := fs.WalkDir(fsys, dir, func(name string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist) && name == dir:
				return fs.SkipDir
			case err != nil:
				return err
			case d.IsDir() && skipDir(name):
				return fs.SkipDir
			case d.IsDir() || !wanted(name):
				return nil
			}
			all, err = appendFile(all, fsys, name)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("ngram: reading documentation: %w", err)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: expected comments in .go files below src", ErrNoDocs)
	}
	return all, nil
}

func skipDir(name string) bool {
	switch path.Base(name) {
	case "testdata", "vendor":
		return true
	}
	return name == "src/cmd"
}

func wanted(name string) bool {
	return strings.HasSuffix(name, ".html") ||
		strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
}

func appendFile(all []Passage, fsys fs.FS, name string) ([]Passage, error) {
	src, err := fs.ReadFile(fsys, name)
	if err != nil {
		return all, err
	}
	p := &paragraph{}
	if strings.HasSuffix(name, ".html") {
		p.source = path.Base(name)
		readHTML(src, p)
	} else {
		p.source = strings.TrimPrefix(path.Dir(name), "src/")
		readComments(src, p)
	}
	return append(all, p.done...), nil
}

// paragraph joins lines into passages.
type paragraph struct {
	source string
	doc    bool
	text   strings.Builder
	done   []Passage
}

func (p *paragraph) line(s string) {
	for word := range strings.FieldsSeq(s) {
		if p.text.Len() > 0 {
			p.text.WriteByte(' ')
		}
		p.text.WriteString(word)
	}
}

// minPassage, in bytes, leaves out remarks such as "number of bytes".
const minPassage = 32

func (p *paragraph) end() {
	text := p.text.String()
	p.text.Reset()
	if len(text) >= minPassage && !boilerplate(text) {
		p.done = append(p.done, Passage{Source: p.source, Text: text, Doc: p.doc})
	}
}

func boilerplate(text string) bool {
	return strings.HasPrefix(text, "Copyright ") || strings.HasPrefix(text, "Code generated ")
}
