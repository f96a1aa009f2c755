package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/datalog"
)

// ExpireConfig says what may be removed, and by whose time. Store and Trust are required, Deleter and Identity too but with
// DryRun.
type ExpireConfig struct {
	Store    worm.Store
	Deleter  worm.Deleter
	Trust    []byte    // content of trust.stele
	Identity []byte    // content of compactor.stele: what goes is first said in the control log
	Trusted  time.Time // the present, on the word of whoever runs this, only where the trust file wants no witnesses; the entries say so
	DryRun   bool      // only say what would go
}

// Expiry is what was removed from an archive because its time was over, or would be.
type Expiry struct {
	Time    time.Time       `json:"time"`  // that was believed
	Clock   string          `json:"clock"` // whose time: "witnesses" or "trusted"
	Holds   int             `json:"holds"`
	Kept    int             `json:"kept"` // objects that stay for a hold, which may be on what is in them
	Objects []ExpiredObject `json:"objects"`
	Bytes   int64           `json:"bytes"`
}

// ExpiredObject is an object that is gone, or would be.
type ExpiredObject struct {
	Key    string    `json:"key"`
	Log    string    `json:"log"`
	Commit uint64    `json:"commit"`
	Class  string    `json:"class,omitempty"`
	Size   int64     `json:"size"`
	Until  time.Time `json:"until"` // end of its lock

	object *commit.Object
	commit *commit.Commit
	logged bool // in the control log already
}

// Encapsulations in a log may serve records that were committed so long after its end: the longest that a spool may wait,
// and a day.
const encapsServe = 15 * 24 * time.Hour

// maxExpired bounds the objects of one entry.
const maxExpired = 1000

// Expire removes what has expired: data and quarantine objects whose locks are over, and of a closed log the rest but its
// commits, once nothing in it or of the days after its end is locked. What goes is in the control log before the first
// object goes. The time is that of the witnesses of the trust file; where it wants none, Trusted. While a hold stands, only
// data go in which no scope has its key any more. Expire may be repeated after any error.
func Expire(ctx context.Context, cfg ExpireConfig) (*Expiry, error) {
	a, err := OpenArchive(ctx, cfg.Store, cfg.Trust)
	if err == nil {
		err = a.Founded()
	}
	if err != nil {
		return nil, err
	}
	e := &expirer{a: a, cfg: cfg}
	if e.clock, err = e.whoseTime(ctx); err != nil {
		return nil, err
	}
	e.now = e.clock.Time
	out := &Expiry{Time: e.now, Clock: e.clock.Source}
	placed := 0 // holds, those that were released too
	a.control.View(func(s *control.State) {
		placed = len(s.Holds)
		for _, h := range s.Holds {
			if h.StandsAt(s.Size()) {
				out.Holds++
			}
		}
	})
	if out.Objects, err = e.over(ctx); err != nil {
		return nil, err
	}
	if out.Holds > 0 && len(out.Objects) > 0 {
		all := len(out.Objects)
		if out.Objects, err = e.unheld(ctx, out.Objects); err != nil {
			return nil, err
		}
		out.Kept = all - len(out.Objects)
	}
	for _, o := range out.Objects {
		out.Bytes += o.Size
	}
	if cfg.DryRun || len(out.Objects) == 0 {
		return out, nil
	}
	if err := e.announce(ctx, out.Objects); err != nil {
		return nil, err
	}
	if err := e.stillFree(ctx, placed); err != nil {
		return nil, err
	}
	for _, o := range out.Objects {
		if err := e.remove(ctx, o.Key); err != nil {
			return nil, fmt.Errorf("what goes is in the control log; run it again to go on: %w", err)
		}
	}
	return out, nil
}

// whoseTime says how late it is, and who says so.
func (e *expirer) whoseTime(ctx context.Context) (c control.Clock, err error) {
	policy, err := e.a.trust.Cosigners()
	switch {
	case err != nil:
		return c, fmt.Errorf("trust file: %w", err)
	case !policy.Wants() && e.cfg.Trusted.IsZero():
		return c, errors.New("nothing tells the time: the trust file wants no witness, and the clock of one machine is not believed unless somebody vouches for it")
	case !policy.Wants():
		return control.Clock{Time: e.cfg.Trusted.UTC().Truncate(time.Second), Source: control.ClockTrusted}, nil
	case !e.cfg.Trusted.IsZero():
		return c, errors.New("the trust file wants witnesses, so it is their time that counts, and nobody's word for another")
	}
	if c, err = e.a.control.Clock(ctx, policy); err == nil && c.Time.IsZero() {
		err = fmt.Errorf("nobody tells the time: no heads of the control log are cosigned as the trust file wants (quorum %s)", policy.Quorum)
	}
	return c, err
}

type expirer struct {
	a     *Archive
	cfg   ExpireConfig
	clock control.Clock
	now   time.Time
}

