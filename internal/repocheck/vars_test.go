package repocheck

import (
	"errors"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"testing"
)

// globals lists the package-level variables that hold state, each with the reason why it must be one.
var globals = map[string]string{
	"internal/sha256mb.native": "what the processor can do does not change, and asking it takes longer than a hash",
	"internal/testbed.shared":  "tests share nothing but their process, and a broker takes seconds to start",
}

// pure are the calls that make values which nobody changes.
var pure = []string{
	"errors.New", "fmt.Errorf", "regexp.MustCompile", "strings.NewReplacer", "crc32.MakeTable", "crc64.MakeTable",
	"sha256.Sum256", "time.Date", "big.NewInt", "WithPadding", "Strict", "byte", "uint64",
}

// noState finds package-level variables that are, or may be, state: those without an initial value, those made by a call
// or by taking an address, and those that any code of the package writes to. What is left are tables and errors.
func noState(files []goFile) (complaints []string) {
	if !files[0].isLibrary() {
		return nil
	}
	// The rest of the world is not needed to resolve names of this package; what it would resolve is left open.
	var asts []*ast.File
	info := &types.Info{Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	for _, f := range files {
		asts = append(asts, f.ast)
	}
	config := types.Config{Importer: nothing{}, Error: func(error) {}}
	_, _ = config.Check(files[0].dir(), files[0].fset, asts, info)

	written := map[types.Object]bool{}
	for _, file := range asts {
		ast.Inspect(file, func(n ast.Node) bool {
			for _, e := range writes(n) {
				if id := base(e); id != nil {
					written[info.Uses[id]] = true
				}
			}
			return true
		})
	}
	for _, f := range files {
		for _, v := range packageVars(f.ast) {
			_, allowed := globals[f.dir()+"."+v.name.Name]
			if !allowed && (!v.constant() || written[info.Defs[v.name]]) {
				complaints = append(complaints, f.at(v.name)+": package-level variable "+v.name.Name+" is or may be state")
			}
		}
	}
	return complaints
}

// nothing imports nothing.
type nothing struct{}

func (nothing) Import(string) (*types.Package, error) { return nil, errors.New("not imported") }

// writes lists the expressions that n changes, or whose address it takes.
func writes(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			return []ast.Expr{n.Key, n.Value}
		}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			return []ast.Expr{n.X}
		}
	case *ast.CallExpr:
		for _, builtin := range []string{"delete", "clear", "copy"} {
			if isName(n.Fun, builtin) && len(n.Args) > 0 {
				return n.Args[:1]
			}
		}
	}
	return nil
}

// base returns the variable that an expression such as v.f[i] is a part of.
func base(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

type packageVar struct {
	name     *ast.Ident
	typ      ast.Expr // nil if it is not written down
	value    ast.Expr // nil if there is none of its own
	embedded bool
}

func packageVars(file *ast.File) (vars []packageVar) {
	for _, decl := range file.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok || d.Tok != token.VAR {
			continue
		}
		for _, spec := range d.Specs {
			s := spec.(*ast.ValueSpec)
			for i, name := range s.Names {
				if name.Name == "_" {
					continue
				}
				v := packageVar{name: name, typ: s.Type, embedded: hasEmbed(d.Doc) || hasEmbed(s.Doc)}
				if len(s.Values) == len(s.Names) {
					v.value = s.Values[i]
				}
				vars = append(vars, v)
			}
		}
	}
	return vars
}

func hasEmbed(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// constant reports whether the variable holds a value that is no state unless something writes to it.
func (v packageVar) constant() bool {
	if v.value == nil {
		array, ok := v.typ.(*ast.ArrayType)
		zeros := ok && array.Len != nil
		return v.embedded || zeros
	}
	return constant(v.value)
}

func constant(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit, *ast.Ident, *ast.SelectorExpr, *ast.FuncLit:
		return true
	case *ast.ParenExpr:
		return constant(e.X)
	case *ast.UnaryExpr:
		return e.Op != token.AND && constant(e.X)
	case *ast.BinaryExpr:
		return constant(e.X) && constant(e.Y)
	case *ast.KeyValueExpr:
		return constant(e.Value)
	case *ast.CompositeLit:
		return !slices.ContainsFunc(e.Elts, func(x ast.Expr) bool { return !constant(x) })
	case *ast.CallExpr:
		return pureCall(e.Fun)
	}
	return false
}

func pureCall(fun ast.Expr) bool {
	switch fun := fun.(type) {
	case *ast.ArrayType: // a conversion
		return true
	case *ast.Ident:
		return slices.Contains(pure, fun.Name)
	case *ast.SelectorExpr:
		if slices.Contains(pure, fun.Sel.Name) {
			return true
		}
		x, ok := fun.X.(*ast.Ident)
		return ok && slices.Contains(pure, x.Name+"."+fun.Sel.Name)
	}
	return false
}

func TestLibrariesHaveNoGlobalState(t *testing.T) {
	checkPackages(t, noState,
		example{"logpipe/a.go", `package p; var n int`, true},
		example{"logpipe/a.go", `package p; import "sync"; var mu sync.Mutex`, true},
		example{"logpipe/a.go", `package p; var m = make(map[string]int)`, true},
		example{"logpipe/a.go", `package p; var p = &struct{}{}`, true},
		example{"logpipe/a.go", `package p; var c = newClient()`, true},
		example{"logpipe/a.go", `package p; var t = map[string]int{}; func f() { t["a"] = 1 }`, true},
		example{"logpipe/a.go", `package p; var t = []int{1}; func f() { delete(t, 1) }`, true},
		example{"logpipe/a.go", `package p; var n = 1; func f() { n++ }`, true},
		example{"logpipe/a.go", `package p; var n = 1; func f() *int { return &n }`, true},
		example{"logpipe/a.go", `package p; import "sync"; var t = []sync.Once{{}}; func f() { p := &t[0]; _ = p }`, true},
		example{"logpipe/a.go", `package p; var n = 1; func f() { n := 2; n++ }`, false},
		example{"logpipe/a.go", `package p; import "errors"; var ErrFull = errors.New("full")`, false},
		example{"logpipe/a.go", `package p; var t = map[string]int{"a": 1}; func f() int { return t["a"] }`, false},
		example{"logpipe/a.go", `package p; var zero [12]byte`, false},
		example{"logpipe/a.go", `package p; var cache [12]byte; func f() { cache[0] = 1 }`, true},
		example{"logpipe/a.go", `package p; var _ error = (*int)(nil)`, false},
		example{"logpipe/a.go", "package p\n//go:embed x\nvar text string", false},
		example{"cmd/stele/a.go", `package main; var version string`, false},
	)
	for name, reason := range globals {
		if !strings.Contains(reason, " ") {
			t.Errorf("%s is allowed without a reason", name)
		}
	}
}
