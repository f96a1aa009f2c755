package pkcs11

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/custodian"
)

func slot(n uint) *uint { return &n }

func TestParseURI(t *testing.T) {
	for uri, want := range map[string]URI{
		"pkcs11:token=stele":                {Token: Token{Label: "stele"}},
		"pkcs11:":                           {},
		"pkcs11:?module-path=/usr/lib/x.so": {Module: "/usr/lib/x.so"},
		"pkcs11:token=The%20Software%20PKCS%2311;serial=DECA%3BFBAD;manufacturer=ACME;model=M%2f1;slot-id=7?module-path=/a%20b.so&pin-source=file:/etc/pin&class=B&delay=30d": {
			Token:  Token{Label: "The Software PKCS#11", Serial: "DECA;FBAD", Manufacturer: "ACME", Model: "M/1", Slot: slot(7)},
			Module: "/a b.so", PINSource: "file:/etc/pin", Options: map[string]string{"class": "B", "delay": "30d"},
		},
		"pkcs11:token=a+b": {Token: Token{Label: "a+b"}}, // a plus sign is no space in a URI
	} {
		got, err := ParseURI(uri)
		if err != nil {
			t.Errorf("%s: %v", uri, err)
			continue
		}
		same := got.Token.String() == want.Token.String() && got.Module == want.Module && got.PINSource == want.PINSource
		if !same || !maps.Equal(got.Options, want.Options) {
			t.Errorf("%s: %+v, want %+v", uri, got, want)
		}
	}
}

func TestParseURIRefuses(t *testing.T) {
	for uri, want := range map[string]string{
		"token=stele":                        "begins with pkcs11:",
		"file:///x":                          "begins with pkcs11:",
		"pkcs11:token":                       "name=value",
		"pkcs11:token=a;;serial=b":           "name=value",
		"pkcs11:token=":                      "empty",
		"pkcs11:token=%zz":                   "escaped",
		"pkcs11:token=a%00b":                 "escaped",
		"pkcs11:token=a;token=b":             "twice",
		"pkcs11:token=a?class=A&class=B":     "twice",
		"pkcs11:token=a;object=key":          "names an object",
		"pkcs11:token=a;library-version=3":   "not known",
		"pkcs11:token=a;slot-id=x":           "no number",
		"pkcs11:token=a;module-path=/x":      "behind the ?",
		"pkcs11:token=a;pin-value=s3cret":    "behind the ?",
		"pkcs11:token=a?pin-value=s3cret":    "STELE_PKCS11_PIN",
		"pkcs11:token=a?module-name=softhsm": "module-path",
		"pkcs11:token=a?s3cret%20and%20more": "name=value",
		"pkcs11:s3cret@host?module-path=/x":  "name=value",
	} {
		_, err := ParseURI(uri)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %q", uri, err, want)
		}
	}
}

func FuzzParseURI(f *testing.F) {
	f.Add("pkcs11:token=a;serial=b?module-path=/x&pin-source=file:/y&class=A")
	f.Add("pkcs11:slot-id=7")
	f.Fuzz(func(t *testing.T, uri string) {
		u, err := ParseURI(uri)
		if err != nil && len(err.Error()) > 250 {
			t.Errorf("the error repeats what it was given: %v", err)
		}
		for name, value := range u.Options {
			if name == "pin-value" || value == "" {
				t.Errorf("option %s=%s", name, value)
			}
		}
	})
}

func TestTokenMatches(t *testing.T) {
	for _, test := range []struct {
		token Token
		want  bool
	}{
		{Token{}, true}, {Token{Label: "stele"}, true}, {Token{Label: "stel"}, false}, {Token{Serial: "1"}, true},
		{Token{Label: "stele", Serial: "2"}, false}, {Token{Manufacturer: "ACME", Model: "M"}, true}, {Token{Model: "m"}, false},
		{Token{Slot: slot(3)}, true}, {Token{Slot: slot(4)}, false}, {Token{Slot: slot(0)}, false},
	} {
		if got := test.token.matches(3, "stele                           ", "1", "ACME\x00", "M   "); got != test.want {
			t.Errorf("%v: %v", test.token, got)
		}
	}
}

// TestClassOfAToken: a hardware token has the class that its operator declares, SoftHSM never more than C.
func TestClassOfAToken(t *testing.T) {
	month := 30 * 24 * time.Hour
	for _, test := range []struct {
		manufacturer, model string
		declared            custodian.Erasure
		want                custodian.Class
		isDeclared          bool
	}{
		{"ACME", "HSM 7", custodian.Erasure{}, custodian.BestEffort, false},
		{"ACME", "HSM 7", custodian.Erasure{Class: custodian.Immediate}, custodian.Immediate, true},
		{"ACME", "HSM 7", custodian.Erasure{Class: custodian.Delayed, Delay: month}, custodian.Delayed, true},
		{"ACME", "HSM 7", custodian.Erasure{Class: custodian.BestEffort}, custodian.BestEffort, true},
		{"SoftHSM project", "SoftHSM v2", custodian.Erasure{}, custodian.BestEffort, false},
		{"SoftHSM project", "SoftHSM v2", custodian.Erasure{Class: custodian.BestEffort}, custodian.BestEffort, true},
		{"SoftHSM project", "SoftHSM v2", custodian.Erasure{Class: custodian.Immediate}, "", true},
		{"SoftHSM project", "SoftHSM v2", custodian.Erasure{Class: custodian.Delayed, Delay: month}, "", true},
		{"ACME", "SoftHSM v3", custodian.Erasure{Class: custodian.Immediate}, "", true},
	} {
		e, declared, err := erasureOf(test.declared, test.manufacturer, test.model)
		if (err != nil) != (test.want == "") || err == nil && (e.Class != test.want || declared != test.isDeclared || e.Delay != test.declared.Delay) {
			t.Errorf("%s, declared %+v: %+v, %v, %v", test.model, test.declared, e, declared, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	id := custodian.Identity{Archive: [16]byte{1}, Name: "hsm"}
	good := Config{Module: "/x.so", Token: Token{Label: "a"}, PIN: func() (string, error) { return "1", nil }}
	for what, change := range map[string]func(*Config){
		"no library is named": func(c *Config) { c.Module = "" },
		"no token is named":   func(c *Config) { c.Token = Token{} },
		"no PIN":              func(c *Config) { c.PIN = nil },
		"class N":             func(c *Config) { c.Erasure.Class = custodian.Never },
		"declare a delay":     func(c *Config) { c.Erasure.Class = custodian.Delayed },
		"none of A, B, C":     func(c *Config) { c.Erasure.Class = "D" },
	} {
		config := good
		change(&config)
		if _, err := Open(config, id); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Open(good, custodian.Identity{Name: "hsm"}); err == nil {
		t.Error("opened for no archive")
	}
}
