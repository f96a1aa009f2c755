package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"

	"github.com/stelelog/stele/backup/worm"
)

// ErrFault is wrapped by every error that a [Faulty] makes up.
var ErrFault = errors.New("injected fault")

// Fault is what a [Faulty] does with one call.
type Fault int

const (
	// None passes the call on.
	None Fault = iota
	// Lost fails the call without passing it on: nothing is persisted.
	Lost
	// ReplyLost passes the call on and fails it all the same: it is persisted and reported failed. A
	// listing shows everything and then fails.
	ReplyLost
)

// Call is one call of a method of a [Faulty].
type Call struct {
	N   int    // number of the call, from 1, over all methods
	Op  string // "Create", "Read", "Versions", "Extend" or "ReadLock"
	Key string // the key; of Versions the prefix
}

// Faulty is a store that fails chosen calls of another one. Its fields must not change while it is used;
// its functions are called by the caller's goroutine and may block or panic, to stop a process at a
// chosen moment. It is safe for concurrent use if they are.
type Faulty struct {
	Store worm.Store

	// Script chooses the fault of a call; nil means None for all.
	Script func(Call) Fault
	// Before is called before, and After after the call is passed on (or not), if they are not nil. After
	// Versions means after the iteration.
	Before, After func(Call)

	calls atomic.Int64
}

var (
	_ worm.Store      = (*Faulty)(nil)
	_ worm.LockReader = (*Faulty)(nil)
)

// FailingWrites is a store whose writes have a fault from number n on, counted in writes: the first one has number 0.
func FailingWrites(store worm.Store, fault Fault, n int, writes *int) *Faulty {
	return &Faulty{Store: store, Script: func(c Call) Fault {
		if c.Op != "Create" && c.Op != "Extend" {
			return None
		}
		if *writes++; *writes > n {
			return fault
		}
		return None
	}}
}

// do passes one call on, or not, and returns its error or the injected one.
func (f *Faulty) do(op, key string, pass func() error) error {
	call := Call{N: int(f.calls.Add(1)), Op: op, Key: key}
	fault := None
	if f.Script != nil {
		fault = f.Script(call)
	}
	if f.Before != nil {
		f.Before(call)
	}
	var err error
	if fault != Lost {
		err = pass()
	}
	if f.After != nil {
		f.After(call)
	}
	if fault != None && err == nil {
		err = fmt.Errorf("faulty: %s %s, call %d: %w", op, key, call.N, ErrFault)
	}
	return err
}

// Create implements [worm.Store].
func (f *Faulty) Create(ctx context.Context, key string, data []byte, lock worm.Lock) (v worm.Version, err error) {
	err = f.do("Create", key, func() (err error) {
		v, err = f.Store.Create(ctx, key, data, lock)
		return err
	})
	if err != nil {
		return worm.Version{}, err
	}
	return v, nil
}

// Read implements [worm.Store].
func (f *Faulty) Read(ctx context.Context, key, id string, r worm.Range) (data []byte, err error) {
	err = f.do("Read", key, func() (err error) {
		data, err = f.Store.Read(ctx, key, id, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Versions implements [worm.Store]. Every iteration is one call.
func (f *Faulty) Versions(ctx context.Context, prefix, after string) iter.Seq2[worm.Version, error] {
	return func(yield func(worm.Version, error) bool) {
		stopped := false
		err := f.do("Versions", prefix, func() error {
			for v, err := range f.Store.Versions(ctx, prefix, after) {
				if err != nil {
					return err
				}
				if !yield(v, nil) {
					stopped = true
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(worm.Version{}, err)
		}
	}
}

// Extend implements [worm.Store].
func (f *Faulty) Extend(ctx context.Context, key, id string, lock worm.Lock) error {
	return f.do("Extend", key, func() error { return f.Store.Extend(ctx, key, id, lock) })
}

// ReadLock implements [worm.LockReader]. If the store does not, the error wraps errors.ErrUnsupported.
func (f *Faulty) ReadLock(ctx context.Context, key, id string) (lock worm.Lock, err error) {
	err = f.do("ReadLock", key, func() (err error) {
		r, ok := f.Store.(worm.LockReader)
		if !ok {
			return fmt.Errorf("faulty: read lock %s: %w", key, errors.ErrUnsupported)
		}
		lock, err = r.ReadLock(ctx, key, id)
		return err
	})
	return lock, err
}
