// Package ledger reads and extends the control log of an archive in its store: docs/formats/control.md. What the
// entries mean is package control's.
package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/objstore"
)

// Where things lie in the store.
const (
	Prefix      = "control/log/"
	HeadsPrefix = "control/checkpoints/"
	InboxPrefix = "control/inbox/"
	// maxBatch bounds the entries of one object of the control log.
	maxBatch = 256
	// maxRounds bounds how often TakeIn looks at the inbox: entries name others, which go before them.
	maxRounds = 8
)

// Log reads and extends the control log. Safe for concurrent use.
type Log struct {
	store worm.Store
	space objstore.Numbered

	mu        sync.Mutex // guards what follows
	state     *control.State
	tail      chain.Tail
	findings  chain.Findings
	whole     bool   // no checkpoint was seen beyond its end
	missing   error  // the log builds on what is not there: nothing may be added
	published uint64 // size of the newest checkpoint that this process knows to be in the store
}

// Open reads the control log. That it is there, and this archive's, is for [Log.Founded] to say.
func Open(ctx context.Context, store worm.Store, trust identity.Trust) (*Log, error) {
	state, err := control.NewState(trust)
	if err != nil {
		return nil, err
	}
	c := &Log{store: store, state: state}
	c.space = objstore.Numbered{Store: store, Prefix: Prefix, Lock: c.lockNow}
	return c, c.Refresh(ctx)
}

// LockWith says how objects are locked that this process adds, whatever the policy says.
func (c *Log) LockWith(lock func() worm.Lock) { c.space.Lock = lock }

// Findings are what the chain holds that it should not.
func (c *Log) Findings() (f chain.Findings) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.findings
}

// lockBeside is how objects beside the log are locked now.
func (c *Log) lockBeside() worm.Lock {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.space.Lock()
}

// lockNow is the lock of control objects: like data, by the policy in force. Requires mu or a single caller.
func (c *Log) lockNow() worm.Lock {
	p := c.state.Policy()
	if p == nil {
		return worm.Lock{Mode: worm.LockNone}
	}
	return objstore.LockFor(p.Lock.Mode, p.Lock.Keep.Duration(), time.Now())
}

// Refresh reads on to the end of the log.
func (c *Log) Refresh(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read(ctx)
}

func (c *Log) read(ctx context.Context) error {
	c.missing = nil
	tail, err := chain.Read(ctx, c.space, c.tail, c.state.Judge, func(f chain.Finding) {
		if f.Kind == chain.Missing {
			c.missing = f
		}
		c.findings.Add(f)
	})
	c.tail = tail
	return err
}

// RefreshWhole is Refresh, and an error if the log builds on what is not there: what was read ends before it, and holds, or
// approvals that were taken back, may be behind.
func (c *Log) RefreshWhole(ctx context.Context) error {
	if err := c.Refresh(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.missing == nil {
		return nil
	}
	return fmt.Errorf("control log: %w. An object was removed, replaced or is not listed; put it back from a copy", c.missing)
}

// View calls use with the state; use must not keep it.
func (c *Log) View(use func(*control.State)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	use(c.state)
}

// CommitKeys returns the verifiers of commits now, and fails if the policy does not name the key name by.
func (c *Log) CommitKeys(by string) (vs note.Verifiers, err error) {
	c.View(func(s *control.State) {
		vs, err = s.Commits(s.Size())
		if err == nil && !s.MayCommit(by) {
			if err = fmt.Errorf("%s is in the access policy of no compactor", by); revoked(s, by) {
				err = fmt.Errorf("%s was revoked: what it committed before stands, and it can add nothing", by)
			}
		}
	})
	return vs, err
}

func revoked(s *control.State, by string) bool {
	_, yes := s.Revoked(by)
	return yes
}

// Told reports whether the log holds this divergence already.
func (c *Log) Told(d control.Divergence) (yes bool) {
	c.View(func(s *control.State) {
		for _, have := range s.Divergences {
			same := have.Detail == d.Detail
			if d.Stream != nil { // one for each stream: it could make any number of them
				same = have.Stream != nil && *have.Stream == *d.Stream
			}
			yes = yes || same && have.Log == d.Log && have.Kind == d.Kind
		}
	})
	return yes
}

// Head is the newest head of a log by which nobody may go on without its commit, zero if there is none.
func (c *Log) Head(log string) (h control.Head) {
	c.View(func(s *control.State) { h = s.Binding(log) })
	return h
}

// Next is the key of the object that would follow what was read.
func (c *Log) Next() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.space.Key(c.tail.Next)
}

