package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/internal/keyscope"
)

// Damage is what a key store lacks of what the control log knows and its newest root record names.
type Damage struct {
	Newest Root   // newest record that is there
	Lost   []Root // records that the control log knows and that are not there
	Packs  []string
	// StandIn is the newest record of the same generation of which nothing is missing: two approvers may let it stand in.
	// Its number and hash are zero if there is none.
	StandIn Root
	Missing uint64      // scopes that the newest record that is known had more than StandIn
	Weeks   []time.Time // first days of weeks, whose public intake keys were announced and whose private halves StandIn does not have
	Older   error       // not nil if the live generation is gone: an older one may not take its place
}

// Whole reports whether nothing is missing.
func (d *Damage) Whole() bool { return len(d.Lost)+len(d.Packs) == 0 && d.Older == nil }

// Inspect says what a key store lacks. It needs Store and Trust, and asks those custodians that are given.
func Inspect(ctx context.Context, cfg Config) (*Damage, error) {
	cfg.From, cfg.Identity = "", nil
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	d, _, err := s.damage(ctx)
	return d, errors.Join(err, s.Close())
}

// Openable lists the newest record of each generation of a key store that its custodians still open, or could, oldest first: of a copy from
// before an erasure there must be none. The store's rules are not asked, as nobody would who has stolen a copy. An error
// says which custodian could not be asked where that leaves it open.
func Openable(ctx context.Context, cfg Config) (found []Root, err error) {
	cfg.From, cfg.Identity = "", nil
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.depot.Refresh(ctx); err != nil {
		return nil, err
	}
	last, hash := s.depot.State().Last()
	if last == nil {
		return nil, errors.New("the store holds no root record of a key store")
	}
	var all []Root
	for _, e := range s.depot.Erasures() {
		all = append(all, Root{e.Before, e.Prev, e.Generation - 1})
	}
	for _, root := range append(all, Root{last.N, hash, last.Generation}) {
		r, err := s.depot.Record(ctx, root.N, root.Hash)
		if err != nil {
			return nil, err
		}
		top, failed := s.custody.top(ctx, r)
		top.Wipe()
		switch live, destroyed := s.custody.states(ctx, r); {
		case failed == nil, live: // the program that asks may refuse to use a key that is there
			found = append(found, root)
		case !destroyed:
			return nil, failed
		}
	}
	return found, nil
}

// states asks the custodians of a record: live if all of an authorised set say that they have their key, destroyed if those
// that have destroyed it block all sets.
func (c *custody) states(ctx context.Context, r *keyroot.Record) (live, destroyed bool) {
	said := map[string]custodian.State{}
	for name, m := range c.members {
		if status, err := m.Status(ctx, r.Generation); err == nil {
			said[name] = status.State
		}
	}
	for _, set := range r.Custody.Sets {
		live = live || !slices.ContainsFunc(set, func(name string) bool { return said[name] != custodian.Live })
	}
	return live, keyroot.Blocking(r.Custody.Sets, func(name string) bool { return said[name] == custodian.Destroyed })
}

// Recover lets an older record of the live generation stand in for what is lost, as an approved request says, and has
// folded again what the transport still holds. What is missing then is in the record and shows in verification, scope by
// scope. No other key service must be at work. It may be repeated after any failure.
func Recover(ctx context.Context, cfg Config) (d *Damage, err error) {
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if s.signer == nil {
		return nil, errReadOnly
	}
	d, stood, err := s.damage(ctx)
	if err != nil {
		return d, err
	}
	r, hash := s.recovery(), d.Newest.Hash
	switch {
	case d.Older != nil:
		return d, d.Older
	case r == nil:
		return d, errors.New("no approved request says which record stands in: 'stele recover request' makes one for two approvers")
	case slices.ContainsFunc(s.depot.State().Recoveries(), func(x keyroot.Recovered) bool { return x.Approval == r.ID }): // a process died before it said so
	case d.Whole():
		return d, errors.New("nothing is missing in the key store, so no record may stand in for another")
	default:
		if hash, err = s.standIn(ctx, r, d, stood); err != nil {
			return d, err
		}
	}
	if err := s.sync(ctx); err != nil {
		return d, err
	}
	s.log.Info("an older record of the key store stands in", "record", s.version.N, "hash", hash, "missing", d.Missing)
	if err := s.remember(ctx); err != nil {
		return d, err
	}
	return d, errors.Join(s.settle(ctx), s.drop(ctx, control.TypeKeyRoot, s.rootEntry()), s.drop(ctx, control.TypeOutcome, control.Outcome{Request: r.ID}))
}

