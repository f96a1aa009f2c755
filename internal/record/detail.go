package record

import (
	"encoding/binary"
	"fmt"
)

// Reason says why records were lost or a stream ended.
type Reason uint8

// Reasons of a loss.
const (
	MemoryFull Reason = 1 + iota
	SpoolFull
	TooLarge
	Deadline
	SealFailed
	Refused
)

func (r Reason) String() string {
	names := [...]string{"", "memory full", "spool full", "too large", "deadline at close", "sealing failed", "refused"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// LossDetail declares records that were captured and could not be kept.
type LossDetail struct {
	Count  uint64
	Reason Reason
	After  uint64 // seq of the last leaf before the loss, or None
	From   int64  // time of the first, ns
	Until  int64  // time of the last, ns
}

// Append appends the detail.
func (d LossDetail) Append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, d.Count)
	dst = append(dst, byte(d.Reason))
	dst = binary.LittleEndian.AppendUint64(dst, d.After)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(d.From))
	return binary.LittleEndian.AppendUint64(dst, uint64(d.Until))
}

// ParseLoss reads the detail of a loss leaf.
func ParseLoss(b []byte) (d LossDetail, err error) {
	if err := size("loss", b, 33); err != nil {
		return d, err
	}
	le := binary.LittleEndian
	return LossDetail{le.Uint64(b), Reason(b[8]), le.Uint64(b[9:]), int64(le.Uint64(b[17:])), int64(le.Uint64(b[25:]))}, nil
}

// CloseDetail is the last word of a stream.
type CloseDetail struct {
	Reason   Reason // 1 clean, 2 spool fault, 3 deadline
	Captured uint64
	Lost     uint64
}

// Append appends the detail.
func (d CloseDetail) Append(dst []byte) []byte {
	dst = append(dst, byte(d.Reason))
	dst = binary.LittleEndian.AppendUint64(dst, d.Captured)
	return binary.LittleEndian.AppendUint64(dst, d.Lost)
}

// ParseClose reads the detail of a close leaf.
func ParseClose(b []byte) (d CloseDetail, err error) {
	if err := size("close", b, 17); err != nil {
		return d, err
	}
	return CloseDetail{Reason(b[0]), binary.LittleEndian.Uint64(b[1:]), binary.LittleEndian.Uint64(b[9:])}, nil
}

// SampledDetail counts what sampling left out.
type SampledDetail struct {
	Calls, Records uint64
	From, Until    int64 // ns
}

// Append appends the detail.
func (d SampledDetail) Append(dst []byte) []byte {
	for _, v := range [...]uint64{d.Calls, d.Records, uint64(d.From), uint64(d.Until)} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	return dst
}

// ParseSampled reads the detail of a sampled leaf.
func ParseSampled(b []byte) (d SampledDetail, err error) {
	if err := size("sampled", b, 32); err != nil {
		return d, err
	}
	le := binary.LittleEndian
	return SampledDetail{le.Uint64(b), le.Uint64(b[8:]), int64(le.Uint64(b[16:])), int64(le.Uint64(b[24:]))}, nil
}

// RecoveredDetail names a predecessor that did not close, and how far it got.
type RecoveredDetail struct {
	Stream [16]byte
	Seq    uint64 // its last seq, or None
	Head   [32]byte
}

// Append appends the detail.
func (d RecoveredDetail) Append(dst []byte) []byte {
	dst = append(dst, d.Stream[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, d.Seq)
	return append(dst, d.Head[:]...)
}

// ParseRecovered reads the detail of a recovered leaf.
func ParseRecovered(b []byte) (d RecoveredDetail, err error) {
	if err := size("recovered", b, 56); err != nil {
		return d, err
	}
	copy(d.Stream[:], b)
	d.Seq = binary.LittleEndian.Uint64(b[16:])
	copy(d.Head[:], b[24:])
	return d, nil
}

func size(what string, b []byte, want int) error {
	if len(b) != want {
		return fmt.Errorf("record: detail of %s has %d bytes, not %d", what, len(b), want)
	}
	return nil
}
