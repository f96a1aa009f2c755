package repocheck

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

const (
	maxFileLines = 400
	maxFuncLines = 80
	maxExported  = 35
)

func noExit(f goFile) (complaints []string) {
	if !f.isLibrary() {
		return nil
	}
	for _, imported := range f.imports() {
		if imported == "log" {
			complaints = append(complaints, f.path+" imports log: a library returns errors and takes a *slog.Logger")
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && isName(sel.X, "os") && sel.Sel.Name == "Exit" {
			complaints = append(complaints, f.at(sel)+": os.Exit in a library")
		}
		return true
	})
	return complaints
}

func TestLibrariesNeverExitOrLog(t *testing.T) {
	checkFiles(t, noExit,
		example{"logpipe/a.go", `package logpipe; import "os"; func f() { os.Exit(1) }`, true},
		example{"logpipe/a.go", `package logpipe; import _ "log"`, true},
		example{"logpipe/a.go", `package logpipe; import _ "log/slog"`, false},
		example{"logpipe/a_test.go", `package logpipe; import "os"; func f() { os.Exit(1) }`, false},
		example{"cmd/stele/main.go", `package main; import "os"; func main() { os.Exit(1) }`, false},
	)
}

func noInit(f goFile) (complaints []string) {
	for _, decl := range f.ast.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && f.isLibrary() && fn.Recv == nil && fn.Name.Name == "init" {
			complaints = append(complaints, f.at(fn)+": func init runs whether it is wanted or not")
		}
	}
	return complaints
}

func TestLibrariesHaveNoInit(t *testing.T) {
	checkFiles(t, noInit,
		example{"logpipe/a.go", `package logpipe; func init() {}`, true},
		example{"logpipe/a.go", `package logpipe; type T int; func (T) init() {}`, false},
	)
}

func noContextField(f goFile) (complaints []string) {
	if !f.isLibrary() {
		return nil
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		s, ok := n.(*ast.StructType)
		if !ok {
			return true
		}
		for _, field := range s.Fields.List {
			if sel, ok := field.Type.(*ast.SelectorExpr); ok && isName(sel.X, "context") && sel.Sel.Name == "Context" {
				complaints = append(complaints, f.at(field)+": a context in a struct outlives its call")
			}
		}
		return true
	})
	return complaints
}

func TestNoContextInStructs(t *testing.T) {
	checkFiles(t, noContextField,
		example{"logpipe/a.go", `package p; import "context"; type T struct { ctx context.Context }`, true},
		example{"logpipe/a.go", `package p; import "context"; func f() { var _ struct { context.Context } }`, true},
		example{"logpipe/a.go", `package p; import "context"; type T struct { f func(context.Context); c context.CancelFunc }`, false},
	)
}

func shortFile(f goFile) []string {
	if f.isTest() || f.lines <= maxFileLines {
		return nil
	}
	return []string{fmt.Sprintf("%s has %d lines, more than %d: split it by stage of the flow", f.path, f.lines, maxFileLines)}
}

func TestFilesAreShort(t *testing.T) {
	long := "package p" + strings.Repeat("\n", maxFileLines+1)
	checkFiles(t, shortFile,
		example{"logpipe/a.go", long, true},
		example{"logpipe/a_test.go", long, false},
		example{"logpipe/a.go", long[:len(long)-1], false},
	)
}

func shortFuncs(f goFile) (complaints []string) {
	for _, decl := range f.ast.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || f.isTest() {
			continue
		}
		if n := f.line(fn.End()) - f.line(fn.Pos()) + 1; n > maxFuncLines {
			complaints = append(complaints, fmt.Sprintf("%s: %s has %d lines, more than %d: give its steps names", f.at(fn), fn.Name.Name, n, maxFuncLines))
		}
	}
	return complaints
}

func TestFunctionsAreShort(t *testing.T) {
	fill := strings.Repeat("\n", maxFuncLines-1)
	checkFiles(t, shortFuncs,
		example{"logpipe/a.go", "package p\nfunc f() {" + fill + "\n}", true},
		example{"logpipe/a.go", "package p\nfunc f() {" + fill + "}", false},
		example{"logpipe/a_test.go", "package p\nfunc f() {" + fill + "\n}", false},
	)
}

