//go:build pkcs11 && cgo

package pkcs11

import (
	"errors"
	"strings"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/stelelog/stele/backup/custodian"
)

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