// recovery is the approved request for one, nil if there is none.
func (s *Service) recovery() (out *control.Request) {
	s.control.View(func(c *control.State) {
		for _, r := range c.Requests {
			if r.What == control.WhatRecovery && r.Standing == control.Approved {
				copied := *r
				out = &copied
			}
		}
	})
	return out
}

// standIn makes the record that an approved request lets stand in for what is lost.
func (s *Service) standIn(ctx context.Context, r *control.Request, d *Damage, stood map[commit.Hex32]*keyroot.Record) (hash commit.Hex32, err error) {
	from := stood[r.Recovery.Hash]
	if from == nil || from.N != r.Recovery.N {
		return hash, fmt.Errorf("request %v is for record %d with hash %s, which is none of the live generation, or is not whole itself", r.ID, r.Recovery.N, r.Recovery.Hash)
	}
	top, err := s.custody.top(ctx, from)
	if err != nil {
		return hash, err
	}
	defer top.Wipe()
	ring, err := from.Open(&top, s.depot.Source(from.Packs))
	if err == nil {
		err = ring.Verify(ctx)
	}
	if err != nil {
		return hash, fmt.Errorf("record %d cannot stand in: %w", from.N, err)
	}
	last, _ := s.depot.State().Last()
	lost := []keyroot.Lost{}
	for _, l := range d.Lost {
		lost = append(lost, keyroot.Lost{N: l.N, Hash: l.Hash})
	}
	missing := s.newestLive() - min(s.newestLive(), from.Live)
	next := keyroot.Next{Ring: ring, Top: &top, Packs: from.Packs, NextPack: last.NextPack, Folded: from.Folded, Live: from.Live, Control: s.control.Size(),
		Time: time.Now(), Recovery: &keyroot.Recovery{From: from.N, Lost: lost, Missing: missing, Approval: r.ID}}
	file, err := s.depot.State().Build(s.depot.Tail(), next, s.random, s.signer)
	if err != nil {
		return hash, err
	}
	beaten, err := s.depot.Append(ctx, file)
	if err == nil && beaten {
		err = errors.New("another key service made a record meanwhile: stop it, and look again")
	}
	return keyroot.Hash(file), err
}

// damage looks for what is missing, and reads the records of the live generation that are whole, by hash.
func (s *Service) damage(ctx context.Context) (*Damage, map[commit.Hex32]*keyroot.Record, error) {
	if err := s.control.Refresh(ctx); err != nil {
		return nil, nil, err
	}
	if err := s.depot.Refresh(ctx); err != nil {
		return nil, nil, err
	}
	if err := s.depot.Complete(); err != nil {
		return nil, nil, err
	}
	last, hash := s.depot.State().Last()
	if last == nil {
		return nil, nil, errors.New("no root record of the key store is left: put them back from any copy of the store")
	}
	d := &Damage{Newest: Root{last.N, hash, last.Generation}}
	s.lost(d)
	if d.Older == nil {
		d.Older = s.custody.rollback(ctx, last.Generation)
	}
	var err error
	if d.Packs, err = s.depot.Missing(ctx, last); err != nil {
		return nil, nil, err
	}
	whole := map[commit.Hex32]*keyroot.Record{}
	if d.Whole() || d.Older != nil {
		return d, whole, nil
	}
	for _, l := range s.depot.State().StandIns() {
		r, err := s.depot.Record(ctx, l.N, l.Hash)
		if err != nil {
			return nil, nil, err
		}
		if gone, err := s.depot.Missing(ctx, r); err != nil {
			return nil, nil, err
		} else if len(gone) > 0 {
			continue
		}
		if whole[l.Hash] = r; d.StandIn.Generation == 0 {
			d.StandIn, d.Missing = Root{l.N, l.Hash, r.Generation}, s.newestLive()-min(s.newestLive(), r.Live)
			s.lostWeeks(ctx, d, r)
		}
	}
	return d, whole, nil
}