// over lists what is there and has expired, by log and commit.
func (e *expirer) over(ctx context.Context) ([]ExpiredObject, error) {
	there := map[string]bool{}
	for v, err := range e.cfg.Store.Versions(ctx, datalog.Folder, "") {
		if err != nil {
			return nil, err
		}
		there[v.Key] = true
	}
	out := []ExpiredObject{}
	for _, l := range e.a.logs {
		whole := e.whole(l)
		for i := range l.commits {
			c := &l.commits[i]
			for k := range c.Objects {
				o := &c.Objects[k]
				part := o.Kind == commit.KindData || o.Kind == commit.KindQuarantine
				if !there[o.Key] || !e.past(o) || !part && !whole {
					continue
				}
				if held, err := e.locked(ctx, o); err != nil {
					return nil, err
				} else if held {
					continue
				}
				out = append(out, ExpiredObject{Key: o.Key, Log: c.Log, Commit: c.N, Class: o.Class, Size: o.Size, Until: *o.Until,
					object: o, commit: c.Commit, logged: e.a.expired(c.Commit, o)})
			}
		}
	}
	return out, nil
}

// past reports whether the lock that a commit names is over.
func (e *expirer) past(o *commit.Object) bool { return o.Until != nil && !o.Until.After(e.now) }

// locked reports whether the store holds an object for longer than its commit says: somebody has extended its lock.
func (e *expirer) locked(ctx context.Context, o *commit.Object) (bool, error) {
	r, ok := e.cfg.Store.(worm.LockReader)
	if !ok {
		return false, nil
	}
	for v, err := range e.cfg.Store.Versions(ctx, o.Key, "") {
		if err != nil {
			return false, err
		}
		if v.Key != o.Key || v.Deleted {
			continue
		}
		lock, err := r.ReadLock(ctx, v.Key, v.ID)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if lock.Until.After(e.now) {
			return true, nil
		}
	}
	return false, nil
}

// whole reports whether nothing in a closed log is needed any more but its commits.
func (e *expirer) whole(l *openLog) bool {
	last := l.chain.Last
	if last == nil || last.Final == nil {
		return false
	}
	for _, other := range e.a.logs {
		if other.partition != l.partition || commit.ComparePeriods(other.period, l.period) < 0 {
			continue
		}
		for i := range other.commits {
			c := &other.commits[i]
			if other != l && c.Time.After(last.Time.Add(encapsServe)) {
				continue
			}
			if slices.ContainsFunc(c.Objects, func(o commit.Object) bool { return (other == l || o.Kind == commit.KindData) && !e.past(&o) }) {
				return false
			}
		}
	}
	return true
}

// announce puts what goes into the control log.
func (e *expirer) announce(ctx context.Context, objects []ExpiredObject) error {
	author, sealer, err := e.a.trust.Compactor(e.cfg.Identity)
	if err != nil {
		return err
	}
	entries, err := e.entries(objects, author)
	if err != nil {
		return err
	}
	if err := e.a.control.Append(ctx, sealer, entries...); err != nil {
		return err
	}
	for _, entry := range entries {
		if err := e.a.control.Effective(entry); err != nil {
			return err
		}
	}
	return nil
}

// stillFree is an error if a hold was placed since what goes was chosen: it may come before that in the control log.
func (e *expirer) stillFree(ctx context.Context, placed int) (err error) {
	if err := e.a.control.Refresh(ctx); err != nil {
		return err
	}
	e.a.control.View(func(s *control.State) {
		if len(s.Holds) > placed {
			err = errors.New("a hold was placed meanwhile, so nothing was removed: run it again, and what may be held stays")
		}
	})
	return err
}

// entries say what goes, log by log.
func (e *expirer) entries(objects []ExpiredObject, author note.Signer) (entries []string, err error) {
	for len(objects) > 0 {
		n := 0
		body := control.Expired{Log: objects[0].Log, Clock: e.clock}
		for ; n < len(objects) && objects[n].Log == body.Log && len(body.Objects) < maxExpired; n++ {
			if o := objects[n]; !o.logged {
				if body.To = o.Commit; len(body.Objects) == 0 {
					body.From = o.Commit
				}
				body.Whole = body.Whole || o.object.Kind == commit.KindIndex
				if o.Class != "" && !slices.Contains(body.Classes, o.Class) {
					body.Classes = append(body.Classes, o.Class)
				}
				body.Objects = append(body.Objects, control.ExpiredObject{SHA256: o.object.SHA256, Until: o.Until})
			}
		}
		objects = objects[n:]
		if len(body.Objects) == 0 {
			continue
		}
		slices.Sort(body.Classes)
		entry, err := control.Sign(e.a.trust.Archive, control.TypeExpired, e.now, body, author)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// remove removes all versions and markers of a key, the newest first: a version that is left is never hidden.
func (e *expirer) remove(ctx context.Context, key string) error {
	var all []worm.Version
	for v, err := range e.cfg.Store.Versions(ctx, key, "") {
		if err != nil {
			return err
		}
		if v.Key == key {
			all = append(all, v)
		}
	}
	slices.SortStableFunc(all, func(a, b worm.Version) int { return cmp.Compare(b.Modified.UnixNano(), a.Modified.UnixNano()) })
	for _, v := range all {
		if err := e.cfg.Deleter.Delete(ctx, key, v.ID); err != nil {
			return err
		}
	}
	return nil
}
