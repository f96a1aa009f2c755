package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
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
	Newest Root       // newest record that is there
	Lost   []Root     // records that the control log knows and that are not there
	Packs  [][32]byte // SHA-256 of packs that the newest record names and that are not there
	// StandIn is the newest record of the same generation of which nothing is missing: two approvers may let it stand in.
	// Its number and hash are zero if there is none.
	StandIn Root
	Missing uint64      // scopes that the newest record that is known had more than StandIn
	Weeks   []time.Time // first days of weeks, whose public intake keys were announced and whose private halves StandIn does not have
	Older   error       // not nil if the live generation is gone: an older one may not take its place
	Away    error       // what those of the custodians say that were asked and do not give their shares of the live generation
	Closed  bool        // custodians were asked, and no authorised set of them opens it
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
	if err := s.control.Founded(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	d, _, err := s.damage(ctx)
	if last, _ := s.depot.State().Last(); err == nil && d.Older == nil && len(s.custody.members) > 0 {
		tops, away := s.custody.tops(ctx, last)
		d.Away, d.Closed = away, len(tops) == 0
	}
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
	d, from, err := s.damage(ctx)
	if err != nil {
		return d, err
	}
	r, hash := s.recovery(d), d.Newest.Hash
	switch {
	case d.Older != nil:
		return d, d.Older
	case r == nil && d.Whole():
		return d, errors.New("nothing is missing in the key store, so no record may stand in for another")
	case r == nil:
		return d, errors.New("no approved request says that just this was lost and which record stands in, or its time is over: 'stele recover request' makes one for two approvers")
	case !s.used(r):
		if hash, err = s.standIn(ctx, r, d, from); err != nil {
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
	return d, errors.Join(s.settle(ctx), s.sayRoot(ctx), s.say(ctx, r.ID, control.TypeOutcome, s.now(), control.Outcome{Request: r.ID}))
}

// recovery is the approved request for one that a process which died has begun to carry out, or else the one that says what is
// lost now and which record stands in for it; nil if there is none.
func (s *Service) recovery(d *Damage) (out *control.Request) {
	now := d.request()
	s.control.View(func(c *control.State) {
		for _, r := range c.Requests {
			if r.What != control.WhatRecovery || r.Standing != control.Approved {
				continue
			}
			if used := s.used(r); used || !d.Whole() && (out == nil || !s.used(out)) && reflect.DeepEqual(*r.Recovery, now) && !s.now().After(r.Until) {
				copied := *r
				out = &copied
			}
		}
	})
	return out
}

// used reports whether a record stands in by a request: none does twice.
func (s *Service) used(r *control.Request) bool {
	return slices.ContainsFunc(s.depot.State().Recoveries(), func(x keyroot.Recovered) bool { return x.Approval == r.ID })
}

// request is what a request says that is for just this.
func (d *Damage) request() control.Recovery {
	out := control.Recovery{RootRef: control.RootRef{N: d.StandIn.N, Hash: d.StandIn.Hash}, Generation: d.StandIn.Generation, Lost: []control.RootRef{},
		Packs: []commit.Hex32{}, Missing: d.Missing}
	for _, l := range d.Lost {
		out.Lost = append(out.Lost, control.RootRef{N: l.N, Hash: l.Hash})
	}
	for _, p := range d.Packs {
		out.Packs = append(out.Packs, p)
	}
	return out
}

// standIn makes the record that an approved request lets stand in for what is lost.
func (s *Service) standIn(ctx context.Context, r *control.Request, d *Damage, from *keyroot.Record) (hash commit.Hex32, err error) {
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
	lost := d.lost()
	next := keyroot.Next{Ring: ring, Top: &top, Packs: from.Packs, NextPack: last.NextPack, Folded: from.Folded, Live: from.Live, Control: s.control.Size(),
		Time: s.now(), Recovery: &keyroot.Recovery{From: from.N, Lost: lost, Missing: d.Missing, Approval: r.ID}}
	made := &keyroot.Recovered{Generation: from.Generation, Control: next.Control, Time: next.Time, Stood: keyroot.Lost{N: d.StandIn.N, Hash: d.StandIn.Hash},
		Live: from.Live, Had: last.Live, Recovery: *next.Recovery}
	s.control.View(func(c *control.State) { err = keydepot.CheckRecovery(c, made) })
	if err != nil {
		return hash, err
	}
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

// damage looks for what is missing, and reads the record that could stand in.
func (s *Service) damage(ctx context.Context) (*Damage, *keyroot.Record, error) {
	if err := s.control.RefreshWhole(ctx); err != nil {
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
	there := map[commit.Hex32]bool{}
	gone, err := s.depot.Missing(ctx, last, there)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range gone {
		d.Packs = append(d.Packs, p)
	}
	slices.SortFunc(d.Packs, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	if d.Whole() || d.Older != nil {
		return d, nil, nil
	}
	for _, l := range s.depot.State().StandIns() {
		r, err := s.depot.Record(ctx, l.N, l.Hash)
		if err != nil {
			return nil, nil, err
		}
		if gone, err = s.depot.Missing(ctx, r, there); err != nil {
			return nil, nil, err
		}
		if len(gone) == 0 {
			d.StandIn = Root{l.N, l.Hash, r.Generation}
			s.control.View(func(c *control.State) { d.Missing = keydepot.LostScopes(c, d.lost(), last.Live, r.Live) })
			s.lostWeeks(ctx, d, r)
			return d, r, nil
		}
	}
	return d, nil, nil
}

// lost are the lost records, as one that stands in for them names them.
func (d *Damage) lost() []keyroot.Lost {
	out := []keyroot.Lost{}
	for _, l := range d.Lost {
		out = append(out, keyroot.Lost{N: l.N, Hash: l.Hash})
	}
	return out
}

// lost fills in the records that the control log knows and that are not there.
func (s *Service) lost(d *Damage) {
	var gone []keydepot.Gone
	s.control.View(func(c *control.State) {
		gone = keydepot.Missing(c, s.depot.State(), keydepot.Known{}, keydepot.KnownBy(c))
	})
	gone = slices.DeleteFunc(gone, func(g keydepot.Gone) bool { return !g.Binds })
	slices.SortFunc(gone, func(a, b keydepot.Gone) int { return a.Compare(b.RootRef) })
	for _, g := range gone {
		if root := (Root{g.N, g.Hash, g.Generation}); !slices.Contains(d.Lost, root) {
			d.Lost = append(d.Lost, root)
		}
		if g.Left && d.Older == nil {
			d.Older = fmt.Errorf("the control log knows record %d of generation %d, and the newest that is there (under %s) is record %d of generation %d, whose keys are destroyed or about to be: "+
				"what was erased would come back with it. Put record %d, or any of its generation, back from a copy", g.N, g.Generation, keydepot.Roots, d.Newest.N, d.Newest.Generation, g.N)
		}
	}
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
		if in.Week >= keyscope.Week(s.now()) && !have[in.Week] {
			d.Weeks = append(d.Weeks, keyscope.WeekStart(in.Week))
		}
	}
	slices.SortFunc(d.Weeks, time.Time.Compare)
}

// remember sets the tombstones of all requests whose intake key is still there: those of lost records are lost.
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
		if errors.Is(err, errSelection) && !errors.Is(err, errAway) || err == nil && sel.Tag == nil {
			continue // what it was about can be opened no more, and neither can grants of that time; or it never could
		}
		if err != nil {
			return fmt.Errorf("request %v: %w; what comes late for it would live. Then run this again", r.ID, err)
		}
		e := Erasure{Requests: [][32]byte{r.ID}, Cutoff: r.Time, Tags: [][16]byte{*sel.Tag}}
		b.asks = append(b.asks, e.asks()...)
	}
	marks, err := s.denials(ctx, b)
	if err != nil {
		return err
	}
	if err := s.markAll(ctx, marks); err != nil { // before what they are for is folded again
		return err
	}
	if err := s.foldAll(ctx); err != nil && !errors.Is(err, errOther) {
		return err
	}
	return nil
}
