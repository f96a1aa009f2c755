package byurl

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/custodian/custodiantest"
)

func testID() custodian.Identity { return custodian.Identity{Archive: [16]byte{1}, Name: "one"} }

func environment(pairs ...string) Options {
	return Options{Env: func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}}
}

func TestFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with space")
	custodiantest.Run(t, custodiantest.Device{Class: custodian.BestEffort, Open: func(t testing.TB, id custodian.Identity) custodian.Custodian {
		c, err := Open("file://"+strings.ReplaceAll(dir, " ", "%20"), id, Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}})
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

// TestVault looks at what a server gets to see.
func TestVault(t *testing.T) {
	var token, namespace, path atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token.Store(r.Header.Get("X-Vault-Token"))
		namespace.Store(r.Header.Get("X-Vault-Namespace"))
		path.Store(r.URL.Path)
		_, _ = w.Write([]byte(`{"data":{"ciphertext":"vault:v1:AAAA"}}`))
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		url              string
		env              Options
		token, namespace string
	}{
		{"vault://" + host + "/mine?tls=false", environment("VAULT_TOKEN", "a"), "a", ""},
		{"vault://" + host + "/mine?tls=false", environment("BAO_TOKEN", "b", "BAO_NAMESPACE", "ns"), "b", "ns"},
		{"vault://" + host + "/mine?tls=false&namespace=team", environment("VAULT_TOKEN", "a", "VAULT_NAMESPACE", "x"), "a", "team"},
		{"vault:///mine", environment("VAULT_TOKEN", "a", "VAULT_ADDR", server.URL), "a", ""},
		{"vault:///mine?token_file=" + file, environment("VAULT_TOKEN", "a", "VAULT_ADDR", server.URL), "from-file", ""},
		{"vault:///mine", environment("VAULT_TOKEN_FILE", file, "VAULT_ADDR", server.URL), "from-file", ""},
	} {
		c, err := Open(test.url, testID(), test.env)
		if err != nil {
			t.Errorf("%s: %v", test.url, err)
			continue
		}
		if _, err := c.Wrap(t.Context(), 1, custodian.Share{}); err != nil {
			t.Errorf("%s: %v", test.url, err)
		}
		if token.Load() != test.token || namespace.Load() != test.namespace || path.Load() != "/v1/mine/encrypt/"+testID().Label(1) {
			t.Errorf("%s: token %v, namespace %v, path %v", test.url, token.Load(), namespace.Load(), path.Load())
		}
		_ = c.Close()
	}

	// The file is read each time, and one that anybody can read is not.
	c, err := Open("vault://"+host+"/mine?tls=false&token_file="+file, testID(), environment())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := os.WriteFile(file, []byte("renewed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wrap(t.Context(), 1, custodian.Share{}); err != nil || token.Load() != "renewed" {
		t.Errorf("token %v, %v", token.Load(), err)
	}
	for what, change := range map[string]func() error{
		"chmod 600": func() error { return os.Chmod(file, 0o604) },
		"one line":  func() error { return errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, []byte("a\nb\n"), 0o600)) },
		"no such":   func() error { return os.Remove(file) },
	} {
		_ = os.WriteFile(file, []byte("renewed"), 0o600)
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Wrap(t.Context(), 1, custodian.Share{}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestRefuses(t *testing.T) {
	const secret = "s3cret"
	env := environment("VAULT_TOKEN", secret, "STELE_PKCS11_PIN", secret)
	for rawURL, want := range map[string]string{
		"":                                   "no URL of a custodian",
		"/var/keys":                          "no URL of a custodian",
		"s3://bucket":                        "no URL of a custodian",
		"file://host/dir":                    "file:///",
		"file:dir":                           "file:///",
		"file:///":                           "root",
		"file:///a?class=A":                  "always C",
		"file:///a%zz":                       "escaped",
		"file:///no/such/place/anywhere":     "make it first",
		"pkcs11:token=a?pin-value=" + secret: "STELE_PKCS11_PIN",
		"pkcs11:token=a?module-path=/x&colour=" + secret:              "unknown option colour",
		"pkcs11:token=a?module-path=/x&class=B":                       "declare a delay",
		"pkcs11:token=a?module-path=/x&class=N":                       "class N",
		"pkcs11:token=a?module-path=/x&class=Z":                       "none of A, B, C, N",
		"pkcs11:token=a?module-path=/x&delay=30d":                     "class=B&delay=30d",
		"pkcs11:token=a?module-path=/x&class=B&delay=soon":            "no duration",
		"pkcs11:token=a?module-path=/x&pin-source=%7Ccat%20" + secret: "commands are not run",
		"pkcs11:token=a?module-path=/x&pin-source=pin":                "absolute",
		"pkcs11:token=a":                              "module-path",
		"pkcs11:?module-path=/x":                      "no token is named",
		"vault://" + secret + "@host/mount":           "VAULT_TOKEN",
		"vault://host":                                "no mount",
		"vault:host/mount":                            "vault://",
		"vault://host/mount#" + secret:                "vault://",
		"vault://host/mount?token=" + secret:          "unknown option",
		"vault://host/mount?" + secret:                "unknown option",
		"vault://host/mount?class=A":                  "declare C, or B",
		"vault://host/mount?class=B":                  "declare a delay",
		"vault://host/mount?tls=maybe":                "tls is true",
		"vault://host/mount?ca=":                      "empty",
		"vault://host/mount?class=B&class=C&delay=1d": "twice",
		"vault://host/mount?ca=/no/such/file":         "no such file",
		"vault:///mount":                              "VAULT_ADDR",
		"vault:///mount?tls=false":                    "VAULT_ADDR",
		"vault://host/../sys":                         "mount",
	} {
		c, err := Open(rawURL, testID(), env)
		if c != nil || err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v, %v, want %q", rawURL, c, err, want)
		}
		var where *custodian.Error
		if !errors.As(err, &where) || where.Op != "open" {
			t.Errorf("%s: %T", rawURL, err)
		}
	}
	for rawURL, want := range map[string]string{"pkcs11:token=a?module-path=/x": "STELE_PKCS11_PIN", "vault://host/mount": "VAULT_TOKEN"} {
		if _, err := Open(rawURL, testID(), environment()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s without its secret: %v", rawURL, err)
		}
	}
	if _, err := Open("file:///a", custodian.Identity{Name: "one"}, Options{}); err == nil {
		t.Error("opened for no archive")
	}
}

func TestErasure(t *testing.T) {
	for _, test := range []struct {
		class, delay string
		want         custodian.Erasure
	}{
		{"", "", custodian.Erasure{}},
		{"A", "", custodian.Erasure{Class: custodian.Immediate}},
		{"C", "", custodian.Erasure{Class: custodian.BestEffort}},
		{"B", "30d", custodian.Erasure{Class: custodian.Delayed, Delay: 720 * time.Hour}},
		{"B", "36h", custodian.Erasure{Class: custodian.Delayed, Delay: 36 * time.Hour}},
	} {
		if got, err := parseErasure(test.class, test.delay); err != nil || got != test.want {
			t.Errorf("%s %s: %+v, %v", test.class, test.delay, got, err)
		}
	}
	for _, delay := range []string{"-1h", "0d", "99999999d", "1", "d", "-3d"} {
		if got, err := parseErasure("B", delay); err == nil {
			t.Errorf("delay %s: %+v", delay, got)
		}
	}
}

func TestRedact(t *testing.T) {
	for _, shown := range []string{
		"file:///a/b", "pkcs11:token=a?module-path=/x&pin-source=file:/p&class=A", "vault:///mount", "vault://host/mount?ca=/f&class=B&delay=30d",
	} {
		if got := Redact(shown); got != shown {
			t.Errorf("%s: %s", shown, got)
		}
	}
	for _, hidden := range []string{
		"s3cret", "pkcs11:token=a?pin-value=s3cret", "vault://s3cret@host/mount", "vault://host/mount?token=s3cret", "file://s3cret", "x:s3cret",
	} {
		if got := Redact(hidden); strings.Contains(got, "s3cret") {
			t.Errorf("%s: %s", hidden, got)
		}
	}
}

// FuzzRedact: what is shown can be opened, and neither panics.
func FuzzRedact(f *testing.F) {
	for _, seed := range []string{
		"file:///a%20b", "pkcs11:token=a;serial=b?module-path=/x&class=B&delay=30d", "vault://host:1/m/n?namespace=a&tls=false", "vault:///m",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rawURL string) {
		shown := Redact(rawURL)
		if shown != rawURL && shown != "***" {
			t.Errorf("%q is shown as %q", rawURL, shown)
		}
		if _, err := parse(rawURL); (err == nil) != (shown == rawURL) && rawURL != "***" {
			t.Errorf("%q is shown, and %v", shown, err)
		}
	})
}
