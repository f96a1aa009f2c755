package commit

import (
	"encoding/hex"
	"fmt"
)

// Hex16 and Hex32 are bytes that stand as hex in JSON.
type (
	Hex16 [16]byte
	Hex32 [32]byte
)

func (h Hex16) String() string { return hex.EncodeToString(h[:]) }
func (h Hex32) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes hex.
func (h Hex16) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// MarshalText writes hex.
func (h Hex32) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText reads exactly 32 lower-case digits.
func (h *Hex16) UnmarshalText(text []byte) error { return decode(h[:], text) }

// UnmarshalText reads exactly 64 lower-case digits.
func (h *Hex32) UnmarshalText(text []byte) error { return decode(h[:], text) }

func decode(dst, text []byte) error {
	if len(text) != 2*len(dst) {
		return fmt.Errorf("%d hex digits, not %d", len(text), 2*len(dst))
	}
	if _, err := hex.Decode(dst, text); err != nil {
		return err
	}
	if hex.EncodeToString(dst) != string(text) {
		return fmt.Errorf("hex digits must be lower case")
	}
	return nil
}
