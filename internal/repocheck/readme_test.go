package repocheck

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const maxReadmeLines = 200

func TestReadmeIsShort(t *testing.T) {
	if lines := strings.Count(read(t, "README.md"), "\n"); lines > maxReadmeLines {
		t.Errorf("README.md has %d lines, more than %d", lines, maxReadmeLines)
	}
}

// snippet is one block of Go in a document.
type snippet struct {
	code string
	// given are the parameters under which statements compile. The document names what the reader has at hand in an
	// invisible line before the block: <!-- given: ctx context.Context, prompt string -->
	given string
}

func snippets(document string) []snippet {
	pattern := regexp.MustCompile("(?ms)(?:^<!-- given: ([^\n]*?) -->\n)?^```go\n(.*?)^```$")
	var found []snippet
	for _, match := range pattern.FindAllStringSubmatch(document, -1) {
		s := snippet{given: match[1], code: match[2]}
		if s.given == "" {
			s.given = "ctx context.Context"
		}
		found = append(found, s)
	}
	return found
}

// program makes a compilable file of a snippet, which may be a whole file, declarations, or statements of a function that
// returns an error. Imports that it leaves out are found by package name in paths.
func (s snippet) program(paths map[string]string) (string, error) {
	if strings.HasPrefix(strings.TrimSpace(s.code), "package ") {
		return s.code, nil
	}
	body := s.code
	declarations := "package snippet\n" + body
	file, err := parser.ParseFile(token.NewFileSet(), "", declarations, parser.SkipObjectResolution)
	if err != nil {
		declarations = "package snippet\nfunc snippet(" + s.given + ") error {\n{\n" + body + "\n}\nreturn nil\n}\n"
		if file, err = parser.ParseFile(token.NewFileSet(), "", declarations, parser.SkipObjectResolution); err != nil {
			return "", err
		}
	}
	var imports strings.Builder
	if len(file.Imports) == 0 {
		for _, name := range slices.Sorted(maps.Keys(qualifiers(file))) {
			if path, ok := paths[name]; ok {
				fmt.Fprintf(&imports, "import %q\n", path)
			}
		}
	}
	clause, rest, _ := strings.Cut(declarations, "\n")
	program, err := format.Source([]byte(clause + "\n" + imports.String() + rest))
	return string(program), err
}

// qualifiers lists the names that stand before a dot and are not declared in the file.
func qualifiers(file *ast.File) map[string]bool {
	found, declared := map[string]bool{}, map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if id, ok := n.X.(*ast.Ident); ok {
				found[id.Name] = true
			}
		case *ast.Field:
			for _, name := range n.Names {
				declared[name.Name] = true
			}
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				if id, ok := left.(*ast.Ident); ok && n.Tok == token.DEFINE {
					declared[id.Name] = true
				}
			}
		}
		return true
	})
	maps.DeleteFunc(found, func(name string, _ bool) bool { return declared[name] })
	return found
}

// importPaths maps package names to the import paths a reader would think of: this module's public packages first, then
// the standard library's, the shorter path where two have one name.
func importPaths(t *testing.T) map[string]string {
	t.Helper()
	paths := map[string]string{}
	for _, pattern := range []string{"./...", "std"} {
		cmd := exec.Command("go", "list", "-e", "-f", "{{.Name}} {{.ImportPath}}", pattern)
		cmd.Dir = root
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list %s: %v", pattern, err)
		}
		for line := range strings.Lines(string(out)) {
			name, path, _ := strings.Cut(strings.TrimSpace(line), " ")
			if name == "main" || strings.Contains("/"+path+"/", "/internal/") || strings.HasPrefix(path, "vendor/") {
				continue
			}
			if have, ok := paths[name]; !ok || !strings.HasPrefix(have, module) && len(path) < len(have) {
				paths[name] = path
			}
		}
	}
	return paths
}

// build builds a program as if it lay in this module, from files by name.
func build(t *testing.T, out string, files map[string]string) error {
	t.Helper()
	dir := t.TempDir()
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{} // exist for the compiler only
	for name, text := range files {
		source := filepath.Join(dir, name)
		if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(top, "readme", name)] = source
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-overlay", overlayFile, "-o", out, "./readme")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func TestReadmeCodeCompiles(t *testing.T) {
	paths := importPaths(t)
	try := func(t *testing.T, s snippet) error {
		program, err := s.program(paths)
		if err == nil && strings.Contains(program, module+"/internal/") {
			err = fmt.Errorf("it imports an internal package")
		}
		if err == nil {
			err = build(t, filepath.Join(t.TempDir(), "out"), map[string]string{"snippet.go": program})
		}
		if err != nil {
			return fmt.Errorf("%w\n%s", err, s.code)
		}
		return nil
	}

	const document = "x\n```go\nfmt.Println(ctx)\n```\n" +
		"<!-- given: name string -->\n```go\nif _, err := os.Stat(name); err != nil {\n\treturn err\n}\n```\n" +
		"```go\npackage main\n\nfunc main() {}\n```\n```sh\ngo\n```\n" +
		"```go\ntype T struct{ time.Time }\n```\n" +
		"```go\nfmt.Printn(ctx)\n```\n```go\nabsent.Call()\n```\n```go\nx := \n```\n" +
		"```go\nimport _ \"" + module + "/internal/repocheck\"\n```\n"
	compiles := []bool{true, true, true, true, false, false, false, false}
	found := snippets(document)
	if len(found) != len(compiles) {
		t.Fatalf("found %d snippets, want %d", len(found), len(compiles))
	}
	for i, s := range found {
		if err := try(t, s); (err == nil) != compiles[i] {
			t.Errorf("snippet %q: %v", s.code, err)
		}
	}

	found = snippets(read(t, "README.md"))
	if len(found) == 0 {
		t.Error("README.md has no block of Go")
	}
	for _, s := range found {
		if err := try(t, s); err != nil {
			t.Errorf("a block of README.md does not compile: %v", err)
		}
	}
}
