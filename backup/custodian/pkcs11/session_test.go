//go:build pkcs11 && cgo

package pkcs11

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/stelelog/stele/backup/custodian"
)

// TestSessionLost takes the session away in the ways that happen.
func TestSessionLost(t *testing.T) {
	h, config := softHSM(t)
	c := mustOpen(t, config, testID())
	share, blob := wrapped(t, c, 1)
	behind := func(do func(*session) error) {
		<-c.session.gate
		defer func() { c.session.gate <- struct{}{} }()
		if err := do(c.session); err != nil {
			t.Fatal(err)
		}
	}
	for what, lose := range map[string]func(){
		"closed": func() { behind(func(s *session) error { return s.library.CloseSession(s.handle) }) },
		"all closed": func() {
			behind(func(s *session) error {
				info, err := s.library.GetSessionInfo(s.handle)
				if err == nil {
					err = s.library.CloseAllSessions(info.SlotID)
				}
				return err
			})
		},
		"logged out":    func() { behind(func(s *session) error { return s.library.Logout(s.handle) }) },
		"library ended": func() { finalize(t, h.Module) },
	} {
		lose()
		if got, err := c.Unwrap(t.Context(), 1, blob); err != nil || got != share {
			t.Errorf("%s: unwrap: %v", what, err)
		}
		lose()
		if s, err := c.Status(t.Context(), 1); err != nil || s.State != custodian.Live {
			t.Errorf("%s: %v, %v", what, s.State, err)
		}
		lose()
		if _, err := c.Create(t.Context(), 1); err != nil {
			t.Errorf("%s: create: %v", what, err)
		}
	}
	finalize(t, h.Module)
	if _, err := c.Destroy(t.Context(), 1); err != nil {
		t.Errorf("destroy: %v", err)
	}
}

// TestLogoutInTheMiddle: private objects are invisible then, which must not be taken for their absence.
func TestLogoutInTheMiddle(t *testing.T) {
	_, config := softHSM(t)
	c := mustOpen(t, config, testID())
	_, blob := wrapped(t, c, 1)
	for what, call := range map[string]func() error{
		"destroy": func() error { return c.destroy(1) },
		"look": func() error {
			_, err := c.key(1)
			if !errors.Is(err, custodian.ErrUnknown) {
				t.Errorf("logged out, and the token shows the key, %v: the test has lost its point", err)
			}
			return err
		},
	} {
		runs := 0
		err := c.session.do(t.Context(), func() error {
			if runs++; runs > 1 {
				return nil
			}
			if err := c.session.library.Logout(c.session.handle); err != nil {
				return err
			}
			return call()
		})
		if err != nil || runs != 2 {
			t.Errorf("%s: %d runs, %v", what, runs, err)
		}
	}
	if s, err := c.Status(t.Context(), 1); err != nil || s.State != custodian.Live {
		t.Errorf("%v, %v", s.State, err)
	}
	if _, err := c.Unwrap(t.Context(), 1, blob); err != nil {
		t.Error(err)
	}
}

// TestTokenAway: what is not there has not been destroyed, and is not lost when it comes back.
func TestTokenAway(t *testing.T) {
	h, config := softHSM(t)
	c := mustOpen(t, config, testID())
	share, blob := wrapped(t, c, 1)
	finalize(t, h.Module)
	away := h.Tokens + ".away"
	if err := os.Rename(h.Tokens, away); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(h.Tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, unwrap := c.Unwrap(t.Context(), 1, blob)
		_, destroy := c.Destroy(t.Context(), 1)
		_, create := c.Create(t.Context(), 2)
		for op, err := range map[string]error{"unwrap": unwrap, "destroy": destroy, "create": create} {
			if !errors.Is(err, custodian.ErrUnavailable) || !strings.Contains(err.Error(), config.Token.Label) {
				t.Errorf("%s: %v", op, err)
			}
		}
	}
	finalize(t, h.Module)
	if err := errors.Join(os.RemoveAll(h.Tokens), os.Rename(away, h.Tokens)); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Unwrap(t.Context(), 1, blob); err != nil || got != share {
		t.Errorf("when it is back: %v", err)
	}
}

// TestEmptyToken: another token of the same name has destroyed nothing.
func TestEmptyToken(t *testing.T) {
	h, config := softHSM(t)
	c := mustOpen(t, config, testID())
	wrapped(t, c, 1)
	config.Token.Label = h.Token(t)
	finalize(t, h.Module)
	empty := mustOpen(t, config, testID())
	if s, err := empty.Destroy(t.Context(), 1); !errors.Is(err, custodian.ErrUnknown) || s.State == custodian.Destroyed {
		t.Errorf("%v, %v", s.State, err)
	}
	config.Token = Token{Manufacturer: "SoftHSM project"}
	both := mustOpen(t, config, testID())
	if _, err := both.Status(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "matches 2 tokens") {
		t.Errorf("two tokens: %v", err)
	}
}

// TestRefusedPIN: a token locks itself after some wrong PINs, so each is shown once.
func TestRefusedPIN(t *testing.T) {
	h, config := softHSM(t)
	var asked atomic.Int64
	pin := "wrong-pin"
	config.PIN = func() (string, error) {
		asked.Add(1)
		return pin, nil
	}
	c := mustOpen(t, config, testID())
	var first error
	for i := range 3 {
		_, err := c.Status(t.Context(), 1)
		if err == nil || errors.Is(err, custodian.ErrUnavailable) || strings.Contains(err.Error(), pin) {
			t.Fatalf("try %d: %v", i, err)
		}
		if first == nil {
			first = err
		}
		if again := is(err, p11.CKR_PIN_INCORRECT); again != (i == 0) {
			t.Errorf("try %d: the token saw it: %v", i, again)
		}
	}
	pin = h.PIN
	if _, err := c.Status(t.Context(), 1); err != nil {
		t.Errorf("with the right PIN: %v", err)
	}
	if asked.Load() != 4 {
		t.Errorf("the source was asked %d times", asked.Load())
	}
	config.PIN = func() (string, error) { return "", errors.New("the file is gone") }
	if _, err := mustOpen(t, config, custodian.Identity{Archive: [16]byte{9}, Name: "x"}).Status(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "file is gone") {
		t.Errorf("no PIN: %v", err)
	}
}
