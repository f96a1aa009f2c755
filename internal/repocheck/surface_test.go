package repocheck

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// surface follows the types that users of public packages meet: in signatures, exported fields, variables and methods.
// Each must have a name that users can write: one of a public package, an alias of it included.
type surface struct {
	named      map[*types.TypeName]bool // internal types that a public package has an alias of
	seen       map[types.Type]bool
	complaints []string
}

// nameless complains of what is seen in public packages and cannot be named outside.
func nameless(packages []*types.Package) []string {
	s := &surface{named: map[*types.TypeName]bool{}, seen: map[types.Type]bool{}}
	for _, p := range packages {
		for _, name := range p.Scope().Names() {
			if object, ok := p.Scope().Lookup(name).(*types.TypeName); ok && object.Exported() && object.IsAlias() {
				if named, ok := types.Unalias(object.Type()).(*types.Named); ok {
					s.named[named.Origin().Obj()] = true
				}
			}
		}
	}
	for _, p := range packages {
		for _, name := range p.Scope().Names() {
			object := p.Scope().Lookup(name)
			if !object.Exported() {
				continue
			}
			where := p.Path() + "." + name
			if _, ok := object.(*types.TypeName); ok {
				s.members(where, types.Unalias(object.Type()))
			} else {
				s.follow(where, object.Type())
			}
		}
	}
	slices.Sort(s.complaints)
	return slices.Compact(s.complaints)
}

// members follows what a type shows: its exported fields, its exported methods.
func (s *surface) members(where string, t types.Type) {
	if s.seen[t] {
		return
	}
	s.seen[t] = true
	if named, ok := t.(*types.Named); ok {
		for method := range named.Methods() {
			if method.Exported() {
				s.follow(where+"."+method.Name(), method.Type())
			}
		}
		t = named.Underlying()
	}
	s.follow(where, t)
}

// follow looks at a type as it is written somewhere.
func (s *surface) follow(where string, t types.Type) {
	switch t := t.(type) {
	case *types.Named:
		s.name(where, t.Origin().Obj())
		for argument := range t.TypeArgs().Types() {
			s.follow(where, argument)
		}
		if s.own(t.Obj()) {
			s.members(where, t.Origin())
		}
	case *types.Alias:
		s.follow(where, types.Unalias(t))
	case *types.Signature:
		s.follow(where, t.Params())
		s.follow(where, t.Results())
	case *types.Tuple:
		for v := range t.Variables() {
			s.follow(where, v.Type())
		}
	case *types.Struct:
		for field := range t.Fields() {
			switch {
			case field.Exported():
				s.follow(where+"."+field.Name(), field.Type())
			case field.Embedded(): // only what is promoted can be seen
				s.members(where, types.Unalias(pointee(field.Type())))
			}
		}
	case *types.Interface:
		for method := range t.Methods() {
			if method.Exported() {
				s.follow(where+"."+method.Name(), method.Type())
			}
		}
	case *types.Map:
		s.follow(where, t.Key())
		s.follow(where, t.Elem())
	case interface{ Elem() types.Type }: // pointers, slices, arrays, channels
		s.follow(where, t.Elem())
	}
}

// pointee is what t points at, t itself if it is no pointer.
func pointee(t types.Type) types.Type {
	if p, ok := types.Unalias(t).(*types.Pointer); ok {
		return p.Elem()
	}
	return t
}

// own reports whether a type is of this module.
func (s *surface) own(o *types.TypeName) bool {
	return o.Pkg() != nil && (o.Pkg().Path() == module || strings.HasPrefix(o.Pkg().Path(), module+"/"))
}

// name complains if users cannot write the name of a type.
func (s *surface) name(where string, o *types.TypeName) {
	if !s.own(o) || s.named[o] {
		return
	}
	if !o.Exported() || strings.Contains(o.Pkg().Path()+"/", "/internal/") {
		s.complaints = append(s.complaints, fmt.Sprintf("%s shows %s.%s, which users cannot name: export it, or give it an alias", where, o.Pkg().Path(), o.Name()))
	}
}

// typed checks the types of the public packages, reading those they import from what the compiler wrote.
func typed(t *testing.T, files []goFile) []*types.Package {
	t.Helper()
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Export", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -export: %v", err)
	}
	exports := map[string]string{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct{ ImportPath, Export string }
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
	}
	imports := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(exports[path])
	})
	var public []*types.Package
	packages := byPackage(files)
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		if exports[module+"/"+dir] == "" || !packages[dir][0].isPublic() {
			continue // tests only, or not on this system
		}
		p, err := imports.Import(module + "/" + dir)
		if err != nil {
			t.Fatal(err)
		}
		public = append(public, p)
	}
	return public
}

func TestPublicTypesHaveNames(t *testing.T) {
	for source, want := range map[string]int{
		`type hidden struct{}; type T struct { F []hidden }`:                               1,
		`type hidden struct{}; func F(map[string]*hidden) {}`:                              1,
		`type hidden int; type T struct{}; func (*T) M() hidden { return 0 }`:              1,
		`type hidden int; type Named = hidden; func F() Named { return 0 }`:                0,
		`type hidden struct{ F other }; type other int; type Named = hidden`:               1,
		`type hidden int; type T struct { f hidden }; func (t *T) m() hidden { return 0 }`: 0,
		`type hidden struct{ F int }; type T struct { hidden }`:                            0,
		`type hidden struct{ F other }; type other int; type T struct { *hidden }`:         1,
		`type hidden int; type I interface { M(func(hidden)) }`:                            1,
		`type hidden int; var V [2]hidden`:                                                 1,
		`type G[E any] struct{ F E }; type hidden int; func F() *G[hidden] { return nil }`: 1,
	} {
		fset := token.NewFileSet()
		f := parseGo(t, fset, "logpipe/a.go", "package p\n"+source)
		p, err := (&types.Config{}).Check(module+"/logpipe", fset, []*ast.File{f.ast}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := nameless([]*types.Package{p}); len(got) != want {
			t.Errorf("the rule says %q about %s", got, source)
		}
	}
	public := typed(t, goFiles(t))
	if len(public) < 20 {
		t.Fatalf("%d public packages were read", len(public))
	}
	complain(t, nameless(public))
}
