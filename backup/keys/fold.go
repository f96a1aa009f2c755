package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/internal/objstore"
)

// errReadOnly says that the service was opened without an identity.
var errReadOnly = errors.New("this key service reads only: it was opened without keyservice.stele")

// Run folds grants into the key store and erases what policy asks for, until ctx ends, and returns ctx.Err() then, or until
// the access policy does not name this service any more. Of
// several services, the one that has the grants transport works; the others answer requests.
func (s *Service) Run(ctx context.Context) error {
	if s.signer == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	if s.grants == nil {
		return cmp.Or(s.work(ctx), ctx.Err())
	}
	for ctx.Err() == nil {
		err := s.grants.run(ctx, s.fails, s.work)
		if ctx.Err() == nil && errors.Is(err, errRevoked) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			s.fails(err)
			s.log.Error("key service", "err", err)
			objstore.Pause(ctx, time.Second)
		}
	}
	return ctx.Err()
}

// work folds and erases while ctx lasts, and this service may.
func (s *Service) work(ctx context.Context) error {
	for ctx.Err() == nil {
		err := s.Fold(ctx)
		if ctx.Err() == nil {
			s.fails(err)
		}
		if err == nil { // a request that cannot be carried out holds nothing else up
			err = errors.Join(s.carryOutDue(ctx), s.eraseDue(ctx))
		}
		if errors.Is(err, errRevoked) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("key service", "err", err)
		}
		objstore.Pause(ctx, s.cfg.FoldEvery)
	}
	return nil
}

func (s *Service) carryOutDue(ctx context.Context) error {
	_, err := s.carryOut(ctx, s.batchDue)
	return err
}

// Fold takes in all grants that the transport holds now. When it returns nil they are in the key store, and a root record
// that names them was read back.
func (s *Service) Fold(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.foldAll(ctx)
}

// foldAll folds the transport to its end. Requires mu.
func (s *Service) foldAll(ctx context.Context) error {
	if s.signer == nil {
		return errReadOnly
	}
	for {
		if err := errors.Join(s.sync(ctx), s.mayWrite()); err != nil {
			return err
		}
		holds, err := s.foldHolds(ctx)
		if err != nil {
			return err
		}
		if _, err := s.clock(ctx); err != nil { // by which grants are kept
			return err
		}
		unread := s.readTail(ctx)
		if unread != nil && !(errors.Is(unread, errOther) && s.pending.moved) { // of a topic that was made anew, what was read is in memory only
			return unread
		}
		again := unread == nil && s.pending.full()
		lost, err := s.persist(ctx, holds.control, keyring.Batch{})
		if err != nil {
			return errors.Join(unread, err)
		}
		switch {
		case lost || again:
		case unread != nil:
			return unread
		default:
			return s.settle(ctx)
		}
	}
}

// mark brings marks into the tries, alone: what the transport holds is judged by them, also what was read before. lost says that
// there is another newest record than was known, and that nothing was marked. Requires mu.
func (s *Service) mark(ctx context.Context, marks keyring.Batch) (lost bool, err error) {
	if len(marks.Tombstones)+len(marks.Deferred) == 0 {
		return false, nil
	}
	known := s.version.hash
	if err := s.step("marks"); err != nil {
		return false, err
	}
	if err := errors.Join(s.sync(ctx), s.mayWrite()); err != nil {
		return false, err
	}
	holds, err := s.foldHolds(ctx)
	if err != nil || s.version.hash != known {
		return err == nil, err
	}
	if s.pending, err = s.begin(ctx); err != nil {
		return false, err
	}
	return s.persist(ctx, holds.control, marks)
}

// markAll brings marks into the tries, whoever else makes records. Requires mu.
func (s *Service) markAll(ctx context.Context, marks keyring.Batch) error {
	for {
		if lost, err := s.mark(ctx, marks); err != nil || !lost {
			return err
		}
	}
}

// fenced reports whether a record is due because a key service was revoked since the newest one was made: behind it the
// revoked key can add nothing. Requires mu.
func (s *Service) fenced() (due bool) {
	s.control.View(func(c *control.State) { due = s.version.Control < c.KeepersRevoked() })
	return due
}

// errRevoked says that this service may write no more.
var errRevoked = errors.New("this key service is not in the access policy: it was revoked, or never added")

