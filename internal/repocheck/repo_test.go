package repocheck

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/stelelog/stele"

// root is the repository's top, seen from this package's directory, where go test runs.
const root = "../.."

// goFile is one parsed Go file.
type goFile struct {
	path  string // from the repository's top, with '/'
	lines int
	fset  *token.FileSet
	ast   *ast.File
}

func (f goFile) dir() string  { return path.Dir(f.path) }
func (f goFile) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }
func (f goFile) isMain() bool { return f.ast.Name.Name == "main" }
func (f goFile) isPublic() bool {
	return !f.isMain() && !strings.Contains("/"+f.dir()+"/", "/internal/")
}

// isLibrary reports whether the rules for code that others link in apply.
func (f goFile) isLibrary() bool { return !f.isMain() && !f.isTest() }

// imports lists the imported paths.
func (f goFile) imports() []string {
	var paths []string
	for _, spec := range f.ast.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

func parseGo(t *testing.T, fset *token.FileSet, path, source string) goFile {
	t.Helper()
	file, err := parser.ParseFile(fset, path, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return goFile{path: path, lines: strings.Count(source, "\n"), fset: fset, ast: file}
}

// files lists all files of the repository, those not yet committed included, but not what .gitignore names.
func files(t *testing.T) []string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(root, ".git")); err != nil {
		return unpackedFiles(t)
	}
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	var names []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil { // it may be deleted and not yet committed
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// unpackedFiles is for an unpacked source archive.
func unpackedFiles(t *testing.T) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && name == "bin" {
			return fs.SkipDir
		}
		if err == nil && !entry.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// goFiles parses the Go files of this module: not those of nested modules, nor data of tests.
func goFiles(t *testing.T) []goFile {
	t.Helper()
	all := files(t)
	var nested []string
	for _, name := range all {
		if path.Base(name) == "go.mod" && name != "go.mod" {
			nested = append(nested, path.Dir(name)+"/")
		}
	}
	fset := token.NewFileSet()
	var parsed []goFile
	for _, name := range all {
		inNested := slices.ContainsFunc(nested, func(dir string) bool { return strings.HasPrefix(name, dir) })
		if path.Ext(name) == ".go" && !inNested && !strings.Contains("/"+name, "/testdata/") {
			parsed = append(parsed, parseGo(t, fset, name, read(t, name)))
		}
	}
	return parsed
}

// byPackage groups files by directory. Test files are left out.
func byPackage(all []goFile) map[string][]goFile {
	packages := map[string][]goFile{}
	for _, f := range all {
		if !f.isTest() {
			packages[f.dir()] = append(packages[f.dir()], f)
		}
	}
	return packages
}

// complain makes each complaint a failure.
func complain(t *testing.T, complaints []string) {
	t.Helper()
	for _, c := range complaints {
		t.Error(c)
	}
}

// example is one file that a rule must find fault with, or must not.
type example struct {
	path, source string
	bad          bool
}

// checkFiles proves the rule on examples, then applies it to every file of the repository.
func checkFiles(t *testing.T, rule func(goFile) []string, examples ...example) {
	t.Helper()
	for _, e := range examples {
		if got := rule(parseGo(t, token.NewFileSet(), e.path, e.source)); (len(got) > 0) != e.bad {
			t.Errorf("the rule says %q about %s:\n%s", got, e.path, e.source)
		}
	}
	for _, f := range goFiles(t) {
		complain(t, rule(f))
	}
}

// checkPackages does the same for a rule about the non-test files of one package.
func checkPackages(t *testing.T, rule func([]goFile) []string, examples ...example) {
	t.Helper()
	for _, e := range examples {
		if got := rule([]goFile{parseGo(t, token.NewFileSet(), e.path, e.source)}); (len(got) > 0) != e.bad {
			t.Errorf("the rule says %q about %s:\n%s", got, e.path, e.source)
		}
	}
	for _, files := range byPackage(goFiles(t)) {
		complain(t, rule(files))
	}
}
