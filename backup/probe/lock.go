package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/stelelog/stele/backup/worm"
)

// locked stores the canary under lock, and reads back and extends the lock.
func (r *run) locked(ctx context.Context) error {
	if !r.wantsLock() {
		return nil
	}
	key := r.prefix + "locked"
	r.asked = worm.Lock{Mode: r.lock, Until: time.Now().UTC().Add(r.hold).Truncate(time.Second)}
	v, err := r.store.Create(ctx, key, r.text(), r.asked)
	if err != nil {
		r.report("lock", false, "nothing can be stored under a %s lock: %v", r.lock, err)
		return nil
	}
	r.canary = v
	if r.inForce, err = r.lockOf(ctx, v); err != nil {
		r.report("lock", false, "the lock cannot be read back: %v", err)
		return nil
	}
	ok := r.inForce.Mode == r.lock && !r.inForce.Until.Before(r.asked.Until)
	r.report("lock", ok, "asked for %s, read back %s", show(r.asked), show(r.inForce))
	r.rule()
	if !ok {
		return nil
	}
	longer := worm.Lock{Mode: r.lock, Until: r.asked.Until.Add(time.Minute)}
	if err := r.store.Extend(ctx, key, v.ID, longer); err != nil {
		r.report("extend", false, "a lock cannot be extended: %v", err)
		return nil
	}
	now, err := r.lockOf(ctx, v)
	if err != nil {
		return err
	}
	r.inForce = now
	r.report("extend", !now.Until.Before(longer.Until), "asked for %s, read back %s", show(longer), show(now))
	return nil
}

func (r *run) text() []byte { return []byte("canary of " + r.prefix) }

// rule says how the default rule of the bucket and the lock of an object go together.
func (r *run) rule() {
	switch {
	case r.bucket == nil:
	case r.bucket.Rule == "":
		r.report("default rule", true, "none: every object carries its own lock, and needs no rule")
	default:
		r.report("default rule", r.inForce == r.asked,
			"%s for %s; what is stored under a lock of its own is locked by that: %s", r.bucket.Rule, inDays(r.bucket.RuleKeep), show(r.inForce))
	}
}

func inDays(d time.Duration) string {
	if n := int(d.Hours() / 24); n != 1 {
		return fmt.Sprintf("%d days", n)
	}
	return "1 day"
}

func show(l worm.Lock) string {
	if l.Mode == "" {
		return "no lock"
	}
	return fmt.Sprintf("%s until %s", l.Mode, l.Until.Format(time.RFC3339))
}

// enforceable reports whether there is a lock to attack, and a way to.
func (r *run) enforceable() (Attacker, bool) {
	a, ok := r.store.(Attacker)
	held := r.inForce.Mode == worm.LockGovernance || r.inForce.Mode == worm.LockCompliance
	return a, ok && held
}

// attack tries to delete, shorten, weaken and overwrite the canary. Compliance must withstand also who may lift
// governance locks.
func (r *run) attack(ctx context.Context) error {
	a, ok := r.enforceable()
	if !ok {
		return nil
	}
	r.attacked = true
	if err := r.control(ctx, a); err != nil {
		return err
	}
	strict := r.inForce.Mode == worm.LockCompliance
	half := r.inForce.Until.Add(-r.hold / 2).Truncate(time.Second)
	if time.Until(half) < maxSkew {
		return fmt.Errorf("the probe is too slow for locks of %s", r.hold)
	}
	type try struct {
		name string
		do   func() error
	}
	tries := []try{
		{"delete locked", func() error { return a.TryDelete(ctx, r.canary.Key, r.canary.ID, strict) }},
		{"shorten", func() error {
			return a.TryLock(ctx, r.canary.Key, r.canary.ID, worm.Lock{Mode: r.inForce.Mode, Until: half}, strict)
		}},
	}
	if strict {
		tries = append(tries, try{"weaken", func() error {
			return a.TryLock(ctx, r.canary.Key, r.canary.ID, worm.Lock{Mode: worm.LockGovernance, Until: r.inForce.Until}, true)
		}})
	}
	tries = append(tries, try{"overwrite", func() error { return a.TryOverwrite(ctx, r.canary.Key, []byte("overwritten")) }})
	r.listed = 1
	for _, t := range tries {
		if r.lost {
			break
		}
		if err := r.withstands(ctx, t.name, t.do()); err != nil {
			return err
		}
	}
	return nil
}

