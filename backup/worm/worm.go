// Package worm is the contract of what archives are kept in: a store that is written once and read many times.
// docs/formats/stores.md says what each store guarantees, and package storetest tests it; dirstore and s3store are two.
package worm

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"time"
)

// LockMode is how strongly a store holds a version until its lock ends.
type LockMode string

const (
	// LockNone asks for no lock: objects stay only because nobody deletes them.
	LockNone LockMode = "none"
	// LockGovernance can be lifted by principals that hold a bypass permission.
	LockGovernance LockMode = "governance"
	// LockCompliance can be lifted by nobody before it ends.
	LockCompliance LockMode = "compliance"
	// LockAdvisory is what a plain directory gives: read-only file modes and a recorded date, no enforcement.
	LockAdvisory LockMode = "advisory"
)

// Lock is the retention of one object version. The zero Lock means none.
type Lock struct {
	Mode  LockMode
	Until time.Time // UTC, whole seconds; readers compare against it, stores round up never down
}

// Version is one version of one object, or a delete marker.
type Version struct {
	Key      string
	ID       string // opaque to everybody but the store; empty where the store keeps one version a key
	Size     int64
	Modified time.Time // the store's clock
	Deleted  bool      // a delete marker: it hides older versions from plain readers and is itself evidence
}

// Range is a part of an object in bytes. The zero Range is the whole object.
type Range struct{ Off, Len int64 }

// ErrPermanent is wrapped by an error of a [Store] that trying again does not mend before somebody acts: credentials
// that are refused, a bucket that is not there, a disk that is full or read-only. Stores that cannot tell leave it out.
// An error that wraps fs.ErrPermission or fs.ErrInvalid is of the same kind.
var ErrPermanent = errors.New("it stays so until somebody acts")

// Permanent reports whether somebody must act before trying again makes sense.
func Permanent(err error) bool {
	return errors.Is(err, ErrPermanent) || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid)
}

// Store keeps objects that cannot be changed. Keys are relative, use '/' between parts, and hold only
// [a-zA-Z0-9._/-]. All methods are safe for concurrent use. There is no delete here by design: expiry is
// a separate, separately authorised component.
type Store interface {
	// Create stores data under key if and only if no object is visible at key, and holds it under lock.
	// When it returns nil the object is durable, its lock is in force and was read back. If an object is
	// visible at key already it returns an error that wraps fs.ErrExist and changes nothing. After any
	// other error the object may or may not exist: the caller reads back before it decides.
	// data is not retained.
	Create(ctx context.Context, key string, data []byte, lock Lock) (Version, error)

	// Read returns the bytes of r of the version id of key; an empty id means the newest visible one.
	// It returns an error that wraps fs.ErrNotExist if there is no such version, and a plain error if r
	// does not lie inside the object.
	Read(ctx context.Context, key, id string, r Range) ([]byte, error)

	// Versions lists every version and delete marker of all keys that start with prefix and sort after
	// after, in ascending byte order of the key, oldest version first. Iteration stops at the first error.
	Versions(ctx context.Context, prefix, after string) iter.Seq2[Version, error]

	// Extend moves the end of the lock of one version to until, if that is later than it is now.
	// It never shortens a lock. On a version without a lock it sets one with the given mode.
	Extend(ctx context.Context, key, id string, lock Lock) error
}

// LockReader is implemented by stores that can say what lock a version is really under.
type LockReader interface {
	// ReadLock returns the lock in force as the store reports it.
	ReadLock(ctx context.Context, key, id string) (Lock, error)
}

// Advisory is implemented by stores whose locks may bind nobody, like files in a directory.
type Advisory interface {
	// Advisory reports whether whoever owns the store can remove what is locked.
	Advisory() bool
}

// Deleter removes versions whose locks have ended. It is no part of a [Store]: whoever writes has no use for it.
type Deleter interface {
	// Delete removes one version, or one delete marker, for good. A version whose lock has not ended, by the clock
	// of the store, is an error that wraps fs.ErrPermission; one that is not there is none.
	Delete(ctx context.Context, key, id string) error
}
