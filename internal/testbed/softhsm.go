package testbed

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// SoftHSM2 is an installed SoftHSM with a directory of tokens of its own. The library runs in the process that loads it, and
// reads SOFTHSM2_CONF when it is initialised.
type SoftHSM2 struct {
	// Module is the path of the PKCS#11 library, Tokens the directory of the tokens.
	Module, Tokens string
	// PIN is that of every token's user.
	PIN string

	config string
}

// SoftHSM returns an installed SoftHSM and points SOFTHSM2_CONF at a new directory of tokens until the test ends. It skips
// the test (fails it with CI=true) where SoftHSM or OpenSC is not installed.
func SoftHSM(t *testing.T) *SoftHSM2 {
	t.Helper()
	if _, err := softhsmArtefact().get(t.Context()); err != nil {
		unavailable(t, "SoftHSM (Debian packages softhsm2 and opensc)", err)
	}
	module, err := softhsmModule()
	if err != nil {
		unavailable(t, "SoftHSM (Debian packages softhsm2 and opensc)", err)
	}
	dir := t.TempDir()
	h := &SoftHSM2{Module: module, Tokens: filepath.Join(dir, "tokens"), PIN: "124816", config: filepath.Join(dir, "softhsm2.conf")}
	settings := "directories.tokendir = " + h.Tokens + "\nobjectstore.backend = file\nlog.level = ERROR\n"
	if err := errors.Join(os.Mkdir(h.Tokens, 0o700), os.WriteFile(h.config, []byte(settings), 0o600)); err != nil {
		t.Fatalf("testbed: %v", err)
	}
	t.Setenv("SOFTHSM2_CONF", h.config)
	return h
}

func softhsmArtefact() artefact {
	return artefact{name: "softhsm", version: "as installed", needs: []string{"softhsm2-util", "pkcs11-tool"}}
}

// softhsmModule finds the library where distributions put it.
func softhsmModule() (string, error) {
	const name = "libsofthsm2.so"
	for _, pattern := range []string{"/usr/lib/softhsm/", "/usr/lib/*/softhsm/", "/usr/lib64/pkcs11/", "/usr/lib64/softhsm/", "/usr/local/lib/softhsm/"} {
		if found, err := filepath.Glob(pattern + name); err == nil && len(found) > 0 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("%s is not where it is usually installed", name)
}

// Token makes a token and returns its label. Programs that have initialised the library before do not see it.
func (h *SoftHSM2) Token(t testing.TB) string {
	t.Helper()
	label := Name(t)
	label = label[max(0, len(label)-32):] // the longest that PKCS#11 has room for
	h.run(t, "softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "87654321", "--pin", h.PIN)
	return label
}

// Objects lists all that is on a token, as another program sees it: pkcs11-tool of OpenSC.
func (h *SoftHSM2) Objects(t testing.TB, label string) string {
	t.Helper()
	return h.run(t, "pkcs11-tool", "--module", h.Module, "--token-label", label, "--login", "--pin", h.PIN, "--list-objects")
}

func (h *SoftHSM2) run(t testing.TB, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = append(baseEnv(filepath.Dir(h.config)), "SOFTHSM2_CONF="+h.config)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("testbed: %s: %v\n%s", argv[0], err, out)
	}
	return strings.TrimSpace(string(out))
}
