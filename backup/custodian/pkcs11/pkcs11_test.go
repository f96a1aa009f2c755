//go:build pkcs11 && cgo

package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/custodian/custodiantest"
	"github.com/stelelog/stele/backup/custodian/internal/envelope"
	"github.com/stelelog/stele/internal/testbed"
)

func testID() custodian.Identity { return custodian.Identity{Archive: [16]byte{1, 2, 3}, Name: "hsm"} }

// softHSM gives the test a SoftHSM with one token. The library keeps what it read when it was initialised, so it is ended
// before and after.
func softHSM(t *testing.T) (*testbed.SoftHSM2, Config) {
	t.Helper()
	h := testbed.SoftHSM(t)
	finalize(t, h.Module)
	t.Cleanup(func() { finalize(t, h.Module) })
	pin := func() (string, error) { return h.PIN, nil }
	return h, Config{Module: h.Module, Token: Token{Label: h.Token(t)}, PIN: pin}
}

// finalize ends the library for all of this process, as another user of it might.
func finalize(t testing.TB, module string) {
	t.Helper()
	library := p11.New(module)
	if library == nil {
		t.Fatalf("cannot load %s", module)
	}
	if err := library.Finalize(); err != nil && !is(err, p11.CKR_CRYPTOKI_NOT_INITIALIZED) {
		t.Fatal(err)
	}
}

func mustOpen(t testing.TB, config Config, id custodian.Identity) *Custodian {
	t.Helper()
	c, err := Open(config, id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// wrapped makes a generation and wraps a share in it.
func wrapped(t testing.TB, c *Custodian, generation uint64) (custodian.Share, []byte) {
	t.Helper()
	share := custodian.Share{1, 2, 3, byte(generation)}
	if _, err := c.Create(t.Context(), generation); err != nil {
		t.Fatal(err)
	}
	blob, err := c.Wrap(t.Context(), generation, share)
	if err != nil {
		t.Fatal(err)
	}
	return share, blob
}

// inSession runs do in the custodian's session, as a program that knows the PIN could.
func inSession(t testing.TB, c *Custodian, do func(*session) error) {
	t.Helper()
	if err := c.session.do(t.Context(), func() error { return do(c.session) }); err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	_, config := softHSM(t)
	custodiantest.Run(t, custodiantest.Device{
		Class: custodian.BestEffort,
		Open:  func(t testing.TB, id custodian.Identity) custodian.Custodian { return mustOpen(t, config, id) },
	})
}

// TestKeyCannotLeave asks the token for the key in all ways there are.
func TestKeyCannotLeave(t *testing.T) {
	_, config := softHSM(t)
	c := mustOpen(t, config, testID())
	wrapped(t, c, 1)
	inSession(t, c, func(s *session) error {
		key, err := c.key(1)
		if err != nil {
			return err
		}
		_, err = s.library.GetAttributeValue(s.handle, key, []*p11.Attribute{p11.NewAttribute(p11.CKA_VALUE, nil)})
		if !is(err, p11.CKR_ATTRIBUTE_SENSITIVE) {
			t.Errorf("read the value: %v", err)
		}
		wrapping, err := s.library.GenerateKey(s.handle, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_KEY_GEN, nil)}, []*p11.Attribute{
			p11.NewAttribute(p11.CKA_VALUE_LEN, 32), p11.NewAttribute(p11.CKA_WRAP, true), p11.NewAttribute(p11.CKA_TOKEN, false),
		})
		if err != nil {
			return err
		}
		out, err := s.library.WrapKey(s.handle, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_KEY_WRAP, nil)}, wrapping, key)
		if err == nil {
			t.Errorf("wrapped it into %d bytes", len(out))
		}
		err = s.library.SetAttributeValue(s.handle, key, []*p11.Attribute{p11.NewAttribute(p11.CKA_EXTRACTABLE, true)})
		if err == nil {
			t.Error("made it extractable")
		}
		if _, err = s.library.CopyObject(s.handle, key, []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, false)}); err == nil {
			t.Error("copied it")
		}
		read, err := s.attributes(key)
		if err == nil {
			err = checkAttributes(read)
		}
		return err
	})
}

