package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/testbed"
)

// The operator of an anchor makes his key, anchors, loses his tree and gets it back, with the command alone.
func TestAnchorCommand(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	command := func(code int, args ...string) (stdout, stderr string) {
		t.Helper()
		var out, err bytes.Buffer
		if got := run(t.Context(), append([]string{"anchor"}, args...), none, &out, &err); got != code {
			t.Fatalf("compactor anchor %q: exit code %d, want %d\n%s", args, got, code, &err)
		}
		return out.String(), err.String()
	}
	dir := t.TempDir()
	url, trust := "file://"+filepath.Join(dir, "archive"), filepath.Join(dir, "trust.stele")
	if _, stderr := command(exitUsage, "--archive", url, "--trust", trust); !strings.Contains(stderr, "--server") {
		t.Errorf("without a server: %s", stderr)
	}
	if err := os.Mkdir(filepath.Join(dir, "archive"), 0o755); err != nil {
		t.Fatal(err)
	}
	log := testbed.Trillian(t)
	store, err := location.Open(t.Context(), url, location.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Init(t.Context(), admin.InitConfig{Store: store, Name: "acme", To: "file://" + filepath.Join(dir, "spool"), Dir: dir, Lock: worm.LockNone}); err != nil {
		t.Fatal(err)
	}
	settings := []string{"--archive", url, "--trust", trust, "--server", log.Addr, "--dir", filepath.Join(dir, "anchor")}
	line, _ := command(exitOK, append(settings, "--init", "anchor.example/acme")...)
	command(exitFailed, append(settings, "--init", "anchor.example/acme")...) // the key is never overwritten
	file, err := os.ReadFile(trust)
	if err == nil {
		err = os.WriteFile(trust, append(file, line...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	verdict := func() backup.State {
		t.Helper()
		file, err := os.ReadFile(trust)
		if err != nil {
			t.Fatal(err)
		}
		archive, err := backup.OpenArchive(t.Context(), store, file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := archive.Verify(t.Context(), backup.VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Verdicts["anchoring"].State
	}
	if got := verdict(); got != backup.Fails {
		t.Errorf("before anything is anchored: %s", got)
	}
	if _, stderr := command(exitOK, append(settings, "--once")...); !strings.Contains(stderr, "anchored entries=") {
		t.Error(stderr)
	}
	if got := verdict(); got != backup.Holds {
		t.Errorf("anchored: %s", got)
	}
	log.Query(t, "trillian", "DELETE FROM Trees")
	command(exitFailed, append(settings, "--once")...)
	if _, stderr := command(exitOK, append(settings, "--once", "--rebuild")...); !strings.Contains(stderr, "the tree is rebuilt") {
		t.Error(stderr)
	}
	if got := verdict(); got != backup.Holds {
		t.Errorf("rebuilt: %s", got)
	}
}
