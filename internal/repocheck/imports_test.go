package repocheck

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// layers lists the top folders from the bottom up. A package imports from its own layer or below.
var layers = [][]string{{"merkle"}, {"logpipe"}, {"backup"}, {"cmd", "examples", "benchmarks"}}

func layerOf(dir string) int {
	top, _, _ := strings.Cut(dir, "/")
	return slices.IndexFunc(layers, func(layer []string) bool { return slices.Contains(layer, top) })
}

// ownPackage returns the directory of a package of this module.
func ownPackage(imported string) (dir string, ok bool) {
	return strings.CutPrefix(imported, module+"/")
}

func layering(f goFile) (complaints []string) {
	for _, imported := range f.imports() {
		dir, own := ownPackage(imported)
		if own && layerOf(f.dir()) >= 0 && layerOf(dir) > layerOf(f.dir()) {
			complaints = append(complaints, fmt.Sprintf("%s imports %s, which is above it", f.path, dir))
		}
		if own && strings.HasPrefix(f.dir(), "internal/") && layerOf(dir) >= layerOf("backup") && dir != contract {
			complaints = append(complaints, fmt.Sprintf("%s imports %s: internal packages serve those above them", f.path, dir))
		}
	}
	if f.dir() == contract && !f.isTest() && slices.ContainsFunc(f.imports(), func(i string) bool { _, own := ownPackage(i); return own }) {
		complaints = append(complaints, f.path+": the contract of a store imports nothing of this module")
	}
	return complaints
}

// contract is what a store fulfils. Who writes one should compile nothing else, and internal packages use it.
const contract = "backup/worm"

func TestImportsGoOneWay(t *testing.T) {
	importing := func(dir string) string { return `package p; import _ "` + module + "/" + dir + `"` }
	checkFiles(t, layering,
		example{"merkle/a.go", importing("logpipe"), true},
		example{"logpipe/a.go", importing("backup"), true},
		example{"logpipe/httplog/a.go", importing("backup/s3store"), true},
		example{"backup/a.go", importing("cmd/stele"), true},
		example{"internal/frame/a.go", importing("backup"), true},
		example{"internal/objstore/a.go", importing("backup/worm"), false},
		example{"backup/worm/a.go", importing("internal/chain"), true},
		example{"internal/frame/a_test.go", importing("cmd/stele"), true},
		example{"internal/frame/a.go", importing("internal/record"), false},
		example{"backup/a.go", importing("logpipe"), false},
		example{"cmd/stele/a.go", importing("backup"), false},
		example{"logpipe/a.go", importing("internal/frame"), false},
	)
}

// publicOnly keeps the commands and examples to what every user has. Their tests may start the real services.
func publicOnly(f goFile) (complaints []string) {
	if !strings.HasPrefix(f.path, "cmd/") && !strings.HasPrefix(f.path, "examples/") {
		return nil
	}
	for _, imported := range f.imports() {
		dir, own := ownPackage(imported)
		if own && strings.HasPrefix(dir, "internal/") && !(f.isTest() && dir == "internal/testbed") {
			complaints = append(complaints, fmt.Sprintf("%s imports %s: commands and examples use the public API only", f.path, dir))
		}
	}
	return complaints
}

func TestCommandsUseThePublicAPI(t *testing.T) {
	const frame, testbed = `package p; import _ "` + module + `/internal/frame"`, `package p; import _ "` + module + `/internal/testbed"`
	checkFiles(t, publicOnly,
		example{"cmd/stele/a.go", frame, true},
		example{"examples/demo/a.go", frame, true},
		example{"cmd/stele/a_test.go", frame, true},
		example{"cmd/stele/a.go", testbed, true},
		example{"cmd/stele/a_test.go", testbed, false},
		example{"backup/a.go", frame, false},
	)
}

func pureMerkle(f goFile) (complaints []string) {
	if f.isTest() || layerOf(f.dir()) != 0 && f.dir() != "internal/sha256mb" {
		return nil
	}
	for _, imported := range f.imports() {
		first, _, _ := strings.Cut(imported, "/")
		if strings.Contains(first, ".") && imported != "golang.org/x/mod/sumdb/note" && imported != module+"/internal/sha256mb" {
			complaints = append(complaints, fmt.Sprintf("%s imports %s: merkle needs the standard library, notes and sha256mb only", f.path, imported))
		}
	}
	return complaints
}