// TestBlobIsBoundByItself: even where two generations had one key, a blob would open in its own only.
func TestBlobIsBoundByItself(t *testing.T) {
	_, config := softHSM(t)
	c := mustOpen(t, config, testID())
	share, blob := wrapped(t, c, 1)
	iv, ciphertext, err := envelope.Unpack(blob)
	if err != nil {
		t.Fatal(err)
	}
	other := testID()
	other.Archive[0]++
	inSession(t, c, func(s *session) error {
		key, err := c.key(1)
		if err != nil {
			return err
		}
		if got, err := s.decrypt(key, iv, ciphertext, testID().AAD(1)); err != nil || string(got) != string(share[:]) {
			t.Errorf("in its place: %v", err)
		}
		named := custodian.Identity{Archive: testID().Archive, Name: "other"}
		for _, aad := range [][]byte{nil, testID().AAD(2), other.AAD(1), named.AAD(1)} {
			if _, err := s.decrypt(key, iv, ciphertext, aad); err == nil {
				t.Errorf("opens with the associated data %x", aad)
			}
		}
		return nil
	})
}

// TestDestroyedIsGone looks with another program at what is left.
func TestDestroyedIsGone(t *testing.T) {
	h, config := softHSM(t)
	c := mustOpen(t, config, testID())
	wrapped(t, c, 1)
	label := c.id.Label(1)
	if out := h.Objects(t, config.Token.Label); !strings.Contains(out, "Secret Key Object; AES") || strings.Count(out, label) == 0 {
		t.Fatalf("pkcs11-tool does not see the key: %s", out)
	}
	s, err := c.Destroy(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if out := h.Objects(t, config.Token.Label); strings.Contains(out, "Secret Key Object") {
		t.Errorf("pkcs11-tool still sees a key: %s", out)
	}
	a, err := custodian.ParseAttestation(s.Attestation)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"objects_left": "0", "never_extractable": "true", "made_by_token": "true", "destroyable": "true", "copyable": "false",
		"manufacturer": "SoftHSM project", "token": config.Token.Label,
	} {
		if a.Evidence[name] != want {
			t.Errorf("evidence %s is %q, want %q", name, a.Evidence[name], want)
		}
	}
}

// TestOldTokenBringsBack is why SoftHSM is class C, and that the statement said so.
func TestOldTokenBringsBack(t *testing.T) {
	h, config := softHSM(t)
	c := mustOpen(t, config, testID())
	share, blob := wrapped(t, c, 1)
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(h.Tokens)); err != nil {
		t.Fatal(err)
	}
	s, err := c.Destroy(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Unwrap(t.Context(), 1, blob); !errors.Is(err, custodian.ErrDestroyed) {
		t.Fatalf("unwrap after destroy: %v", err)
	}
	a, err := custodian.ParseAttestation(s.Attestation)
	if err != nil || a.Class != custodian.BestEffort || a.Declared || !a.From.IsZero() {
		t.Errorf("statement %s, %v", s.Attestation, err)
	}
	finalize(t, h.Module)
	if err := os.RemoveAll(h.Tokens); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(h.Tokens, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Unwrap(t.Context(), 1, blob); err != nil || got != share {
		t.Errorf("from the old token: %v", err)
	}
	if s, err := c.Status(t.Context(), 1); err != nil || s.State != custodian.Live {
		t.Errorf("%v, %v", s.State, err)
	}
}

func TestSoftHSMIsNeverA(t *testing.T) {
	_, config := softHSM(t)
	for _, declared := range []custodian.Erasure{{Class: custodian.Immediate}, {Class: custodian.Delayed, Delay: time.Hour}} {
		config.Erasure = declared
		c := mustOpen(t, config, testID())
		if _, err := c.Create(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "declare C") {
			t.Errorf("%v: %v", declared.Class, err)
		}
	}
	config.Erasure = custodian.Erasure{Class: custodian.BestEffort}
	c := mustOpen(t, config, testID())
	s, err := c.Create(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := custodian.ParseAttestation(s.Attestation); err != nil || !a.Declared || a.Class != custodian.BestEffort {
		t.Errorf("%s, %v", s.Attestation, err)
	}
}

func TestWaitsNoLongerThanItsContext(t *testing.T) {
	_, config := softHSM(t)
	c := mustOpen(t, config, testID())
	<-c.session.gate // a call that hangs in the library
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Status(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	c.session.gate <- struct{}{}
}

func TestNoLibrary(t *testing.T) {
	pin := func() (string, error) { return "1", nil }
	c := mustOpen(t, Config{Module: "/no/such/library.so", Token: Token{Label: "x"}, PIN: pin}, testID())
	if _, err := c.Status(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "/no/such/library.so cannot be loaded") {
		t.Error(err)
	}
}

func TestLost(t *testing.T) {
	if !lost(fmt.Errorf("x: %w", p11.Error(p11.CKR_SESSION_CLOSED))) || lost(p11.Error(p11.CKR_PIN_INCORRECT)) || lost(nil) || lost(errors.New("x")) {
		t.Error("lost tells sessions from the rest")
	}
}
