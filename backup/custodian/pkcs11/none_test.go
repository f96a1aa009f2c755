//go:build !(pkcs11 && cgo)

package pkcs11

import (
	"strings"
	"testing"

	"github.com/stelelog/stele/backup/custodian"
)

// TestNotBuiltIn: the usual build says what to do.
func TestNotBuiltIn(t *testing.T) {
	config := Config{Module: "/x.so", Token: Token{Label: "a"}, PIN: func() (string, error) { return "1", nil }}
	c, err := Open(config, custodian.Identity{Archive: [16]byte{1}, Name: "hsm"})
	if c != nil || err == nil || !strings.Contains(err.Error(), "-tags pkcs11") {
		t.Errorf("%v, %v", c, err)
	}
}
