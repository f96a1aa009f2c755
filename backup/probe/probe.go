// Package probe finds out what a store really enforces, by trying: a lock that a store accepts and shows is not yet a
// lock that holds. It writes canaries under a prefix of its own, plays the writer that comes second, the operator that
// deletes, shortens and overwrites, and reports what it saw.
package probe

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/stelelog/stele/backup/worm"
)

// Prefix is where all canaries lie. Nothing of an archive does.
const Prefix = "probe/"

const (
	defaultHold = 15 * time.Minute
	maxHold     = 24 * time.Hour
	maxSkew     = time.Minute
	racers      = 8
)

// Attacker is implemented by stores that can try what somebody with their credentials could do to an archive. It takes
// no keys but those under [Prefix]. An error that wraps fs.ErrPermission says that the store refused; any other one
// that the attack could not be tried. nil says nothing: Run looks for itself at what came of it.
type Attacker interface {
	// TryDelete deletes one version for good. bypass uses the permission to lift governance locks, if there is one.
	TryDelete(ctx context.Context, key, id string, bypass bool) error
	// TryLock sets the lock of one version, also to an earlier end or a weaker mode.
	TryLock(ctx context.Context, key, id string, lock worm.Lock, bypass bool) error
	// TryMark deletes a key without naming a version, which leaves a delete marker in a bucket with versions.
	TryMark(ctx context.Context, key string) error
	// TryOverwrite stores data under a key that exists.
	TryOverwrite(ctx context.Context, key string, data []byte) error
}

// Bucket is how a store is set up.
type Bucket struct {
	Versions bool          // every write makes a version
	Locks    bool          // versions can be locked
	Rule     worm.LockMode // of the default rule for what is stored without a lock of its own; empty if there is none
	RuleKeep time.Duration // how long the default rule locks
}

// Describer is implemented by stores that can say how they are set up.
type Describer interface {
	Describe(ctx context.Context) (Bucket, error)
}

// Options say what to expect of the store. The zero Options expect no locks.
type Options struct {
	// Lock is the mode that the archive will ask for. With [worm.LockAdvisory] a plain directory passes.
	Lock worm.LockMode
	// Hold is how long canaries are locked, 15 minutes if 0, at most a day. Until then they cannot be cleared away,
	// and the probe itself must be done in less than half of it.
	Hold time.Duration
}

// Names of results that a caller may want to find.
const (
	Clock = "clock" // the store's clock and ours agree
	WORM  = "WORM"  // the last result: what the locks are worth, in one line
)

// Run tries a store out and tells what it saw, the verdict [WORM] last. A result that is not OK means that an archive in
// this store would not be what was asked for. Run returns an error only if it could not find out, together with what
// it has seen so far. What it wrote stays: [Prefix] may be cleared once its locks have ended. It takes seconds; ctx
// bounds it.
func Run(ctx context.Context, store worm.Store, o Options) ([]Result, error) {
	switch o.Lock {
	case "", worm.LockNone, worm.LockAdvisory, worm.LockGovernance, worm.LockCompliance:
	default:
		return nil, fmt.Errorf("probe: unknown lock mode %q", o.Lock)
	}
	o.Hold = min(cmp.Or(o.Hold, defaultHold), maxHold)
	id := make([]byte, 8)
	rand.Read(id)
	r := &run{store: store, lock: o.Lock, hold: o.Hold, prefix: Prefix + hex.EncodeToString(id) + "/"}
	for _, step := range []func(context.Context) error{
		r.create, r.race, r.describe, r.locked, r.attack, r.marker, r.bypass,
	} {
		if err := cmp.Or(step(ctx), ctx.Err()); err != nil {
			return r.results, fmt.Errorf("probe: %w", err)
		}
	}
	r.verdict()
	return r.results, nil
}

// Result is one question put to a store, or to a topic, and the answer.
type Result struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// run is one probe.
type run struct {
	store   worm.Store
	lock    worm.LockMode
	hold    time.Duration
	prefix  string
	bucket  *Bucket // nil if the store does not say
	results []Result

	canary   worm.Version // the locked one
	asked    worm.Lock    // what was asked for it
	inForce  worm.Lock    // what the store says
	untried  string       // why attacks say nothing about the lock, if they do not
	attacked bool
	lost     bool // the canary is gone: there is nothing left to attack
	listed   int  // versions of its key so far
}

func (r *run) report(name string, ok bool, detail string, args ...any) {
	r.results = append(r.results, Result{Name: name, OK: ok, Detail: fmt.Sprintf(detail, args...)})
}

// allOK reports whether nothing has failed so far that locks depend on.
func (r *run) allOK() bool {
	for _, result := range r.results {
		if !result.OK && result.Name != Clock {
			return false
		}
	}
	return true
}

func (r *run) wantsLock() bool { return r.lock != "" && r.lock != worm.LockNone }

// verdict says in one line what the locks are worth.
func (r *run) verdict() {
	mode := r.inForce.Mode
	switch {
	case !r.wantsLock():
		r.report(WORM, true, "none asked for: who may delete in this store can delete the archive")
	case mode == worm.LockAdvisory:
		r.report(WORM, r.lock == worm.LockAdvisory && r.allOK(),
			"advisory (plain directory): who owns the files can delete them; a copy elsewhere under object lock cannot be deleted")
	case mode == "":
		r.report(WORM, false, "not enforced: asked for %s, no lock is in force", r.lock)
	case !r.allOK():
		r.report(WORM, false, "not enforced: %s is shown, but see above", mode)
	case !r.attacked:
		r.report(WORM, false, "not known: %s is shown, but this store offers no way to try it", mode)
	case r.untried != "":
		r.report(WORM, true, "%s, read back; %s", mode, r.untried)
	default:
		r.report(WORM, true, "%s, enforced", mode)
	}
}

// versions lists what lies under one key, oldest first.
func (r *run) versions(ctx context.Context, key string) (all []worm.Version, err error) {
	for v, err := range r.store.Versions(ctx, key, "") {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", key, err)
		}
		if v.Key == key {
			all = append(all, v)
		}
	}
	return all, nil
}

// holds reports whether a version still has its content.
func (r *run) holds(ctx context.Context, v worm.Version, want []byte) (bool, error) {
	got, err := r.store.Read(ctx, v.Key, v.ID, worm.Range{})
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return bytes.Equal(got, want), err
}

// lockOf reads a lock back; a store that cannot say has none.
func (r *run) lockOf(ctx context.Context, v worm.Version) (worm.Lock, error) {
	reader, ok := r.store.(worm.LockReader)
	if !ok {
		return worm.Lock{}, errors.New("the store cannot say what lock is in force")
	}
	return reader.ReadLock(ctx, v.Key, v.ID)
}
