package keys

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
)

// Erasure says what to erase. Selectors add up; what is held stays.
type Erasure struct {
	// Requests are the hashes of the control entries that ask for this. An erasure whose requests are in the key store
	// already is finished, not repeated.
	Requests [][32]byte
	Tags     [][16]byte // of tenants, subjects, sessions: grant.md
	Scopes   [][16]byte // ids
	Classes  []string
	// Cutoff is the time of the request: what carries one of Tags and started by then is destroyed also if its grant comes
	// later. Now if zero.
	Cutoff time.Time

	days  []uint16      // path days whose classes have expired
	weeks []uint16      // of intake keys that are over
	ends  []ended       // of sessions
	cause control.Cause // request if empty
	since int           // records of erasures that are known to be another step of the same requests
}

// Erased says what an erasure did, as certificates need it.
type Erased struct {
	Before, After  Root   // the records of the generation that is destroyed, and of the new one; equal if nothing was there to erase
	Scopes         uint64 // keys that are gone
	Removed, Spent uint64 // paths that are gone, and that were added
	Held           uint64 // keys that a hold keeps; they are denied to readers
	Retained       uint64 // keys that minimum retention keeps, the last of them until Until
	Until          time.Time
	List           [32]byte  // SHA-256 of the list of what is gone, under keys/erased/
	ListSize       int64     // bytes
	ListRoot       [32]byte  // RFC 6962 root over it
	Denied         time.Time // from when on readers got no answer
	Switched       time.Time // when the new generation was read back
	Folded         map[string]int64
	// Generations are those that the erasure needed dead, newest first: the one before, and older ones that were not yet.
	Generations []Generation
	control     uint64 // size of the control log by which it was judged
	whole       bool   // scopes went whole for records or a time that was asked for
	// Watermark is the least generation that can still be opened, as custodians say.
	Watermark uint64
}

// Root names a root record.
type Root struct {
	N          uint64
	Hash       [32]byte
	Generation uint64
}

// Erase erases keys: it denies them to readers, folds what was granted before the request, makes a generation without
// them, compares, switches, and has the old generation destroyed. It may be repeated after any failure, and goes on
// where it stood; when it returns nil, a blocking set of custodians has destroyed every generation that had the keys.
// An error that comes after the switch is one about destruction, which [Service.Run] repeats.
func (s *Service) Erase(ctx context.Context, e Erasure) (*Erased, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signer == nil {
		return nil, errReadOnly
	}
	out, err := s.erase(ctx, e)
	if err != nil {
		return nil, err
	}
	return out, s.destroy(ctx, out)
}

// gateSample is how many keys that stay are tried before anything is destroyed.
const gateSample = 32

// erase does all but destroying. Requires mu.
func (s *Service) erase(ctx context.Context, e Erasure) (*Erased, error) {
	if err := s.sync(ctx); err != nil {
		return nil, err
	}
	if out := s.done(&e); out != nil {
		return out, nil
	}
	if err := s.deny(ctx, &e); err != nil {
		return nil, err
	}
	denied := s.version.Time
	for {
		judged, err := s.judge(ctx)
		if err != nil {
			return nil, err
		}
		out, lost, err := s.leaveOut(ctx, &e, judged)
		if err != nil {
			return nil, err
		}
		if !lost {
			out.Denied = denied
			return out, s.settle(ctx)
		}
		if err := s.foldAll(ctx, keyring.Batch{}); err != nil {
			return nil, err
		}
		if out := s.done(&e); out != nil {
			return out, nil
		}
	}
}

// deny folds up to now and sets tombstones: from here on readers get no answer about what is to go.
func (s *Service) deny(ctx context.Context, e *Erasure) error {
	if e.Cutoff.IsZero() {
		e.Cutoff = time.Now()
	}
	have, _, err := s.version.ring.Marks(ctx)
	if err != nil {
		return err
	}
	var marks keyring.Batch
	requests := e.Requests
	if len(requests) == 0 {
		requests = [][32]byte{{}} // nobody's: what comes under it is counted, and nothing more
	}
	for _, tag := range e.Tags {
		for _, r := range requests {
			t := keyring.Tombstone{Tag: keyring.ShortTag(tag), Cutoff: max(0, e.Cutoff.UnixNano()), Request: r}
			if !slices.Contains(have, t) && !slices.Contains(marks.Tombstones, t) {
				marks.Tombstones = append(marks.Tombstones, t)
			}
		}
	}
	if err := s.foldAll(ctx, marks); err != nil {
		return err
	}
	return s.step("denied")
}

