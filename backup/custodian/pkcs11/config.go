// Package pkcs11 is a custodian on a PKCS#11 token, such as a hardware security module: the key of each generation is an
// AES-256 key that the token makes, never gives out, and destroys.
//
// The library of the token's maker is C code that runs in this process, so this package is empty unless it is built with
// the tag pkcs11 and with cgo; otherwise [Open] says so. Calls into that library cannot be interrupted: a context is looked
// at before each of them.
//
// What destroying is worth is what the operator declares, because no token says how it is backed up. Nothing declared means
// class C. SoftHSM keeps its tokens in files, so for it everything but class C is refused.
package pkcs11

import (
	"errors"
	"fmt"
	"strings"

	"github.com/stelelog/stele/backup/custodian"
)

// Config says which token.
type Config struct {
	// Module is the path of the library that speaks PKCS#11 with the token.
	Module string
	// Token tells the token from others that the library sees. Exactly one must match.
	Token Token
	// PIN returns the user's PIN. It is asked at each login and not kept.
	PIN func() (string, error)
	// Erasure is what the operator declares. The zero value is class C, undeclared.
	Erasure custodian.Erasure
}

// Token names a token by what it says of itself. Empty fields match anything.
type Token struct {
	Label, Serial, Manufacturer, Model string
	Slot                               *uint // nil matches any slot
}

// String is for errors.
func (t Token) String() string {
	var parts []string
	for _, p := range []struct{ name, value string }{
		{"token", t.Label}, {"serial", t.Serial}, {"manufacturer", t.Manufacturer}, {"model", t.Model},
	} {
		if p.value != "" {
			parts = append(parts, fmt.Sprintf("%s %q", p.name, p.value))
		}
	}
	if t.Slot != nil {
		parts = append(parts, fmt.Sprintf("slot %d", *t.Slot))
	}
	if parts == nil {
		return "any token"
	}
	return strings.Join(parts, ", ")
}

// matches compares with what a token says. Tokens pad with blanks.
func (t Token) matches(slot uint, label, serial, manufacturer, model string) bool {
	for _, p := range [][2]string{{t.Label, label}, {t.Serial, serial}, {t.Manufacturer, manufacturer}, {t.Model, model}} {
		if p[0] != "" && p[0] != strings.TrimRight(p[1], " \x00") {
			return false
		}
	}
	return t.Slot == nil || *t.Slot == slot
}

// checked fills what is left out and refuses what cannot work.
func (c Config) checked() (Config, error) {
	switch {
	case c.Module == "":
		return c, errors.New("no library is named: add module-path=/path/of/the/library.so, which comes with the token")
	case c.PIN == nil:
		return c, errors.New("no PIN: set STELE_PKCS11_PIN, or name a file with pin-source=file:/path")
	case c.Token == Token{}:
		return c, errors.New("no token is named: add token=LABEL or serial=…, as 'pkcs11-tool --list-token-slots' shows it")
	}
	if c.Erasure == (custodian.Erasure{}) {
		return c, nil
	}
	return c, c.Erasure.Check(custodian.Immediate, custodian.Delayed, custodian.BestEffort)
}

// erasureOf is what destroying is worth on a token. What cannot be true is refused.
func erasureOf(declared custodian.Erasure, manufacturer, model string) (e custodian.Erasure, isDeclared bool, err error) {
	if declared == (custodian.Erasure{}) {
		return custodian.Erasure{Class: custodian.BestEffort}, false, nil
	}
	inFiles := strings.HasPrefix(manufacturer, "SoftHSM") || strings.HasPrefix(model, "SoftHSM")
	if inFiles && declared.Class != custodian.BestEffort {
		return declared, true, fmt.Errorf("this token is SoftHSM, whose keys are files that a copy brings back: class %s cannot be, declare C",
			string(declared.Class))
	}
	return declared, true, nil
}
