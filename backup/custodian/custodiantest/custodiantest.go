// Package custodiantest tests implementations of [custodian.Custodian]. Its [Memory] is one to play with.
//
// It is a package for tests: nothing else may import it.
package custodiantest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/custodian"
)

// Device is what is tested: one place where keys are kept, shared by all custodians that Open returns.
type Device struct {
	// Open opens a custodian on the device anew, as another process would. What it needs to be closed is t's to clean up.
	Open func(t testing.TB, id custodian.Identity) custodian.Custodian
	// Class is what the custodians must say of themselves.
	Class custodian.Class
	// Delay is how long after Destroy a key of class B is irrecoverable.
	Delay time.Duration
	// Flips is how many changed blobs are tried. 0 means every byte of a blob; for slow devices.
	Flips int
}

// Run tests that custodians on a device keep the contract of [custodian.Custodian]. It uses archive ids of its own, so what
// is on the device already stays as it is.
func Run(t *testing.T, device Device) {
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(newBench(t, device)); err != nil {
				t.Error(err)
			}
		})
	}
}

// check is one promise. It returns what was broken, so that tests of the suite can see it find faults.
type check struct {
	name string
	run  func(*bench) error
}

func checks() []check {
	return []check{
		{"Create", checkCreate},
		{"RoundTrip", checkRoundTrip},
		{"Bound", checkBound},
		{"Changed", checkChanged},
		{"NeverMade", checkNeverMade},
		{"Destroy", checkDestroy},
		{"DestroyedStays", checkDestroyedStays},
		{"OthersLive", checkOthersLive},
		{"Generations", checkGenerations},
		{"Cancelled", checkCancelled},
		{"Together", checkTogether},
		{"CreateTogether", checkCreateTogether},
	}
}

// bench is a device with one fresh archive.
type bench struct {
	Device
	tb testing.TB
	id custodian.Identity
	c  custodian.Custodian
}

func newBench(tb testing.TB, device Device) *bench {
	b := &bench{Device: device, tb: tb, id: custodian.Identity{Archive: archive(), Name: "suite"}}
	b.c = b.open()
	return b
}

func archive() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails, by its documentation
	return id
}

// open opens the bench's custodian once more.
func (b *bench) open() custodian.Custodian { return b.Open(b.tb, b.id) }

func share() (s custodian.Share) {
	_, _ = rand.Read(s[:])
	return s
}

// wrapped makes a generation and wraps a share in it.
func (b *bench) wrapped(generation uint64) (custodian.Share, []byte, error) {
	s := share()
	if _, err := b.c.Create(b.tb.Context(), generation); err != nil {
		return s, nil, err
	}
	blob, err := b.c.Wrap(b.tb.Context(), generation, s)
	return s, blob, err
}

// opens checks that a blob gives the share back.
func (b *bench) opens(c custodian.Wrapper, generation uint64, blob []byte, want custodian.Share) error {
	got, err := c.Unwrap(b.tb.Context(), generation, blob)
	switch {
	case err != nil:
		return err
	case got != want:
		return fmt.Errorf("generation %d: another share came back", generation)
	}
	return nil
}

// fails checks an error, and that nothing came with it.
func fails(what string, got custodian.Share, err error, want ...error) error {
	if err == nil {
		return fmt.Errorf("%s: no error", what)
	}
	if got != (custodian.Share{}) {
		return fmt.Errorf("%s: an error and a share: %w", what, err)
	}
	return failsAs(what, err, want...)
}

func failsAs(what string, err error, want ...error) error {
	for _, w := range want {
		if errors.Is(err, w) {
			var where *custodian.Error
			if !errors.As(err, &where) {
				return fmt.Errorf("%s: the error is no *custodian.Error: %w", what, err)
			}
			return nil
		}
	}
	return fmt.Errorf("%s: %v, want %v", what, err, want)
}

// says checks a status against what the device must say.
func (b *bench) says(s custodian.Status, want custodian.State) error {
	switch {
	case s.State != want:
		return fmt.Errorf("state %v, want %v", s.State, want)
	case s.Class != b.Class:
		return fmt.Errorf("class %v, want %v", s.Class, b.Class)
	case len(s.Attestation) == 0 || len(s.Attestation) > custodian.MaxAttestation:
		return fmt.Errorf("attestation of %d bytes, want 1 to %d", len(s.Attestation), custodian.MaxAttestation)
	case (want == custodian.Destroyed) != !s.Destroyed.IsZero():
		return fmt.Errorf("%v, destroyed at %v", want, s.Destroyed)
	}
	if from := (custodian.Erasure{Class: b.Class, Delay: b.Delay}).From(s.Destroyed); !s.Irrecoverable.Equal(from) {
		return fmt.Errorf("irrecoverable from %v, want %v", s.Irrecoverable, from)
	}
	return nil
}

// status asks and checks.
func (b *bench) status(c custodian.Custodian, generation uint64, want custodian.State) (custodian.Status, error) {
	s, err := c.Status(b.tb.Context(), generation)
	if err == nil {
		err = b.says(s, want)
	}
	if err != nil {
		return s, fmt.Errorf("status of generation %d: %w", generation, err)
	}
	return s, nil
}

// Memory is a device in memory, of any class. Its zero value is not ready: use [NewMemory].
type Memory struct {
	class custodian.Erasure
	mem   *memory
	down  atomic.Bool
}

// NewMemory returns an empty device.
func NewMemory(class custodian.Erasure) *Memory { return &Memory{class: class, mem: newMemory()} }

// Open returns a custodian on the device.
func (m *Memory) Open(id custodian.Identity) custodian.Custodian {
	return &memoryCustodian{device: m, id: id}
}

// Down makes every call fail with [custodian.ErrUnavailable], or ends that.
func (m *Memory) Down(down bool) { m.down.Store(down) }