// leaveOut makes the next generation and switches to it. Requires mu.
func (s *Service) leaveOut(ctx context.Context, e *Erasure, j *judgement) (out *Erased, lost bool, err error) {
	before := s.version
	out = &Erased{Before: rootOf(&before), After: rootOf(&before), Switched: before.Time, Folded: positions(before.Folded), control: j.control}
	ring := before.ring.Cached(1 << 14)
	what, said, err := s.choose(ctx, ring, e, j)
	if err != nil {
		return nil, false, err
	}
	out.Held, out.Retained, out.Until = said.held, said.retained, said.until
	if len(what.Scopes)+len(what.Days)+len(what.Weeks) == 0 {
		return out, false, nil
	}
	file, top, err := s.without(ctx, ring, what, e.Requests, j.control)
	if err != nil {
		return nil, false, err
	}
	if late, err := s.heldSince(ctx, j.control); err != nil || late {
		return nil, late, err
	}
	if lost, err = s.put(ctx, file, top); err != nil || lost {
		return nil, lost, err
	}
	if err := s.step("switched"); err != nil {
		return nil, false, err
	}
	out.After, out.Switched = rootOf(&s.version), s.version.Time
	out.fill(s.version.Erased)
	s.log.Info("keys erased", "scopes", out.Scopes, "held", out.Held, "retained", out.Retained, "generation", s.version.Generation)
	return out, false, nil
}

// without makes the record without what was chosen, and checks it. Nothing counts yet.
func (s *Service) without(ctx context.Context, ring *keyring.Ring, what *keyring.Erasure, requests [][32]byte, size uint64) (file []byte, top *keyroot.Top, err error) {
	before := s.version
	w := s.depot.Writer(ctx, before.Record, s.random)
	after, list, err := ring.Erase(ctx, w.Writer, *what)
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = s.step("packs")
	}
	if err != nil {
		return nil, nil, err
	}
	sum, length, err := s.depot.PutList(ctx, list)
	if err == nil {
		err = s.step("list")
	}
	if err != nil {
		return nil, nil, err
	}
	top, custody, err := s.custody.found(ctx, before.Generation+1, before.Custody.Sets, s.random)
	if err == nil {
		err = s.step("custodians")
	}
	if err != nil {
		return nil, nil, err
	}
	next := keyroot.Next{Ring: after, Top: top, Packs: w.Named(before.Record, after), NextPack: w.Next(), Folded: before.Folded,
		Live: before.Live - list.Scopes(), Control: size, Time: time.Now(), Custody: custody,
		Erased: &keyroot.Erased{Requests: hashes(requests), Scopes: list.Scopes(), Removed: list.Paths(), Spent: uint64(len(list.Spent)),
			Root: list.Root(), List: sum, Size: length}}
	if file, err = s.depot.State().Build(s.depot.Tail(), next, s.random, s.signer); err != nil {
		return nil, nil, err
	}
	if err := s.gate(ctx, ring, file, what, list); err != nil {
		return nil, nil, err
	}
	return file, top, s.step("gate")
}

// gate looks at the next version from all sides before anything is destroyed for it: what its custodians give opens the
// record that is about to be written, and what that leads to is all that it must be.
func (s *Service) gate(ctx context.Context, before *keyring.Ring, file []byte, what *keyring.Erasure, list *keyring.Erased) error {
	r, err := keyroot.Peek(file)
	if err != nil {
		return err
	}
	tops, failed := s.custody.tops(ctx, r)
	if len(tops) == 0 {
		return fmt.Errorf("no authorised set of custodians gives the new top key: %w", failed)
	}
	var after *keyring.Ring
	for n, top := range tops {
		if after, err = r.Open(&top, s.depot.Source(r.Packs)); err != nil {
			return fmt.Errorf("custodians %q: %w", r.Custody.Sets[n], err)
		}
	}
	if err := keyring.Gate(ctx, before, after, what, list, gateSample, s.random); err != nil {
		return err
	}
	return keyring.AuditErasure(ctx, s.version.Public(s.depot.Source(s.version.Packs)), r.Public(s.depot.Source(r.Packs)), list)
}

