package custodian

import (
	"fmt"
	"slices"
	"time"
)

// Erasure is what an operator declares about a device: nobody else knows how it is backed up.
type Erasure struct {
	Class Class
	// Delay is how long copies of the device's state are kept. For class B only, where it is more than zero.
	Delay time.Duration
}

// Check refuses what makes no sense, and every class but those that the kind of device allows.
func (e Erasure) Check(allowed ...Class) error {
	switch {
	case !slices.Contains([]Class{Immediate, Delayed, BestEffort, Never}, e.Class):
		return fmt.Errorf("erasure class %q is none of A, B, C, N", string(e.Class))
	case !slices.Contains(allowed, e.Class):
		return fmt.Errorf("class %v cannot be declared for this kind of custodian", e.Class)
	case e.Class == Delayed && e.Delay <= 0:
		return fmt.Errorf("class B needs to know for how long copies of the device's state are kept: declare a delay, such as 30d")
	case e.Class != Delayed && e.Delay != 0:
		return fmt.Errorf("a delay belongs to class B, not to class %s: leave one of them out", string(e.Class))
	}
	return nil
}

// From is when a key that was destroyed at a time is irrecoverable: zero where that cannot be stated.
func (e Erasure) From(destroyed time.Time) time.Time {
	if destroyed.IsZero() {
		return time.Time{}
	}
	switch e.Class {
	case Immediate:
		return destroyed
	case Delayed:
		return destroyed.Add(e.Delay)
	}
	return time.Time{}
}