// mayWrite is an error if the policy does not name this key service.
func (s *Service) mayWrite() (err error) {
	s.control.View(func(c *control.State) {
		if s.signer != nil && c.Policy() != nil && !c.MayKeep(s.signer.Name()) {
			err = fmt.Errorf("%w (%s)", errRevoked, s.signer.Name())
		}
	})
	return err
}

// persist makes the next record of what is pending, if there is anything. lost says that another service's record won:
// what was done here counts for nothing. It is made under the entries of the control log by which grants were judged. Requires mu.
func (s *Service) persist(ctx context.Context, entries uint64, marks keyring.Batch) (lost bool, err error) {
	p := s.pending
	batch, fold := p.batch, p.fold
	batch.Tombstones, batch.Holds, batch.Deferred = marks.Tombstones, marks.Holds, marks.Deferred
	if batch.Intake, err = s.missingWeeks(ctx); err != nil {
		return false, err
	}
	fold.Intake = uint64(len(batch.Intake))
	if !p.moved && !s.fenced() && len(batch.Intake)+len(batch.Tombstones)+len(batch.Holds)+len(batch.Deferred) == 0 {
		return false, nil
	}
	w := s.depot.Writer(ctx, s.version.Record, keydepot.FoldPack, s.random)
	ring, err := s.version.ring.Fold(ctx, w.Writer, batch)
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = s.step("fold: packs")
	}
	if err != nil {
		return false, err
	}
	next := keyroot.Next{Ring: ring, Top: &s.version.top, Packs: w.Named(s.version.Record, ring), NextPack: w.Next(), Folded: p.folded,
		Live: s.version.Live + fold.Added, Control: entries, Time: s.now(), Fold: &fold}
	ring.Packs = s.depot.Source(next.Packs) // read from where it lies from here on
	if err := keyring.CheckFold(ctx, s.version.ring, ring, batch); err != nil {
		return false, err
	}
	ends := p.ends
	file, err := s.depot.State().Build(s.depot.Tail(), next, s.random, s.signer)
	if err != nil {
		return false, err
	}
	if lost, err = s.put(ctx, file, &s.version.top); err != nil || lost {
		return lost, err
	}
	s.policy.ends = append(s.policy.ends, ends...)
	return false, nil
}

// put tries to make a record the next one, and opens what won. Requires mu.
func (s *Service) put(ctx context.Context, file []byte, topKey *keyroot.Top) (lost bool, err error) {
	if lost, err = s.depot.Append(ctx, file); err != nil {
		return false, err
	}
	if lost {
		s.log.Info("another key service made the next record; going on from there", "record", s.depot.Next())
		return true, s.sync(ctx)
	}
	if err := s.step("put"); err != nil {
		return false, err
	}
	last, hash := s.depot.State().Last()
	top := *topKey
	ring, err := last.Open(&top, s.depot.Source(last.Packs))
	if err != nil {
		return false, err
	}
	s.version.top.Wipe()
	s.version = version{last, hash, top, ring}
	s.pending, err = s.begin(ctx)
	return false, err
}

// settle does what a record that was read back allows: grants are removed below it, locks extended, the control log told.
// What fails here is done again with the next fold. Requires mu.
func (s *Service) settle(ctx context.Context) error {
	away := s.replicate(ctx)
	if away != nil {
		s.log.Warn("grants are kept and old keys not destroyed until the replica has the newest record", "err", away)
	}
	if away == nil && s.ours(ctx) {
		if err := s.grants.trim(ctx, s.removable(ctx)); err != nil {
			s.log.Warn("grants that are folded could not be removed", "err", err)
		}
	}
	if err := s.depot.Extend(ctx, s.version.Record, s.now()); err != nil {
		s.log.Warn("key store", "err", err)
	}
	if err := s.tell(ctx); err != nil {
		s.log.Warn("control log", "err", err)
	}
	return nil
}

// ours reports whether the grants transport is there, and the one that the key store was filled from: of another one nothing
// is in the key store, whatever the positions are.
func (s *Service) ours(ctx context.Context) bool {
	if s.grants == nil {
		return false
	}
	cluster, topic, err := s.grants.identity(ctx)
	return err == nil && s.version.Folded.Cluster == cluster && s.version.Folded.Topic == topic
}