func TestMerkleIsPure(t *testing.T) {
	checkFiles(t, pureMerkle,
		example{"merkle/a.go", `package merkle; import _ "golang.org/x/sync/errgroup"`, true},
		example{"merkle/a.go", `package merkle; import _ "` + module + `/internal/frame"`, true},
		example{"merkle/a.go", `package merkle; import ( _ "crypto/sha256"; _ "golang.org/x/mod/sumdb/note" )`, false},
		example{"merkle/a.go", `package merkle; import _ "` + module + `/internal/sha256mb"`, false},
		example{"internal/sha256mb/a.go", `package p; import _ "` + module + `/internal/frame"`, true},
		example{"internal/sha256mb/a.go", `package p; import _ "crypto/sha256"`, false},
		example{"merkle/a_test.go", `package merkle; import _ "pgregory.net/rapid"`, false},
	)
}

// homes says where a dependency may be imported outside tests, so that each can be replaced in one place.
var homes = map[string][]string{
	"github.com/segmentio/kafka-go":  {"internal/kafka", "internal/testbed"},
	"github.com/apache/arrow/go/v17": {"internal/segment"},
	"github.com/miekg/pkcs11":        {"backup/custodian/pkcs11"},
	"github.com/minio/minio-go/v7":   {"backup/s3store", "internal/testbed"},
	"github.com/google/trillian":     {"backup/anchor/trillian"},
	"google.golang.org/grpc":         {"backup/anchor/trillian"},
}

func atHome(f goFile) (complaints []string) {
	if f.isTest() {
		return nil
	}
	for _, imported := range f.imports() {
		for dependency, dirs := range homes {
			if (imported == dependency || strings.HasPrefix(imported, dependency+"/")) && !slices.Contains(dirs, f.dir()) {
				complaints = append(complaints, fmt.Sprintf("%s imports %s, which belongs in %s", f.path, imported, strings.Join(dirs, ", ")))
			}
		}
	}
	return complaints
}

func TestDependenciesStayAtHome(t *testing.T) {
	checkFiles(t, atHome,
		example{"logpipe/a.go", `package p; import _ "github.com/segmentio/kafka-go/sasl/plain"`, true},
		example{"backup/a.go", `package p; import _ "github.com/apache/arrow/go/v17/arrow"`, true},
		example{"backup/a.go", `package p; import _ "github.com/minio/minio-go/v7"`, true},
		example{"backup/s3store/a.go", `package p; import _ "github.com/minio/minio-go/v7"`, false},
		example{"backup/a_test.go", `package p; import _ "github.com/minio/minio-go/v7"`, false},
		example{"internal/kafka/a.go", `package p; import _ "github.com/segmentio/kafka-go"`, false},
	)
}

// heavy are the dependencies that a service which only captures must not compile.
func heavy(packages []string) (complaints []string) {
	for _, p := range packages {
		for _, word := range []string{"/arrow", "/minio", "/trillian", "google.golang.org/grpc", "/cobra", "/prometheus"} {
			if strings.Contains(p, word) {
				complaints = append(complaints, "a service that only captures would compile "+p)
				break
			}
		}
	}
	return complaints
}

func TestCaptureIsLight(t *testing.T) {
	if got := heavy([]string{"net/http", "github.com/apache/arrow/go/v17/arrow", "google.golang.org/grpc/codes"}); len(got) != 2 {
		t.Errorf("the rule finds %q", got)
	}
	cmd := exec.Command("go", "list", "-deps", "./logpipe/...")
	cmd.Dir = root
	out, err := cmd.Output()
	packages := strings.Fields(string(out))
	if err != nil || !slices.Contains(packages, module+"/logpipe") {
		t.Fatalf("go list -deps ./logpipe/... does not list logpipe: %v", err)
	}
	complain(t, heavy(packages))
}

// impure are what a program that only checks evidence must not compile: it fetches nothing.
func impure(packages []string) (complaints []string) {
	for _, p := range packages {
		for _, word := range []string{"net", "net/http", "crypto/tls", "os/exec", "/arrow", "/minio", "/kafka-go", "/trillian", "google.golang.org/grpc"} {
			if p == word || strings.HasPrefix(word, "/") && strings.Contains(p, word) || strings.Contains(word, ".") && strings.Contains(p, word) {
				complaints = append(complaints, "a program that checks evidence would compile "+p)
				break
			}
		}
	}
	return complaints
}

func TestEvidenceIsPure(t *testing.T) {
	if got := impure([]string{"net", "net/netip", "github.com/apache/arrow/go/v17/arrow", "google.golang.org/grpc/codes"}); len(got) != 3 {
		t.Errorf("the rule finds %q", got)
	}
	cmd := exec.Command("go", "list", "-deps", "./backup/evidence")
	cmd.Dir = root
	out, err := cmd.Output()
	packages := strings.Fields(string(out))
	if err != nil || !slices.Contains(packages, module+"/backup/evidence") {
		t.Fatalf("go list -deps ./backup/evidence does not list it: %v", err)
	}
	complain(t, impure(packages))
}
