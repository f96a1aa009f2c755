package testbed

import (
	"os"
	"strings"
	"testing"
)

func TestSoftHSM(t *testing.T) {
	h := SoftHSM(t)
	label := h.Token(t)
	if out := h.Objects(t, label); strings.Contains(out, "Object") {
		t.Errorf("a new token has objects: %s", out)
	}
	out := h.run(t, "pkcs11-tool", "--module", h.Module, "--token-label", label, "--login", "--pin", h.PIN,
		"--keygen", "--key-type", "AES:32", "--label", "mine", "--id", "01")
	if listed := h.Objects(t, label); !strings.Contains(listed, "mine") {
		t.Errorf("made a key (%s), and then there is: %s", out, listed)
	}
	if entries, err := os.ReadDir(h.Tokens); err != nil || len(entries) != 1 {
		t.Errorf("%d tokens in the directory, %v", len(entries), err)
	}
	if h.Token(t) == label {
		t.Error("two tokens with one label")
	}
}
