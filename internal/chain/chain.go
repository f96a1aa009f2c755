// Package chain is the one rule by which numbered objects in a store form a history that two writers cannot both
// extend: docs/formats/commit.md, "Numbered chains". Commits of a log and the control log use it. It knows neither
// what the objects mean nor how a store is reached.
package chain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"
)

// Object is what lies at one number.
type Object struct {
	N       uint64
	Key     string // for messages; ends in the number as 20 digits
	Version string // of the oldest version
	Data    []byte // its bytes
	Newer   int    // versions that came after the oldest
	Markers int    // delete markers
	Err     error  // the oldest version could not be read
}

// Space is a row of numbered objects in a store.
type Space interface {
	// From yields the objects at n and above in ascending order. An error ends the iteration.
	From(ctx context.Context, n uint64) iter.Seq2[Object, error]
	// Create puts data at n if nothing is visible there; else its error wraps fs.ErrExist.
	Create(ctx context.Context, n uint64, data []byte) error
}

// Judge says whether data at n is a valid child of the chain so far, which burnt numbers it declares, and takes it
// into its state when accept is called. An error wraps ErrFork, ErrOrphan or ErrUndecided where they apply; any other
// means that the object is not authentic. An error leaves the state as it was.
type Judge func(o Object) (burnt []uint64, accept func(), err error)

// What a Judge may say of an object that it does not accept.
var (
	// ErrFork: authentic, and a second valid child of one parent.
	ErrFork = errors.New("chain: a second valid child of one parent")
	// ErrOrphan: authentic, but what it builds on is not in the chain, so something was removed or replaced.
	ErrOrphan = errors.New("chain: what this builds on is missing")
	// ErrUndecided: it cannot be judged now, because something else could not be read.
	ErrUndecided = errors.New("chain: cannot be judged")
)

// Finding is something in the space that an honest writer does not leave.
type Finding struct {
	N    uint64
	Key  string
	Kind Kind
	Err  error
}

// Kind of a finding.
type Kind string

// Kinds of findings. Missing and Fork break integrity; the others are attempts that changed nothing.
const (
	Squat   Kind = "squat"   // not authentic: the number is burnt, or will be when the chain gets there
	Version Kind = "version" // later versions lie over the oldest
	Marker  Kind = "marker"  // a delete marker hides it
	Missing Kind = "missing" // an authentic object builds on what is not here; reading stops before it
	Fork    Kind = "fork"
)

func (f Finding) Error() string {
	if f.Err == nil {
		return fmt.Sprintf("%s: %s", f.Key, f.Kind)
	}
	return fmt.Sprintf("%s: %s: %v", f.Key, f.Kind, f.Err)
}

func (f Finding) Unwrap() error { return f.Err }

// Tail is the place where a chain ends: what a reader remembers and a writer extends.
type Tail struct {
	Next  uint64   // the first number not looked at
	Burnt []uint64 // burnt numbers since the last valid object
}

// Read follows the chain from t to its end and returns the new tail. Each valid object goes through judge; each
// finding goes to report, those beyond the end of the chain again at each Read. An error means that the store could
// not be read, and that t has advanced only so far.
func Read(ctx context.Context, s Space, t Tail, judge Judge, report func(Finding)) (Tail, error) {
	return read(ctx, s, t, judge, report, true)
}

// read is Read. A number can be made while the listing is beyond it, so a hole is looked at again.
func read(ctx context.Context, s Space, t Tail, judge Judge, report func(Finding), again bool) (Tail, error) {
	for o, err := range s.From(ctx, t.Next) {
		if err != nil {
			return t, err
		}
		if o.N < t.Next {
			continue
		}
		if o.Err != nil && !errors.Is(o.Err, fs.ErrNotExist) {
			return t, fmt.Errorf("chain: reading %s: %w", o.Key, o.Err)
		}
		next, err := t.take(o, judge, report)
		if errors.Is(err, ErrUndecided) {
			return t, err
		}
		if err != nil && again && o.N > t.Next {
			return read(ctx, s, t, judge, report, false)
		}
		if err != nil {
			report(Finding{t.Next, keyOf(o, t.Next), Missing, fmt.Errorf("%w (seen at number %d)", err, o.N)})
			return t, nil
		}
		t = next
	}
	return t, nil
}

// take judges the object at o.N ≥ t.Next. An error says that it can be neither accepted nor passed over.
func (t Tail) take(o Object, judge Judge, report func(Finding)) (Tail, error) {
	if o.Newer > 0 {
		report(Finding{o.N, o.Key, Version, fmt.Errorf("%d later versions", o.Newer)})
	}
	if o.Markers > 0 {
		report(Finding{o.N, o.Key, Marker, fmt.Errorf("%d delete markers", o.Markers)})
	}
	err := o.Err
	if err == nil {
		var burnt []uint64
		var accept func()
		burnt, accept, err = judge(o)
		switch {
		case err == nil && t.continues(o.N, burnt):
			for n := t.Next; n < o.N; n++ {
				report(Finding{n, keyOf(o, n), Squat, fmt.Errorf("number %d was burnt; what lay there is gone", n)})
			}
			accept()
			return Tail{Next: o.N + 1}, nil
		case err == nil && o.N > t.Next:
			return t, fmt.Errorf("%w: number %d does not exist, but %d follows it", ErrOrphan, t.Next, o.N)
		case err == nil:
			err = fmt.Errorf("declares burnt numbers %v, found %v", burnt, t.Burnt)
		case errors.Is(err, ErrOrphan), errors.Is(err, ErrUndecided):
			return t, err
		}
	}
	kind := Squat
	if errors.Is(err, ErrFork) {
		kind = Fork
	}
	report(Finding{o.N, o.Key, kind, err})
	if o.N > t.Next {
		return t, nil // somebody was here before the chain; it is burnt when the chain gets there
	}
	return Tail{Next: o.N + 1, Burnt: append(t.Burnt[:len(t.Burnt):len(t.Burnt)], o.N)}, nil
}

// continues reports whether burnt names just the numbers between the last valid object and n: those that were found to
// hold nothing valid, and those that hold nothing any more.
func (t Tail) continues(n uint64, burnt []uint64) bool {
	want := t.Burnt
	for i := t.Next; i < n && len(want) <= len(burnt); i++ {
		want = append(want[:len(want):len(want)], i)
	}
	return equal(want, burnt)
}

// keyOf is the key of number n in the space of o, whose key ends in its own number.
func keyOf(o Object, n uint64) string {
	if prefix, ok := strings.CutSuffix(o.Key, fmt.Sprintf("%020d", o.N)); ok {
		return fmt.Sprintf("%s%020d", prefix, n)
	}
	return o.Key
}

func equal(a, b []uint64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// Append tries once to put data at t.Next, and looks what lies there then, whatever the store said: a reply may be
// lost, a retry inside a client may meet our own object, and a delete marker lets a store take data over an older
// version that counts. won says that the object at that number is data. Not won without an error means that another
// object lies there: read on and build anew. After an error nothing is known; call again with the same data.
func Append(ctx context.Context, s Space, t Tail, data []byte) (won bool, err error) {
	createErr := s.Create(ctx, t.Next, data)
	for o, err := range s.From(ctx, t.Next) {
		if err == nil && o.N == t.Next {
			err = o.Err
			won = err == nil && string(o.Data) == string(data)
		} else if err == nil {
			break
		}
		if err != nil {
			return false, errors.Join(createErr, err)
		}
		return won, nil
	}
	if createErr != nil {
		return false, createErr
	}
	return false, fmt.Errorf("chain: number %d was written but cannot be found", t.Next)
}
