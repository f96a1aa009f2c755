package backup

import "github.com/stelelog/stele/internal/objstore"

// Store keeps objects that cannot be changed; its methods are Create, Read, Versions and Extend. docs/formats/stores.md
// says what each guarantees, and package storetest tests it. There is no delete here by design: expiry is a separate,
// separately authorised component.
type Store = objstore.Store

// LockReader is implemented by stores that can say what lock a version is really under, with ReadLock.
type LockReader = objstore.LockReader

// LockMode is how strongly a store holds a version until its lock ends.
type LockMode = objstore.LockMode

const (
	// LockNone asks for no lock: objects stay only because nobody deletes them.
	LockNone = objstore.LockNone
	// LockGovernance can be lifted by principals that hold a bypass permission.
	LockGovernance = objstore.LockGovernance
	// LockCompliance can be lifted by nobody before it ends.
	LockCompliance = objstore.LockCompliance
	// LockAdvisory is what a plain directory gives: read-only file modes and a recorded date, no enforcement.
	LockAdvisory = objstore.LockAdvisory
)

// Lock is the retention of one object version: a Mode, and Until when. The zero Lock means none.
type Lock = objstore.Lock

// Version is one version of one object, or a delete marker.
type Version = objstore.Version

// Range is a part of an object in bytes, Off and Len. The zero Range is the whole object.
type Range = objstore.Range

// ErrPermanent is wrapped by an error of a [Store] that trying again does not mend before somebody acts: credentials
// that are refused, a bucket that is not there, a disk that is full or read-only. Stores that cannot tell leave it out.
// An error that wraps fs.ErrPermission or fs.ErrInvalid is of the same kind.
var ErrPermanent = objstore.ErrPermanent