// lost fills in the records that the control log knows and that are not there.
func (s *Service) lost(d *Damage) {
	state := s.depot.State()
	s.control.View(func(c *control.State) {
		known := []Root{}
		for i := range c.KeyRoots {
			known = append(known, Root{c.KeyRoots[i].N, c.KeyRoots[i].Hash, c.KeyRoots[i].Generation})
		}
		for i := range c.Erasures {
			known = append(known, Root{c.Erasures[i].Root.N, c.Erasures[i].Root.Hash, c.Erasures[i].To})
		}
		for _, k := range known {
			if state.Require(k.N, k.Hash) == nil || slices.Contains(d.Lost, k) {
				continue
			}
			if d.Lost = append(d.Lost, k); k.Generation > d.Newest.Generation && d.Older == nil {
				d.Older = fmt.Errorf("the control log knows record %d of generation %d, and the newest that is there (under %s) is of generation %d, whose keys are destroyed or about to be: "+
					"what was erased would come back with it. Put record %d, or any of its generation, back from a copy", k.N, k.Generation, keydepot.Roots, d.Newest.Generation, k.N)
			}
		}
	})
}

// newestLive is the greatest number of scopes that a record of the live generation is known to have had.
func (s *Service) newestLive() uint64 {
	last, _ := s.depot.State().Last()
	live := last.Live
	s.control.View(func(c *control.State) {
		if n := len(c.KeyRoots); n > 0 && c.KeyRoots[n-1].Generation == last.Generation && c.KeyRoots[n-1].N > last.N {
			live = max(live, c.KeyRoots[n-1].Live)
		}
	})
	return live
}

// lostWeeks fills in the weeks to come whose intake keys are not in a record, if its custodians can be asked.
func (s *Service) lostWeeks(ctx context.Context, d *Damage, r *keyroot.Record) {
	top, err := s.custody.top(ctx, r)
	if err != nil {
		return
	}
	defer top.Wipe()
	ring, err := r.Open(&top, s.depot.Source(r.Packs))
	if err != nil {
		return
	}
	keys, err := ring.Intake(ctx)
	if err != nil {
		return
	}
	have := map[uint16]bool{}
	for i := range keys {
		have[keys[i].Week] = true
	}
	for _, in := range s.control.Policy().Intake {
		if in.Week >= keyscope.Week(time.Now()) && !have[in.Week] {
			d.Weeks = append(d.Weeks, keyscope.WeekStart(in.Week))
		}
	}
	slices.SortFunc(d.Weeks, time.Time.Compare)
}

// remember sets the tombstones of all requests whose selection can still be opened: those of lost records are lost.
func (s *Service) remember(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*control.Request
	b := &batch{cause: control.CauseRequest}
	s.control.View(func(c *control.State) {
		for _, r := range c.Requests {
			if r.What == control.WhatErase && (r.Standing == control.Done || len(r.Outcomes) > 0) { // others set theirs when they are carried out
				copied := *r
				all = append(all, &copied)
			}
		}
	})
	for _, r := range all {
		sel, err := s.selection(ctx, r.Select)
		if errors.Is(err, errSelection) || err == nil && sel.Tag == nil {
			continue // what it was about can be opened no more, and neither can grants of that time
		}
		if err != nil {
			return err
		}
		e := Erasure{Requests: [][32]byte{r.ID}, Cutoff: r.Time, Tags: [][16]byte{*sel.Tag}}
		b.asks = append(b.asks, e.asks()...)
	}
	marks, err := s.denials(ctx, b)
	if err != nil {
		return err
	}
	return s.foldAll(ctx, marks)
}
