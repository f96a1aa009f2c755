package settings

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The place of a replica is read as every other place is: escapes and all.
func TestOpenReplica(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "a b"), 0o700); err != nil {
		t.Fatal(err)
	}
	for url, missing := range map[string]bool{"file://" + dir + "/a%20b": false, "file://localhost" + dir + "/a%20b": false, "file://" + dir + "/absent": true} {
		s, err := Load(Options{Flags: map[string]string{"replica": url}, Env: func(string) (string, bool) { return "", false }})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.OpenReplica(context.Background())
		if !missing && err != nil {
			t.Errorf("%s: %v", url, err)
		}
		if missing && (err == nil || !strings.Contains(err.Error(), "is missing") || strings.Contains(err.Error(), "stele init")) {
			t.Errorf("%s: %v", url, err)
		}
	}
}