// exported calls see for every exported top-level name of f and for every exported method of an exported type.
// doc says whether it is documented.
func exported(f goFile, see func(name string, at ast.Node, doc, method bool)) {
	for _, decl := range f.ast.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) {
				see(d.Name.Name, d, d.Doc != nil, d.Recv != nil)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() {
						see(s.Name.Name, s, d.Doc != nil || s.Doc != nil, false)
					}
				case *ast.ValueSpec:
					for _, name := range s.Names {
						if name.IsExported() {
							see(name.Name, s, d.Doc != nil || s.Doc != nil || s.Comment != nil, false)
						}
					}
				}
			}
		}
	}
}

// receiver returns the name of a method's type.
func receiver(fn *ast.FuncDecl) string {
	typ := fn.Recv.List[0].Type
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr:
			typ = t.X
		case *ast.IndexListExpr:
			typ = t.X
		case *ast.Ident:
			return t.Name
		default:
			return ""
		}
	}
}

func documented(f goFile) (complaints []string) {
	if !f.isLibrary() {
		return nil
	}
	exported(f, func(name string, at ast.Node, doc, method bool) {
		// What these methods do is what their interface says.
		known := method && (name == "Error" || name == "Unwrap" || name == "String")
		if !doc && !known {
			complaints = append(complaints, f.at(at)+": "+name+" has no doc comment")
		}
	})
	return complaints
}

func TestExportedNamesAreDocumented(t *testing.T) {
	checkFiles(t, documented,
		example{"logpipe/a.go", "package p\nfunc F() {}", true},
		example{"logpipe/a.go", "package p\ntype T struct{}", true},
		example{"logpipe/a.go", "package p\nconst C = 1", true},
		example{"logpipe/a.go", "package p\n// T is one.\ntype T[E any] struct{}\nfunc (*T[E]) M() {}", true},
		example{"logpipe/a.go", "package p\nfunc String() {}", true},
		example{"logpipe/a.go", "package p\n// T is one.\ntype T struct{}\nfunc (T) String() string { return \"\" }", false},
		example{"logpipe/a.go", "package p\ntype t struct{}\nfunc (t) Error() string { return \"\" }", false},
		example{"logpipe/a.go", "package p\n// These are all.\nconst (\n\tA = 1\n\tB = 2\n)", false},
	)
}

func packageDoc(files []goFile) []string {
	for _, f := range files {
		if f.ast.Doc != nil {
			return nil
		}
	}
	return []string{files[0].dir() + ": no package doc"}
}

func TestPackagesAreDocumented(t *testing.T) {
	checkPackages(t, packageDoc,
		example{"logpipe/a.go", "package p", true},
		example{"cmd/stele/a.go", "package main", true},
		example{"logpipe/a.go", "// Package p is documented.\npackage p", false},
	)
}

func smallSurface(files []goFile) []string {
	if !files[0].isPublic() {
		return nil
	}
	count := 0
	for _, f := range files {
		exported(f, func(_ string, _ ast.Node, _, method bool) {
			if !method {
				count++
			}
		})
	}
	if count <= maxExported {
		return nil
	}
	return []string{fmt.Sprintf("%s exports %d names, more than %d", files[0].dir(), count, maxExported)}
}

func TestPublicSurfaceIsSmall(t *testing.T) {
	names := func(n int) string {
		source := "package p\ntype T struct{}\nfunc (T) Method() {}\n"
		for i := range n - 1 {
			source += fmt.Sprintf("func F%d() {}\n", i)
		}
		return source
	}
	checkPackages(t, smallSurface,
		example{"logpipe/a.go", names(maxExported + 1), true},
		example{"logpipe/a.go", names(maxExported), false},
		example{"internal/frame/a.go", names(maxExported + 1), false},
	)
}

func isName(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

// at returns where n is, as path:line.
func (f goFile) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.path, f.line(n.Pos()))
}

func (f goFile) line(p token.Pos) int { return f.fset.Position(p).Line }
