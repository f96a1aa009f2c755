package backup

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/datalog"
)

// locks checks that each object is held as its commit says.
func (v *verifier) locks(ctx context.Context, c *logCommit) error {
	reader, ok := v.a.store.(worm.LockReader)
	if v.lockModes == nil {
		v.lockModes = map[string]int{}
	}
	for i := range c.Objects {
		o := &c.Objects[i]
		if v.gone(c, o) {
			v.r.Expired++
			continue
		}
		v.lockModes[o.Lock]++
		if o.Lock == string(worm.LockNone) {
			v.unlocked++
			continue
		}
		if !ok {
			v.unreadLocks++
			continue
		}
		lock, err := reader.ReadLock(ctx, o.Key, o.Version)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			v.unreadLocks++ // missing or relocated: integrity says so
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			v.r.notice(locking, o.Key, "its lock cannot be read: %v", err)
			v.unreadLocks++
		case lock.Mode == worm.LockAdvisory:
			v.unlocked++
		case (lock.Mode == worm.LockNone || lock.Mode == "") && v.plainCopy():
			v.unreadLocks++
		case weaker(lock.Mode, worm.LockMode(o.Lock)) || o.Until != nil && lock.Until.Before(*o.Until) && v.opt.Now.Before(*o.Until):
			v.r.fault(locking, o.Key, "the commit says %s until %s, the store says %s until %s",
				o.Lock, o.Until.Format(time.RFC3339), lock.Mode, lock.Until.Format(time.RFC3339))
		default:
			v.locked++
		}
	}
	return nil
}

// expired reports whether the rows and proofs of a commit are gone because their time was over: then there is only what
// the commit says.
func (v *verifier) expired(c *logCommit) bool {
	for _, kind := range []string{commit.KindIndex, commit.KindProof} {
		if o := c.Object(kind, ""); o != nil && v.gone(c, o) {
			return true
		}
	}
	return false
}

// gone reports whether an object has expired and is not there. One that is there is checked like any other.
func (v *verifier) gone(c *logCommit, o *commit.Object) bool {
	return v.a.expired(c.Commit, o) && !v.left[o.Key]
}

// leftOver finds the objects of a log that the control log says are gone, and that are there.
func (v *verifier) leftOver(ctx context.Context, l *openLog) error {
	v.left = map[string]bool{}
	wanted := map[string]bool{}
	for i := range l.commits {
		for k := range l.commits[i].Objects {
			if o := &l.commits[i].Objects[k]; v.a.expired(l.commits[i].Commit, o) {
				wanted[o.Key] = true
			}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	for x, err := range v.a.store.Versions(ctx, datalog.Prefix(l.partition, l.period)+"objects/", "") {
		if err != nil {
			return err
		}
		if wanted[x.Key] && !x.Deleted {
			v.left[x.Key] = true
		}
	}
	return nil
}

// plainCopy reports whether the store is one that holds nothing by itself, such as a directory.
func (v *verifier) plainCopy() bool {
	s, ok := v.a.store.(worm.Advisory)
	return ok && s.Advisory()
}

func weaker(have, want worm.LockMode) bool {
	rank := map[worm.LockMode]int{worm.LockNone: 0, worm.LockAdvisory: 1, worm.LockGovernance: 2, worm.LockCompliance: 3}
	return rank[have] < rank[want]
}
