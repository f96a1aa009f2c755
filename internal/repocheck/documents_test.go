package repocheck

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// topLevel lists all that may lie at the repository's top.
var topLevel = []string{
	"logpipe", "backup", "merkle", "examples", "benchmarks", "cmd", "internal", "docs",
	"go.mod", "go.sum", "Makefile", "README.md", "CHANGELOG.md", "LICENSE", ".ci", ".gitignore",
}

func strayTop(names []string) (complaints []string) {
	seen := map[string]bool{}
	for _, name := range names {
		top, _, _ := strings.Cut(name, "/")
		if !slices.Contains(topLevel, top) && !seen[top] {
			seen[top] = true
			complaints = append(complaints, top+" does not belong at the top of the repository")
		}
	}
	return complaints
}

func TestTopLevel(t *testing.T) {
	if got := strayTop([]string{"merkle/a.go", "pkg/a.go", "pkg/b.go", "notes.txt"}); len(got) != 2 {
		t.Errorf("the rule says %q", got)
	}
	complain(t, strayTop(files(t)))
}

// machinePath finds absolute paths that mean something on one machine only.
var machinePath = regexp.MustCompile(`(?m)(?:^|[^\w.~$})/-])/{1,3}(?:` + strings.Join([]string{"work", "root", "farm", "tmp", `home/\w+`, `Users/\w+`}, "|") + `)/`)

// registries finds hosts that packages are fetched from: which ones serve a user is the user's own setting.
var registries = regexp.MustCompile(strings.Join([]string{
	`(?:proxy|sum)\.golang` + `\.org`, `pypi` + `\.org`, `pythonhosted` + `\.org`, `npmjs` + `\.(?:org|com)`, `crates` + `\.io`,
	`maven` + `\.apache\.org`, `maven` + `\.org`, `(?:deb|security|ftp)\.debian` + `\.org`,
}, "|"))

func foreign(name, text string) (complaints []string) {
	for i, line := range strings.Split(text, "\n") {
		for _, pattern := range []*regexp.Regexp{machinePath, registries} {
			if found := pattern.FindString(line); found != "" {
				complaints = append(complaints, fmt.Sprintf("%s:%d: %q is true on one machine or network only", name, i+1, found))
			}
		}
	}
	return complaints
}

func TestNothingOfOneMachine(t *testing.T) {
	for text, want := range map[string]int{
		`open("/` + `root/x")`:                     1,
		`see /` + `work/main`:                      1,
		`/` + `home/anna/x`:                        1,
		`file:///` + `tmp/x`:                       1,
		`from https://pypi` + `.org/simple`:        1,
		`GOPROXY=https://proxy.golang` + `.org`:    1,
		`https://example.com/work/x, a/tmp/b`:      0,
		`$HOME/work/x and ${TMPDIR}/tmp/x, ~/tmp/`: 0,
		`the tree's /root and docs`:                0,
	} {
		if got := foreign("a.txt", text); len(got) != want {
			t.Errorf("the rule says %q about %s", got, text)
		}
	}
	for _, name := range files(t) {
		if text := read(t, name); utf8.ValidString(text) {
			complain(t, foreign(name, text))
		}
	}
}

// changelog checks the form that keepachangelog.com describes, with one heading more: Formats.
func changelog(text string) (complaints []string) {
	if !strings.HasPrefix(text, "# Changelog\n") {
		complaints = append(complaints, `the changelog does not begin with "# Changelog"`)
	}
	version := regexp.MustCompile(`^## \[(Unreleased|\d+\.\d+\.\d+\S* ?)\]( - \d{4}-\d\d-\d\d)?$`)
	kinds := []string{"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Formats"}
	versions, formats := 0, false
	for line := range strings.SplitSeq(text, "\n") {
		kind, isKind := strings.CutPrefix(line, "### ")
		switch {
		case strings.HasPrefix(line, "## ") && !version.MatchString(line):
			complaints = append(complaints, fmt.Sprintf("%q is no heading of a version", line))
		case strings.HasPrefix(line, "## "):
			versions++
		case isKind && !slices.Contains(kinds, kind):
			complaints = append(complaints, fmt.Sprintf("%q is none of %s", line, strings.Join(kinds, ", ")))
		case kind == "Formats":
			formats = true
		}
	}
	if versions == 0 {
		complaints = append(complaints, "the changelog names no version and no [Unreleased]")
	}
	if !formats {
		complaints = append(complaints, `no "### Formats": what changed in bytes on disk and wire has its own heading`)
	}
	return complaints
}

