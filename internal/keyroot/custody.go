package keyroot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Bounds of custody.
const (
	maxSets    = 16
	maxMembers = 8
	maxBlob    = 1024
)

// Custody says who can open a generation, and holds what they need for it.
type Custody struct {
	// Sets are the minimal authorised sets of custodians, names ascending, sets ascending.
	Sets   [][]string `json:"sets"`
	Shares []Share    `json:"shares"`
}

// Share is a share of the top key as a custodian has wrapped it.
type Share struct {
	Set       int    `json:"set"`
	Custodian string `json:"custodian"`
	Share     []byte `json:"share"`
}

// CheckSets refuses sets that are not minimal authorised sets in their order.
func CheckSets(sets [][]string) error {
	if len(sets) < 1 || len(sets) > maxSets {
		return fmt.Errorf("keyroot: %d sets of custodians, 1 to %d may be", len(sets), maxSets)
	}
	for i, set := range sets {
		if len(set) < 1 || len(set) > maxMembers {
			return fmt.Errorf("keyroot: a set of %d custodians, 1 to %d may be", len(set), maxMembers)
		}
		for k, name := range set {
			if !validName(name) || k > 0 && set[k-1] >= name {
				return fmt.Errorf("keyroot: custodians %q: names are 1 to 32 of a-z 0-9 - and ascend", set)
			}
		}
		if i > 0 && slices.Compare(sets[i-1], set) >= 0 {
			return fmt.Errorf("keyroot: sets of custodians %q and %q do not ascend", sets[i-1], set)
		}
		for k, other := range sets {
			if i != k && contains(set, other) {
				return fmt.Errorf("keyroot: the custodians %q are enough: %q says nothing more", other, set)
			}
		}
	}
	return nil
}

func contains(set, part []string) bool {
	return !slices.ContainsFunc(part, func(name string) bool { return !slices.Contains(set, name) })
}

func validName(s string) bool {
	if len(s) < 1 || len(s) > 32 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func (c *Custody) check() error {
	if err := CheckSets(c.Sets); err != nil {
		return err
	}
	i := 0
	for n, set := range c.Sets {
		for _, name := range set {
			if i == len(c.Shares) || c.Shares[i].Set != n || c.Shares[i].Custodian != name {
				return fmt.Errorf("keyroot: the share of %s in set %d is not where it must be", name, n)
			}
			if size := len(c.Shares[i].Share); size < 1 || size > maxBlob {
				return fmt.Errorf("keyroot: the share of %s in set %d has %d bytes", name, n, size)
			}
			i++
		}
	}
	if i < len(c.Shares) {
		return errors.New("keyroot: more shares than members of sets")
	}
	return nil
}

func (c *Custody) equal(d *Custody) bool {
	return slices.EqualFunc(c.Sets, d.Sets, slices.Equal) && slices.EqualFunc(c.Shares, d.Shares, func(a, b Share) bool {
		return a.Set == b.Set && a.Custodian == b.Custodian && bytes.Equal(a.Share, b.Share)
	})
}

// Top is the top key of a generation, the only secret.
type Top [32]byte

// String never shows the key.
func (Top) String() string { return "top key" }

// GoString never shows the key.
func (Top) GoString() string { return "keyroot.Top{…}" }

// Wipe overwrites the key.
func (t *Top) Wipe() { clear(t[:]) }

// NewTop makes the top key of a new generation.
func NewTop(random io.Reader) (t Top, err error) {
	if _, err := io.ReadFull(random, t[:]); err != nil {
		return Top{}, fmt.Errorf("keyroot: random bytes for a top key: %w", err)
	}
	return t, nil
}

// Piece is a share before its custodian wraps it.
type Piece struct {
	Set       int
	Custodian string
	Share     [32]byte
}

// Split splits a top key for each set: all members of a set together have it, fewer know nothing of it. Pieces come in
// the order in which shares stand in a record.
func Split(t *Top, sets [][]string, random io.Reader) ([]Piece, error) {
	if err := CheckSets(sets); err != nil {
		return nil, err
	}
	var out []Piece
	for n, set := range sets {
		last := *t
		for i, name := range set {
			p := Piece{Set: n, Custodian: name}
			if i == len(set)-1 {
				p.Share = last
			} else if _, err := io.ReadFull(random, p.Share[:]); err != nil {
				return nil, fmt.Errorf("keyroot: random bytes for a share: %w", err)
			}
			for k := range last {
				last[k] ^= p.Share[k]
			}
			out = append(out, p)
		}
	}
	return out, nil
}

// Join puts the shares of all members of one set together. Only opening a record shows whether they were the right ones.
func Join(shares ...[32]byte) (t Top) {
	for _, s := range shares {
		for k := range t {
			t[k] ^= s[k]
		}
	}
	return t
}

// Blocking reports whether no set can open the generation any more when some custodians have destroyed their keys.
func Blocking(sets [][]string, destroyed func(name string) bool) bool {
	return !slices.ContainsFunc(sets, func(set []string) bool { return !slices.ContainsFunc(set, destroyed) })
}

// DeadFrom returns the time from which on nothing can open the generation: the least at which those whose copy is
// irrecoverable by then are a blocking set. irrecoverable has no entry for a custodian of which no such time can be
// stated; if there is no blocking set without these, ok is false.
func DeadFrom(sets [][]string, irrecoverable map[string]time.Time) (from time.Time, ok bool) {
	times := make([]time.Time, 0, len(irrecoverable))
	for _, at := range irrecoverable {
		times = append(times, at)
	}
	slices.SortFunc(times, time.Time.Compare)
	for _, at := range times {
		gone := func(name string) bool {
			t, ok := irrecoverable[name]
			return ok && !t.After(at)
		}
		if Blocking(sets, gone) {
			return at, true
		}
	}
	return time.Time{}, false
}