// Periods are those of the logs that have a head here and whose origin starts with prefix.
func (c *Log) Periods(prefix string) (out []string) {
	c.View(func(s *control.State) {
		for log := range s.Heads {
			if period, ok := strings.CutPrefix(log, prefix); ok {
				out = append(out, period)
			}
		}
	})
	return out
}

// Size is how many entries were read.
func (c *Log) Size() (n uint64) {
	c.View(func(s *control.State) { n = s.Size() })
	return n
}

// Policy is the access policy in force, nil without one.
func (c *Log) Policy() (p *control.Policy) {
	c.View(func(s *control.State) { p = s.Policy() })
	return p
}

// Effective says why an entry that is in the log has no effect: another took its place meanwhile, say.
func (c *Log) Effective(entry string) (err error) {
	hash := commit.Hex32(sha256.Sum256([]byte(entry)))
	c.View(func(s *control.State) {
		for _, l := range s.Listed {
			if l.Hash == hash && l.Unauthorised != nil {
				err = fmt.Errorf("the change came too late and has no effect, somebody else made one meanwhile; make it again: %w", l.Unauthorised)
			}
		}
	})
	return err
}

// Drop leaves an entry in the inbox for whoever holds the control key. That it lies there already is no error; that other bytes
// lie in its place is one that wraps fs.ErrExist.
func (c *Log) Drop(ctx context.Context, entry string) error {
	key := inboxKey([]byte(entry))
	_, err := c.store.Create(ctx, key, []byte(entry), worm.Lock{Mode: worm.LockNone})
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if ours, failed := c.holds(ctx, key, []byte(entry)); ours || failed != nil {
		return failed
	}
	return fmt.Errorf("%s holds other bytes than its name says: %w", key, err)
}

func inboxKey(entry []byte) string { return fmt.Sprintf("%s%x", InboxPrefix, sha256.Sum256(entry)) }

// Inbox returns the entries of the inbox that would have an effect now and are not in the log yet, oldest first, and those
// whose refusal is worth a note. An entry that cannot be read does not keep the others out. What names another entry may
// have an effect only when that one is in the log: who sequences looks again until nothing comes.
func (c *Log) Inbox(ctx context.Context) (entries []string, refused []control.Refusal, err error) {
	seen, now := "", time.Now()
	times := map[string]time.Time{}
	for v, err := range c.store.Versions(ctx, InboxPrefix, "") {
		if err != nil {
			return nil, nil, err
		}
		if v.Deleted || v.Key == seen || v.Size > control.MaxEntry || c.taken(v.Key) {
			continue
		}
		data, err := c.store.Read(ctx, v.Key, v.ID, worm.Range{})
		if err != nil {
			if ctx.Err() != nil {
				return nil, nil, err
			}
			continue // the next look at the inbox comes soon
		}
		if inboxKey(data) != v.Key {
			continue // somebody's, and maybe over the entry
		}
		seen = v.Key
		e := string(data)
		c.View(func(s *control.State) {
			switch at, err := s.Check(e, now); {
			case s.Has(e):
			case err == nil:
				entries, times[e] = append(entries, e), at
			default:
				if r, ok := s.Refuse(e, now); ok {
					refused = append(refused, r)
				}
			}
		})
	}
	slices.SortStableFunc(entries, func(a, b string) int { return times[a].Compare(times[b]) })
	return entries, refused, nil
}

// TakeIn puts what is in the inbox into the log, and after it the notes of what is refused, which note makes entries of.
// signer holds the control key.
func (c *Log) TakeIn(ctx context.Context, signer note.Signer, note func(control.Refusal) (string, error)) error {
	for range maxRounds {
		entries, refused, err := c.Inbox(ctx)
		if err != nil {
			return err
		}
		if len(entries) == 0 && len(refused) == 0 {
			return nil
		}
		before := c.Size()
		if err := c.Append(ctx, signer, entries...); err != nil {
			return err
		}
		for _, r := range refused {
			e, err := note(r)
			if err != nil {
				return err
			}
			if c.fits(e) { // one after the other: there is room for only so many
				if err := c.Append(ctx, signer, e); err != nil {
					return err
				}
			}
		}
		if c.Size() == before {
			return nil
		}
	}
	return nil
}

// fits reports whether an entry would have an effect now.
func (c *Log) fits(e string) (ok bool) {
	c.View(func(s *control.State) {
		_, err := s.Check(e, time.Now())
		ok = err == nil
	})
	return ok
}

// taken reports whether the entry that a key of the inbox names is in the log, or was refused.
func (c *Log) taken(key string) (yes bool) {
	var sum commit.Hex32
	if sum.UnmarshalText([]byte(strings.TrimPrefix(key, InboxPrefix))) == nil {
		c.View(func(s *control.State) { yes = s.HasHash(sum) || s.Refused(sum) })
	}
	return yes
}
