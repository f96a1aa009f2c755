//go:build pkcs11 && cgo

package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
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

// TestForeignKeys: keys of this name that Create would not make are refused, and destroyed all the same.
func TestForeignKeys(t *testing.T) {
	_, config := softHSM(t)
	c := mustOpen(t, config, testID())
	plant := func(generation uint64, extractable bool) {
		inSession(t, c, func(s *session) error {
			_, err := s.library.GenerateKey(s.handle, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_KEY_GEN, nil)}, []*p11.Attribute{
				p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY), p11.NewAttribute(p11.CKA_KEY_TYPE, p11.CKK_AES),
				p11.NewAttribute(p11.CKA_VALUE_LEN, 32), p11.NewAttribute(p11.CKA_LABEL, c.id.Label(generation)),
				p11.NewAttribute(p11.CKA_ID, c.keyID(generation)), p11.NewAttribute(p11.CKA_TOKEN, true),
				p11.NewAttribute(p11.CKA_SENSITIVE, !extractable), p11.NewAttribute(p11.CKA_EXTRACTABLE, extractable),
			})
			return err
		})
	}
	plant(1, true)
	inSession(t, c, func(s *session) error { return s.mark(c.id.Label(1)+created, time.Now()) })
	if _, err := c.Create(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "can leave the token") {
		t.Errorf("an extractable key: %v", err)
	}
	_, blob := wrapped(t, c, 2)
	plant(2, false)
	if _, err := c.Unwrap(t.Context(), 2, blob); err == nil || !strings.Contains(err.Error(), "2 keys") {
		t.Errorf("two keys: %v", err)
	}
	for _, generation := range []uint64{1, 2} {
		if s, err := c.Destroy(t.Context(), generation); err != nil || s.State != custodian.Destroyed {
			t.Errorf("generation %d: %v, %v", generation, s.State, err)
		}
	}
	inSession(t, c, func(s *session) error {
		left, err := s.search(p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY))
		if len(left) > 0 {
			t.Errorf("%d keys are left", len(left))
		}
		return err
	})
}

// TestHiddenCopy: a copy under another label, but with the key's id, keeps Destroy from saying that it is done.
func TestHiddenCopy(t *testing.T) {
	_, config := softHSM(t)
	c := mustOpen(t, config, testID())
	wrapped(t, c, 1)
	var hidden p11.ObjectHandle
	inSession(t, c, func(s *session) (err error) {
		hidden, err = s.generate("something else", c.keyID(1))
		return err
	})
	if s, err := c.Destroy(t.Context(), 1); err == nil || s.State == custodian.Destroyed || !strings.Contains(err.Error(), "1 with its id") {
		t.Errorf("%v, %v", s.State, err)
	}
	if s, err := c.Status(t.Context(), 1); err != nil || s.State != custodian.Live {
		t.Errorf("unfinished: %v, %v", s.State, err)
	}
	inSession(t, c, func(s *session) error { return s.destroy(hidden) })
	if s, err := c.Destroy(t.Context(), 1); err != nil || s.State != custodian.Destroyed {
		t.Errorf("%v, %v", s.State, err)
	}
}

// TestAbandoned: what a creator left that died over it is not used, and replaced in time.
func TestAbandoned(t *testing.T) {
	_, config := softHSM(t)
	c := mustOpen(t, config, testID())
	inSession(t, c, func(s *session) error {
		_, err := s.generate(c.id.Label(1), c.keyID(1))
		return err
	})
	clock := time.Now()
	c.now = func() time.Time { return clock }
	if _, err := c.Wrap(t.Context(), 1, custodian.Share{}); !errors.Is(err, custodian.ErrUnavailable) {
		t.Errorf("wrapped with an unfinished key: %v", err)
	}
	for _, wait := range []time.Duration{0, abandoned - 1} {
		clock = clock.Add(wait)
		if _, err := c.Create(t.Context(), 1); !errors.Is(err, custodian.ErrUnavailable) {
			t.Errorf("after %v: %v", wait, err)
		}
	}
	clock = clock.Add(1)
	share, blob := wrapped(t, c, 1)
	if got, err := c.Unwrap(t.Context(), 1, blob); err != nil || got != share {
		t.Error(err)
	}

	// One that is destroyed in that state is destroyed.
	inSession(t, c, func(s *session) error {
		_, err := s.generate(c.id.Label(2), c.keyID(2))
		return err
	})
	if s, err := c.Destroy(t.Context(), 2); err != nil || s.State != custodian.Destroyed {
		t.Errorf("%v, %v", s.State, err)
	}
	if _, err := c.Create(t.Context(), 2); !errors.Is(err, custodian.ErrDestroyed) {
		t.Error(err)
	}
}

// TestVanished: a key that somebody removed was not destroyed, and is not made anew.
func TestVanished(t *testing.T) {
	_, config := softHSM(t)
	c := mustOpen(t, config, testID())
	wrapped(t, c, 1)
	inSession(t, c, func(s *session) error {
		key, err := c.key(1)
		if err == nil {
			err = s.library.DestroyObject(s.handle, key)
		}
		return err
	})
	if s, err := c.Status(t.Context(), 1); err != nil || s.State != custodian.Unknown {
		t.Errorf("%v, %v", s.State, err)
	}
	if _, err := c.Destroy(t.Context(), 1); !errors.Is(err, custodian.ErrUnknown) {
		t.Errorf("destroy: %v", err)
	}
	if _, err := c.Create(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "gone without Destroy") {
		t.Errorf("create: %v", err)
	}
}

// TestInterruptedDestroy is finished by the next one.
func TestInterruptedDestroy(t *testing.T) {
	_, config := softHSM(t)
	for steps := 1; steps <= 2; steps++ {
		c := mustOpen(t, config, custodian.Identity{Archive: [16]byte{byte(steps)}, Name: "hsm"})
		_, blob := wrapped(t, c, 1)
		inSession(t, c, func(s *session) error {
			err := s.mark(c.id.Label(1)+destroying, time.Now())
			if err == nil && steps == 2 {
				var key p11.ObjectHandle
				if key, err = c.key(1); err == nil {
					err = s.destroy(key)
				}
			}
			return err
		})
		if s, err := c.Status(t.Context(), 1); err != nil || s.State != custodian.Live || !s.Destroyed.IsZero() {
			t.Errorf("after %d steps: %+v, %v", steps, s, err)
		}
		if _, err := c.Create(t.Context(), 1); !errors.Is(err, custodian.ErrDestroyed) {
			t.Errorf("after %d steps: create: %v", steps, err)
		}
		if s, err := c.Destroy(t.Context(), 1); err != nil || s.State != custodian.Destroyed {
			t.Errorf("after %d steps: %v, %v", steps, s.State, err)
		}
		if _, err := c.Unwrap(t.Context(), 1, blob); !errors.Is(err, custodian.ErrDestroyed) {
			t.Errorf("after %d steps: unwrap: %v", steps, err)
		}
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
