// Package custodian is what stands between an archive and the one secret that its erasures rest on: the top key of the
// current generation of the key trie. Shares of it are wrapped by custodians, and a generation dies when enough of them
// have destroyed the key they wrapped with.
//
// The packages below this one hold three: file (development), pkcs11 (hardware security modules) and vault (the Transit
// engine of Vault and OpenBao); byurl opens them by URL. For another key management service, implement [Custodian] and
// run custodiantest.Run against it. docs/formats/custodian.md says what is written where.
package custodian

import (
	"context"
	"fmt"
	"io"
	"time"
)

const (
	// MaxBlob is the largest blob that [Wrapper.Wrap] may return, in bytes.
	MaxBlob = 1024
	// MaxAttestation is the largest [Status.Attestation], in bytes.
	MaxAttestation = 4096
)

// Share is one share of the top key of a generation.
type Share [32]byte

// Format implements [fmt.Formatter]: a share is never printed.
func (Share) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "custodian.Share(…)") }

// Wrapper uses the keys of generations. A recovery needs no more than this.
type Wrapper interface {
	// Wrap encrypts a share under the key of a generation, bound to archive, generation and the custodian's name. It never
	// makes a key: the error wraps ErrUnknown if there is none, ErrDestroyed if there was one. The blob has at most MaxBlob
	// bytes and may be public.
	Wrap(ctx context.Context, generation uint64, share Share) ([]byte, error)
	// Unwrap returns the share of a blob. The error wraps ErrBlob if the blob was not made by Wrap of this archive,
	// generation and name, or was changed; ErrUnknown or ErrDestroyed if there is no key.
	Unwrap(ctx context.Context, generation uint64, blob []byte) (Share, error)
}

// Custodian keeps one secret key for each generation of one archive, and destroys it. All methods may be called by any
// number of goroutines, and in several processes that opened the same custodian.
//
// Errors wrap ErrUnavailable if the device did not answer and the call is worth repeating. A call that failed may have
// taken effect; Status tells. All calls may be repeated.
type Custodian interface {
	Wrapper
	// Create makes the key of a generation. It is durable on return. Nothing changes if it exists. The error wraps
	// ErrDestroyed if it existed once: a generation is never made a second time.
	Create(ctx context.Context, generation uint64) (Status, error)
	// Destroy destroys the key of a generation, and has made sure on return that nothing of it is left that this device
	// knows of. It may be repeated, and must be after an error: it finishes what an interrupted call began. The error wraps
	// ErrUnknown if the device neither has the key nor remembers that Destroy was asked for: that is no destruction, but a
	// wrong or emptied device.
	Destroy(ctx context.Context, generation uint64) (Status, error)
	// Status asks the device. It changes nothing.
	Status(ctx context.Context, generation uint64) (Status, error)
}

// Status is what a custodian knows of one generation.
type Status struct {
	State State
	// Class is what destroying is worth here. It is set in every state, so that it can be said beforehand.
	Class Class
	// Destroyed is when Destroy had made sure that the key was gone, by the device's clock if it has one. Zero unless State
	// is Destroyed.
	Destroyed time.Time
	// Irrecoverable is from when on no copy of the device's state can bring the key back. It is zero for what is not
	// destroyed, and where no such time can be stated (classes C and N).
	Irrecoverable time.Time
	// Attestation is what the custodian has to say for a certificate, in a form of its own, at most MaxAttestation bytes.
	Attestation []byte
}

// State says whether there is a key.
type State int

// The states.
const (
	// Unknown means no key, and no memory of destroying one.
	Unknown State = iota
	// Live means that there is a key, or that Destroy began and must be repeated to finish.
	Live
	// Destroyed means that Destroy took the key and has made sure that it is gone.
	Destroyed
)

func (s State) String() string {
	switch s {
	case Unknown:
		return "unknown"
	case Live:
		return "live"
	case Destroyed:
		return "destroyed"
	}
	return fmt.Sprintf("state %d", int(s))
}

// Class says what it is worth that a custodian destroyed a key.
type Class string

// The classes, best first.
const (
	// Immediate: the key existed in the device only, and the device erased it.
	Immediate Class = "A"
	// Delayed: copies of the device's state are kept for a known time and could bring the key back until then.
	Delayed Class = "B"
	// BestEffort: whoever kept a copy of the state can bring the key back at any time.
	BestEffort Class = "C"
	// Never: the key cannot be destroyed, and Destroy always fails.
	Never Class = "N"
)

// String says what the class means, for reports.
func (c Class) String() string {
	switch c {
	case Immediate:
		return "A (immediate, in the device)"
	case Delayed:
		return "B (delayed, until copies have expired)"
	case BestEffort:
		return "C (best effort: a kept copy of the state brings the key back)"
	case Never:
		return "N (never)"
	}
	return fmt.Sprintf("unknown class %q", string(c))
}
