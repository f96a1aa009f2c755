package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A role file stays where it may be that the archive knows its key, and there is none where it cannot.
func TestKept(t *testing.T) {
	failed := errors.New("the store is away")
	for name, add := range map[string]func(keep func([]byte) error) error{
		"before": func(func([]byte) error) error { return failed },
		"after":  func(keep func([]byte) error) error { return errors.Join(keep([]byte("secret")), failed) },
		"done":   func(keep func([]byte) error) error { return keep([]byte("secret")) },
	} {
		out := filepath.Join(t.TempDir(), "role.stele")
		err := kept(out, add)
		_, gone := os.Stat(out)
		if (gone == nil) != (name != "before") || (err == nil) != (name == "done") || err != nil && !errors.Is(err, failed) {
			t.Errorf("%s: file %v, %v", name, gone == nil, err)
		}
		if told := err != nil && strings.Contains(err.Error(), out); told != (name == "after") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