// choose finds what an erasure takes, and what is kept from it.
func (s *Service) choose(ctx context.Context, ring *keyring.Ring, e *Erasure, j *judgement) (*keyring.Erasure, verdicts, error) {
	cause := e.cause
	if cause == "" {
		cause = control.CauseRequest
	}
	now, seen := time.Now(), map[[32]byte]bool{}
	what := &keyring.Erasure{Weeks: e.weeks, Release: j.release}
	var kept verdicts
	for _, day := range e.days {
		all, err := ring.Day(ctx, day)
		if err != nil {
			return nil, kept, err
		}
		said := j.decide(all, now, cause, seen)
		if len(said.free) == len(all) && len(all) > 0 {
			what.Days = append(what.Days, day) // one path of each trie, whatever is below
			continue
		}
		what.Scopes = append(what.Scopes, said.free...)
		kept.add(&said)
	}
	found, err := s.selected(ctx, ring, e)
	if err != nil {
		return nil, kept, err
	}
	said := j.decide(found, now, cause, seen)
	what.Scopes = append(what.Scopes, said.free...)
	kept.add(&said)
	return what, kept, nil
}

// selected finds the keys that the selectors of an erasure name.
func (s *Service) selected(ctx context.Context, ring *keyring.Ring, e *Erasure) ([]keyring.Located, error) {
	found, err := s.endedScopes(ctx, ring, e.ends)
	if err != nil {
		return nil, err
	}
	for _, tag := range e.Tags {
		tagged, err := ring.Tagged(ctx, keyring.ShortTag(tag))
		if err != nil {
			return nil, err
		}
		found = append(found, before(tagged, e.Cutoff)...)
	}
	if len(e.Scopes) > 0 {
		named, err := ring.Find(ctx, e.Scopes)
		if err != nil {
			return nil, err
		}
		found = append(found, named...)
	}
	if len(e.Classes) > 0 {
		for l, err := range ring.All(ctx) {
			if err != nil {
				return nil, err
			}
			if slices.Contains(e.Classes, l.Class) && l.Start <= e.Cutoff.UnixNano() {
				found = append(found, l)
			}
		}
	}
	return found, nil
}

// before leaves out what started after a time.
func before(found []keyring.Located, cutoff time.Time) []keyring.Located {
	return slices.DeleteFunc(found, func(l keyring.Located) bool { return l.Start > cutoff.UnixNano() })
}

func (v *verdicts) add(more *verdicts) {
	v.held += more.held
	v.retained += more.retained
	if more.until.After(v.until) {
		v.until = more.until
	}
}

// done is the erasure that has these requests, if there is one already.
func (s *Service) done(e *Erasure) *Erased {
	if len(e.Requests) == 0 {
		return nil
	}
	for _, d := range s.depot.Erasures()[e.since:] {
		if slices.Equal(d.Requests, hashes(e.Requests)) {
			out := &Erased{Before: Root{d.Before, d.Prev, d.Generation - 1}, After: Root{d.N, d.Hash, d.Generation}, Switched: d.Time,
				Denied: d.Time, Folded: positions(s.version.Folded), control: d.Control}
			out.fill(&d.Erased)
			return out
		}
	}
	return nil
}

func (e *Erased) fill(r *keyroot.Erased) {
	e.Scopes, e.Removed, e.Spent, e.List, e.ListSize, e.ListRoot = r.Scopes, r.Removed, r.Spent, r.List, r.Size, r.Root
}

func rootOf(v *version) Root { return Root{v.N, v.hash, v.Generation} }

func hashes(all [][32]byte) []commit.Hex32 {
	out := []commit.Hex32{}
	for _, h := range all {
		out = append(out, h)
	}
	return out
}

func positions(s commit.Source) map[string]int64 {
	out := map[string]int64{}
	for lane, at := range s.Lanes {
		out[lane] = at.Next
	}
	return out
}
