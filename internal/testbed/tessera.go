package testbed

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func fsckArtefact() artefact {
	return goArtefact("fsck", "github.com/transparency-dev/tessera/cmd/fsck", "v1.0.4")
}

// Fsck has the checker of the Tessera project look at a log that lies in a directory, or at a URL, as C2SP tlog-tiles, and returns why it does
// not accept it. It never ends on some logs that are wrong: one that takes longer than within is not accepted. The test is
// skipped (fails with CI=true) where the checker cannot be built.
func Fsck(t testing.TB, at, origin, vkey string, within time.Duration) error {
	t.Helper()
	bin, err := fsckArtefact().get(t.Context())
	if err != nil {
		unavailable(t, "fsck of Tessera", err)
	}
	dir := t.TempDir()
	if !strings.Contains(at, "://") {
		at = "file://" + at
	}
	key := filepath.Join(dir, "vkey")
	if err := os.WriteFile(key, []byte(vkey), 0o600); err != nil {
		t.Fatalf("testbed: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "fsck"), "--storage_url", at+"/", "--origin", origin, "--public_key", key, "--ui=false")
	cmd.Env, cmd.SysProcAttr = baseEnv(dir), childAttr(nil)
	var out []byte
	onChildThread(func() { out, err = cmd.CombinedOutput() })
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("fsck: not accepted within %v: %s", within, bytes.TrimSpace(out))
	case err != nil:
		return fmt.Errorf("fsck: %w: %s", err, bytes.TrimSpace(out))
	case !bytes.Contains(out, []byte("Successfully fsck'd log")): // it exits with 0 whatever it finds
		return fmt.Errorf("fsck: %s", bytes.TrimSpace(out))
	}
	return nil
}
