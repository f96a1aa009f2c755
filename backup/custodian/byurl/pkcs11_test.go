//go:build pkcs11 && cgo

package byurl

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/internal/testbed"
)

func TestPKCS11(t *testing.T) {
	h := testbed.SoftHSM(t)
	pin := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(pin, []byte(h.PIN+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := "pkcs11:token=" + url.PathEscape(h.Token(t)) + ";manufacturer=SoftHSM%20project?module-path=" + h.Module
	var blob []byte
	for i, test := range []struct {
		url string
		env Options
	}{
		{base, environment("STELE_PKCS11_PIN", h.PIN)},
		{base + "&pin-source=file:" + pin, environment()},
		{base + "&class=C&pin-source=file://" + pin, environment("STELE_PKCS11_PIN", "not this one")},
	} {
		c, err := Open(test.url, testID(), test.env)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i == 0 {
			if _, err := c.Create(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			if blob, err = c.Wrap(t.Context(), 1, custodian.Share{5}); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := c.Unwrap(t.Context(), 1, blob); err != nil || got != (custodian.Share{5}) {
			t.Errorf("%s: %v", test.url, err)
		}
		if err := c.Close(); err != nil { // the last session with a token logs out
			t.Error(err)
		}
	}
	if err := os.Chmod(pin, 0o640); err != nil {
		t.Fatal(err)
	}
	c, err := Open(base+"&pin-source=file:"+pin, testID(), environment())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Status(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "chmod 600") || strings.Contains(err.Error(), h.PIN) {
		t.Errorf("a PIN that others can read: %v", err)
	}
}