// withstands reports whether the canary is what it was, whatever the store answered to the attack.
func (r *run) withstands(ctx context.Context, name string, answer error) error {
	if answer != nil && !errors.Is(answer, fs.ErrPermission) {
		return fmt.Errorf("%s could not be tried: %w", name, answer)
	}
	said := onOff(answer == nil, "accepted", "refused")
	held, err := r.holds(ctx, r.canary, r.text())
	if err != nil {
		return err
	}
	if !held {
		r.lost = true
		r.report(name, false, "%s, and the version is gone or changed", said)
		return nil
	}
	now, err := r.lockOf(ctx, r.canary)
	if err != nil {
		return err
	}
	listed, err := r.versions(ctx, r.canary.Key)
	if err != nil {
		return err
	}
	added := len(listed) - r.listed
	r.listed = len(listed)
	switch {
	case now.Mode != r.inForce.Mode || now.Until.Before(r.inForce.Until):
		r.report(name, false, "%s, and the lock fell from %s to %s", said, show(r.inForce), show(now))
		r.inForce = now // what follows has its own results
	case len(listed) == 0 || listed[0].ID != r.canary.ID:
		r.report(name, false, "%s, and the first version is no longer the oldest one listed", said)
	case added > 0:
		r.report(name, true, "%s; it only adds a version, and the locked one stays", said)
	default:
		r.report(name, true, "%s; the locked version stays", said)
	}
	return nil
}

// control finds out whether a refusal means the lock: it deletes what is not locked.
func (r *run) control(ctx context.Context, a Attacker) error {
	v, err := r.store.Create(ctx, r.prefix+"free", r.text(), worm.Lock{})
	if err != nil {
		return fmt.Errorf("canary without a lock: %w", err)
	}
	answer := a.TryDelete(ctx, v.Key, v.ID, false)
	if answer != nil && !errors.Is(answer, fs.ErrPermission) {
		return fmt.Errorf("delete of a version without a lock could not be tried: %w", answer)
	}
	held, err := r.holds(ctx, v, r.text())
	switch {
	case err != nil:
		return err
	case !held:
		r.report("delete free", true, "what is not locked can be deleted, so a refusal is the work of the lock")
		return nil
	case r.bucket != nil && r.bucket.Rule != "":
		r.untried = "the default rule of the bucket locks all, so whose work a refusal is cannot be told"
	default:
		r.untried = "these credentials may delete nothing, so the lock itself was not tried: probe with those of an administrator"
	}
	r.report("delete free", true, "%s", r.untried)
	return nil
}

// marker hides the canary behind a delete marker and creates its key again. That this works is how S3 is, and why
// readers go by the oldest version of a key; it is reported.
func (r *run) marker(ctx context.Context) error {
	a, ok := r.enforceable()
	if !ok || r.lost {
		return nil
	}
	if err := r.withstands(ctx, "delete marker", a.TryMark(ctx, r.canary.Key)); err != nil {
		return err
	}
	_, err := r.store.Create(ctx, r.canary.Key, []byte("behind the marker"), worm.Lock{})
	switch {
	case err == nil:
		err = r.withstands(ctx, "create behind marker", nil)
	case errors.Is(err, fs.ErrExist):
		err = r.withstands(ctx, "create behind marker", fs.ErrPermission)
	}
	return err
}

// bypass tells whether these credentials can lift governance locks.
func (r *run) bypass(ctx context.Context) error {
	a, ok := r.enforceable()
	if !ok || r.inForce.Mode != worm.LockGovernance {
		return nil
	}
	lock := worm.Lock{Mode: r.lock, Until: time.Now().Add(r.hold)}
	v, err := r.store.Create(ctx, r.prefix+"lifted", r.text(), lock)
	if err != nil {
		return fmt.Errorf("another locked canary: %w", err)
	}
	answer := a.TryDelete(ctx, v.Key, v.ID, true)
	if answer != nil && !errors.Is(answer, fs.ErrPermission) {
		return fmt.Errorf("lifting a governance lock could not be tried: %w", answer)
	}
	held, err := r.holds(ctx, v, r.text())
	switch {
	case err != nil:
		return err
	case held:
		r.report("bypass", true, "these credentials cannot lift governance locks")
	default:
		r.report("bypass", true, "these credentials can lift governance locks: run compactors with ones that lack s3:BypassGovernanceRetention, or use compliance")
	}
	return nil
}
