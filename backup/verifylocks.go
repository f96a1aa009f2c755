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

// listed looks at the list of the objects of a log: which are there that the control log says are gone, and which are hidden
// from who reads without versions.
func (v *verifier) listed(ctx context.Context, l *openLog) error {
	v.left = map[string]bool{}
	gone, named := map[string]bool{}, map[string]string{}
	for i := range l.commits {
		for k := range l.commits[i].Objects {
			if o := &l.commits[i].Objects[k]; v.a.expired(l.commits[i].Commit, o) {
				gone[o.Key] = true
			} else {
				named[o.Key] = o.Version
			}
		}
	}
	var before worm.Version
	there := false // the version that the commit names, of that object
	for x, err := range v.a.store.Versions(ctx, datalog.Prefix(l.partition, l.period)+"objects/", "") {
		if err != nil {
			return err
		}
		if gone[x.Key] && !x.Deleted {
			v.left[x.Key] = true
		}
		if x.Key != before.Key {
			v.hidden(before, named[before.Key], there)
			there = false
		}
		there = there || !x.Deleted && x.ID == named[x.Key]
		before = x
	}
	v.hidden(before, named[before.Key], there)
	return nil
}

// hidden takes note of an object that is there in the version that its commit names, and is not the newest. Verify reads that
// version; whoever copies the store with a tool that knows no versions gets the newest.
func (v *verifier) hidden(newest worm.Version, named string, there bool) {
	switch {
	case !there || newest.ID == named && !newest.Deleted:
	case newest.Deleted:
		v.r.notice(integrity, newest.Key, "hidden: a delete marker lies over the version that its commit names, which is there and was read; plain copies lack it")
	default:
		v.r.notice(integrity, newest.Key, "overwritten: another version lies over the one that its commit names, which is there and was read; plain copies get the other")
	}
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
