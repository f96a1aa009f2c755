package custodiantest

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stelelog/stele/backup/custodian"
)

// memory is what a device holds.
type memory struct {
	mu        sync.Mutex // guards the maps
	keys      map[string][32]byte
	destroyed map[string]time.Time
}

func newMemory() *memory {
	return &memory{keys: map[string][32]byte{}, destroyed: map[string]time.Time{}}
}

type memoryCustodian struct {
	device *Memory
	id     custodian.Identity
}

// do runs one call on what the device holds.
func (c *memoryCustodian) do(ctx context.Context, op string, generation uint64, call func(m *memory, label string) error) error {
	err := ctx.Err()
	if err == nil && c.device.down.Load() {
		err = custodian.ErrUnavailable
	}
	if err == nil {
		c.device.mem.mu.Lock()
		defer c.device.mem.mu.Unlock()
		err = call(c.device.mem, c.id.Label(generation))
	}
	if err != nil {
		return &custodian.Error{Custodian: c.id.Name, Op: op, Generation: generation, Err: err}
	}
	return nil
}

func (c *memoryCustodian) status(m *memory, label string) custodian.Status {
	s := custodian.Status{Class: c.device.class.Class, Attestation: []byte("in memory")}
	if _, ok := m.keys[label]; ok {
		s.State = custodian.Live
	} else if at, ok := m.destroyed[label]; ok {
		s.State, s.Destroyed, s.Irrecoverable = custodian.Destroyed, at, c.device.class.From(at)
	}
	return s
}

func (c *memoryCustodian) Create(ctx context.Context, generation uint64) (s custodian.Status, err error) {
	err = c.do(ctx, "create", generation, func(m *memory, label string) error {
		if _, ok := m.destroyed[label]; ok {
			return custodian.ErrDestroyed
		}
		if _, ok := m.keys[label]; !ok {
			var key [32]byte
			_, _ = rand.Read(key[:])
			m.keys[label] = key
		}
		s = c.status(m, label)
		return nil
	})
	return s, err
}

func (c *memoryCustodian) Destroy(ctx context.Context, generation uint64) (s custodian.Status, err error) {
	err = c.do(ctx, "destroy", generation, func(m *memory, label string) error {
		_, live := m.keys[label]
		_, done := m.destroyed[label]
		switch {
		case c.device.class.Class == custodian.Never:
			return errors.New("this custodian destroys nothing")
		case !live && !done:
			return custodian.ErrUnknown
		case !done:
			m.destroyed[label] = time.Now()
		}
		delete(m.keys, label)
		s = c.status(m, label)
		return nil
	})
	return s, err
}

func (c *memoryCustodian) Status(ctx context.Context, generation uint64) (s custodian.Status, err error) {
	err = c.do(ctx, "status", generation, func(m *memory, label string) error {
		s = c.status(m, label)
		return nil
	})
	return s, err
}

func (c *memoryCustodian) Wrap(ctx context.Context, generation uint64, share custodian.Share) (blob []byte, err error) {
	err = c.do(ctx, "wrap", generation, func(m *memory, label string) error {
		aead, err := m.aead(label)
		if err == nil {
			blob = aead.Seal(nil, nil, share[:], c.id.AAD(generation))
		}
		return err
	})
	return blob, err
}

func (c *memoryCustodian) Unwrap(ctx context.Context, generation uint64, blob []byte) (share custodian.Share, err error) {
	err = c.do(ctx, "unwrap", generation, func(m *memory, label string) error {
		aead, err := m.aead(label)
		if err != nil {
			return err
		}
		plain, err := aead.Open(nil, nil, blob, c.id.AAD(generation))
		if err == nil && len(plain) != len(share) {
			err = fmt.Errorf("a share of %d bytes", len(plain))
		}
		if err != nil {
			return fmt.Errorf("%w: %w", custodian.ErrBlob, err)
		}
		copy(share[:], plain)
		return nil
	})
	return share, err
}

func (m *memory) aead(label string) (cipher.AEAD, error) {
	key, ok := m.keys[label]
	if !ok {
		if _, ok := m.destroyed[label]; ok {
			return nil, custodian.ErrDestroyed
		}
		return nil, custodian.ErrUnknown
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
