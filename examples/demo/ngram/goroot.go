package ngram

import (
	"context"
	"fmt"
	"go/build"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// FindGOROOT returns the directory of a Go installation that carries its
// sources: the one this program was built with or, when that was trimmed from
// the binary or has moved, the one the go command on the PATH reports. The
// error says what was tried. ctx bounds the call of the go command.
func FindGOROOT(ctx context.Context) (string, error) {
	return findGOROOT(build.Default.GOROOT, func() (string, error) {
		out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
		return strings.TrimSpace(string(out)), err
	})
}

func findGOROOT(built string, ask func() (string, error)) (string, error) {
	if hasSources(built) {
		return built, nil
	}
	asked, err := ask()
	if err != nil {
		return "", fmt.Errorf("ngram: no Go sources in %q, and go env GOROOT failed: %w", built, err)
	}
	if !hasSources(asked) {
		return "", fmt.Errorf("ngram: no Go sources in %q or %q: install the src directory of the Go distribution or set GOROOT: %w", built, asked, ErrNoDocs)
	}
	return asked, nil
}

func hasSources(root string) bool {
	if root == "" {
		return false
	}
	info, err := os.Stat(filepath.Join(root, "src", "fmt"))
	return err == nil && info.IsDir()
}
