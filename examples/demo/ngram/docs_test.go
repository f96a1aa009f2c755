package ngram

import (
	"errors"
	"go/scanner"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestCommentsAgreesWithScanner compares the fast lexer with go/scanner.
func TestCommentsAgreesWithScanner(t *testing.T) {
	files := map[string][]byte{
		"literals": []byte("package p\nvar s = \"// no\" + `/* no\n// no */` + string('\"') + string('\\'')\nvar q = a / b // yes\n/* yes */ /**/ //\n"),
	}
	for name, f := range library(t) {
		files[name] = f.Data
	}
	for name, src := range files {
		var got []string
		comments(src, func(c comment) { got = append(got, string(src[c.start:c.end])) })
		if want := scanned(src); !slices.Equal(got, want) {
			t.Fatalf("%s: %d comments, go/scanner finds %d", name, len(got), len(want))
		}
	}
}

func scanned(src []byte) (all []string) {
	var s scanner.Scanner
	file := token.NewFileSet().AddFile("", -1, len(src))
	s.Init(file, src, nil, scanner.ScanComments)
	for {
		pos, tok, lit := s.Scan()
		switch tok {
		case token.EOF:
			return all
		case token.COMMENT:
			at := file.Offset(pos)
			all = append(all, string(src[at:at+len(lit)]))
		}
	}
}

func FuzzComments(f *testing.F) {
	for _, s := range []string{"", "/", "//", "/*", "/*/", "'", "\"\\", "`", "// a\n//\n// b", "x := `//` // y"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		end := 0
		comments(src, func(c comment) {
			if c.start < end || c.end <= c.start || c.end > len(src) {
				t.Fatalf("comment [%d,%d) after %d in %d bytes", c.start, c.end, end, len(src))
			}
			end = c.end
		})
		readComments(src, &paragraph{})
		readHTML(src, &paragraph{})
	})
}

func TestReadDocs(t *testing.T) {
	fsys := fstest.MapFS{
		"src/pkg/a.go": {Data: []byte(`// Copyright 2026 The authors, and this is left out.

//go:build linux

// Package pkg has a first paragraph of two
// lines that are joined by a blank.
//
// # A heading that must not appear here
//
//	code := "that must not appear either"
//
//   - a list item that is long enough to be one
package pkg

func f() {
	x() // a remark inside the code, long enough
	//disabled("code without a blank after the slashes")
	/* a block comment
	   of two lines inside the code */
}
`)},
		"src/pkg/a_test.go":         {Data: []byte("// A comment in a test that must be left out.\n")},
		"src/pkg/testdata/b.go":     {Data: []byte("// A comment in testdata that must be left out.\n")},
		"src/cmd/tool/main.go":      {Data: []byte("// A comment in a command that must be left out.\n")},
		"src/vendor/other/other.go": {Data: []byte("// A vendored comment that must be left out.\n")},
		"doc/spec.html":             {Data: []byte("<h2>Title</h2><p>An <i>inline</i> tag, an &lt;entity&gt;\nand <code>code</code>.</p><pre>left out &amp; away, all of this</pre><!-- <p>never to be seen by any reader --><p>The second paragraph, after code.")},
	}
	got, err := ReadDocs(fsys)
	if err != nil {
		t.Fatal(err)
	}
	want := []Passage{
		{"pkg", "Package pkg has a first paragraph of two lines that are joined by a blank.", true},
		{"pkg", "a list item that is long enough to be one", true},
		{"pkg", "a remark inside the code, long enough", false},
		{"pkg", "a block comment of two lines inside the code", false},
		{"spec.html", "An inline tag, an <entity> and code.", true},
		{"spec.html", "The second paragraph, after code.", true},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestReadDocsErrors(t *testing.T) {
	for name, fsys := range map[string]fstest.MapFS{
		"empty":       {},
		"no comments": {"src/a.go": {Data: []byte("package a\n")}},
	} {
		if _, err := ReadDocs(fsys); !errors.Is(err, ErrNoDocs) {
			t.Errorf("%s: %v, want ErrNoDocs", name, err)
		}
	}
	if _, err := Train(nil); !errors.Is(err, ErrNoDocs) {
		t.Errorf("Train(nil): %v, want ErrNoDocs", err)
	}
}

// TestReadDocsSymlink is the layout of Linux distributions: the src directory of
// the root is a link to a shared one.
func TestReadDocsSymlink(t *testing.T) {
	shared, root := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(shared, "a.go"), []byte("// Package a is documented well enough.\npackage a\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(shared, filepath.Join(root, "src")); err != nil {
		t.Fatal(err)
	}
	got, err := ReadDocs(os.DirFS(root))
	if err != nil || len(got) != 1 {
		t.Errorf("got %+v, %v; want one passage", got, err)
	}
}

func TestFindGOROOT(t *testing.T) {
	good, bad := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(good, "src", "fmt"), 0o755); err != nil {
		t.Fatal(err)
	}
	failure := errors.New("no go command")
	for _, c := range []struct {
		name, built, asked string
		askErr             error
		want               string
		wantErr            error
	}{
		{name: "built in", built: good, askErr: failure, want: good},
		{name: "trimmed", built: "", asked: good, want: good},
		{name: "moved", built: bad, asked: good, want: good},
		{name: "no command", built: bad, askErr: failure, wantErr: failure},
		{name: "no sources", built: "", asked: bad, wantErr: ErrNoDocs},
	} {
		got, err := findGOROOT(c.built, func() (string, error) { return c.asked, c.askErr })
		if got != c.want || !errors.Is(err, c.wantErr) {
			t.Errorf("%s: %q, %v; want %q, %v", c.name, got, err, c.want, c.wantErr)
		}
		if c.wantErr != nil && !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: error %q does not name the directory", c.name, err)
		}
	}
}