func TestChangelog(t *testing.T) {
	const good = "# Changelog\n\n## [Unreleased]\n### Added\n- x\n### Formats\n- y\n## [0.1.0] - 2026-01-02\n### Fixed\n"
	for bad, good := range map[string]string{"": good, "# Changelog": "# History", "### Formats": "### Bytes", "## [0.1.0] - 2026-01-02": "## 0.1.0"} {
		text := good
		if bad != "" {
			text = strings.Replace("# Changelog\n\n## [Unreleased]\n### Added\n### Formats\n## [0.1.0] - 2026-01-02\n", bad, good, 1)
		}
		if got := changelog(text); (len(got) > 0) != (bad != "") {
			t.Errorf("the rule says %q about:\n%s", got, text)
		}
	}
	complain(t, changelog(read(t, "CHANGELOG.md")))
}

// fileMap returns the part of an architecture document under its heading "File map".
func fileMap(text string) string {
	heading := regexp.MustCompile(`(?mi)^(#+) .*\bfile map\b.*$`).FindStringSubmatchIndex(text)
	if heading == nil {
		return ""
	}
	level, rest := heading[3]-heading[2], text[heading[1]:]
	if end := regexp.MustCompile(fmt.Sprintf(`(?m)^#{1,%d} `, level)).FindStringIndex(rest); end != nil {
		rest = rest[:end[0]]
	}
	return rest
}

// mapped compares a file map with what exists: paths in backquotes, from the repository's top.
func mapped(section string, packages []string, exists func(string) bool) (complaints []string) {
	if section == "" {
		return []string{`docs/ARCHITECTURE.md has no heading "File map"`}
	}
	named := map[string]bool{}
	for _, match := range regexp.MustCompile("`([^`\\s]+)`").FindAllStringSubmatch(section, -1) {
		name := strings.TrimSuffix(match[1], "/")
		isPath := strings.Contains(match[1], "/") || path.Ext(name) == ".go" || path.Ext(name) == ".md"
		if isPath && !exists(name) {
			complaints = append(complaints, "the file map names "+name+", which does not exist")
		}
		named[name] = true
	}
	for _, p := range packages {
		if !named[p] {
			complaints = append(complaints, "the file map does not name the package `"+p+"`")
		}
	}
	return complaints
}

func TestArchitectureMapsEveryPackage(t *testing.T) {
	const text = "# A\n## The file map\n`merkle/`, `merkle/gone.go`, `Hash`\n## Next\n`logpipe`\n"
	got := mapped(fileMap(text), []string{"merkle", "logpipe"}, func(name string) bool { return name == "merkle" })
	if len(got) != 2 {
		t.Errorf("the rule says %q, want a missing file and a missing package", got)
	}
	if got := mapped(fileMap("# A\n"), nil, nil); len(got) != 1 {
		t.Errorf("without a file map the rule says %q", got)
	}

	var packages []string
	for dir := range byPackage(goFiles(t)) {
		packages = append(packages, dir)
	}
	slices.Sort(packages)
	complain(t, mapped(fileMap(read(t, "docs/ARCHITECTURE.md")), packages, func(name string) bool {
		_, err := os.Stat(filepath.Join(root, name))
		return err == nil
	}))
}

// fewFiles is how many files a package may have before the file map has to name each.
const fewFiles = 8

// unmapped lists the files of larger packages that a file map does not name. A package whose files follow a rule, such as one file a
// verb, says so on its line: "one file a …". Package comments, errors, main, and what is for one kind of machine need no words.
func unmapped(section string, files []goFile) (complaints []string) {
	var own []string
	for _, f := range files {
		base := strings.TrimSuffix(path.Base(f.path), ".go")
		if base != "doc" && base != "errors" && base != "main" && !strings.Contains(base, "_") {
			own = append(own, f.path)
		}
	}
	dir := files[0].dir()
	rule := regexp.MustCompile("(?m)^- .*`" + regexp.QuoteMeta(dir) + "`.*one file a ")
	if len(own) <= fewFiles || rule.MatchString(section) {
		return nil
	}
	for _, name := range own {
		if path.Base(name) != path.Base(dir)+".go" && !strings.Contains(section, "`"+name+"`") {
			complaints = append(complaints, "the file map does not name "+name)
		}
	}
	return complaints
}

func TestArchitectureMapsFiles(t *testing.T) {
	var large []goFile
	for i := range fewFiles + 1 {
		large = append(large, goFile{path: fmt.Sprintf("merkle/f%d.go", i)})
	}
	large = append(large, goFile{path: "merkle/doc.go"}, goFile{path: "merkle/f_linux.go"})
	if got := unmapped("- `merkle` trees: `merkle/f0.go`, `merkle/f1.go`\n", large); len(got) != fewFiles-1 {
		t.Errorf("the rule says %q", got)
	}
	if got := unmapped("- `merkle` trees, one file a tree\n", large); len(got) != 0 {
		t.Errorf("by a rule of its own: %q", got)
	}
	if got := unmapped("- `merkle` trees\n", large[1:]); len(got) != 0 {
		t.Errorf("of few files the rule says %q", got)
	}
	section := fileMap(read(t, "docs/ARCHITECTURE.md"))
	for _, files := range byPackage(goFiles(t)) {
		complain(t, unmapped(section, files))
	}
}
