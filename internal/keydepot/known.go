package keydepot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/internal/ledger"
)

// Gone is a record that the control log knows and that is not there.
type Gone struct {
	control.RootRef
	Generation uint64
	Left       bool // its loss takes an erasure back: no record may stand in for it
	Binds      bool // nobody may go on without it: who says that it was there was not revoked since, or before that
}

// Known is how many entries about root records a control log holds.
type Known struct{ Roots, Erasures int }

// KnownBy is all that a control log knows.
func KnownBy(c *control.State) Known { return Known{len(c.KeyRoots), len(c.Erasures)} }

// Missing lists the records, of those that the control log got to know between two looks at it, that the chain has not, and
// that were not lost as two approvers have decided. The chain was read after the second look.
func Missing(c *control.State, k *keyroot.State, from, to Known) (gone []Gone) {
	newest := uint64(0)
	if last, _ := k.Last(); last != nil {
		newest = last.Generation
	}
	add := func(root control.RootRef, generation uint64, by string, first bool) {
		there := k.Require(root.N, root.Hash) == nil
		if there && generation <= newest || !first && generation <= newest && Excused(c, k, root) {
			return
		}
		gone = append(gone, Gone{root, generation, first || generation > newest, c.BindsRoot(by, root.N)})
	}
	for i := from.Roots; i < to.Roots; i++ {
		r := &c.KeyRoots[i]
		add(control.RootRef{N: r.N, Hash: r.Hash}, r.Generation, r.By, false)
	}
	for i := from.Erasures; i < to.Erasures; i++ {
		add(c.Erasures[i].Root, c.Erasures[i].To, c.Erasures[i].By, true)
	}
	return gone
}

// Excused reports whether two approvers have decided that a record is lost. Its hash says which one; of what generation it was,
// anybody who was a key service can claim.
func Excused(c *control.State, k *keyroot.State, root control.RootRef) bool {
	return slices.ContainsFunc(k.Recoveries(), func(x keyroot.Recovered) bool {
		return slices.Contains(x.Lost, keyroot.Lost{N: root.N, Hash: root.Hash}) && CheckRecovery(c, &x) == nil
	})
}

// CheckRecovery reports why a record that lets another stand in does not do as two approvers have decided.
func CheckRecovery(c *control.State, x *keyroot.Recovered) error {
	r := c.Request(x.Approval)
	if r == nil || r.What != control.WhatRecovery {
		return fmt.Errorf("the control log holds no request %v for that", x.Approval)
	}
	lost := make([]keyroot.Lost, len(r.Recovery.Lost))
	for i, l := range r.Recovery.Lost {
		lost[i] = keyroot.Lost{N: l.N, Hash: l.Hash}
	}
	_, approved := r.ApprovedAt(x.Control)
	switch missing := LostScopes(c, lost, x.Had, x.Live); {
	case !approved:
		return fmt.Errorf("request %v was not approved when the control log had %d entries, by which the record was made", r.ID, x.Control)
	case x.Time.After(r.Until):
		return fmt.Errorf("request %v could be used until %s, and the record was made on %s", r.ID, r.Until.Format(time.RFC3339), x.Time.Format(time.RFC3339))
	case r.Recovery.RootRef != control.RootRef{N: x.Stood.N, Hash: x.Stood.Hash}, r.Recovery.Generation != x.Generation:
		return fmt.Errorf("request %v is to let record %d of generation %d stand in", r.ID, r.Recovery.N, r.Recovery.Generation)
	case !slices.Equal(lost, x.Lost):
		return fmt.Errorf("request %v says that other records are lost", r.ID)
	case x.Missing != missing || r.Recovery.Missing != missing:
		return fmt.Errorf("%d scopes were missing; request %v says %d, and the record %d", missing, r.ID, r.Recovery.Missing, x.Missing)
	}
	return nil
}

// LostScopes is how many scopes the largest of some lost records, as the control log knows them, or one with had scopes, had
// more than one with live.
func LostScopes(c *control.State, lost []keyroot.Lost, had, live uint64) uint64 {
	hashes := map[commit.Hex32]bool{}
	for _, l := range lost {
		hashes[l.Hash] = true
	}
	for i := range c.KeyRoots {
		if r := &c.KeyRoots[i]; hashes[r.Hash] {
			had = max(had, r.Live)
		}
	}
	return had - min(had, live)
}

// errAhead means that a record is newer than the control log beside it.
var errAhead = errors.New("control/ is older here than keys/")

// Keepers are those of a control log, which is read on for a record that was made under more of it. Of one that names more than
// there is, only who signed it can be said: it is authentic, and what it builds on is missing, or it is nothing.
func Keepers(log *ledger.Log) Keys {
	return func(ctx context.Context, size uint64) (vs note.Verifiers, err error) {
		if size > log.Size() {
			if err := log.Refresh(ctx); err != nil {
				return nil, fmt.Errorf("%w: %w", chain.ErrUndecided, err)
			}
		}
		log.View(func(c *control.State) {
			if vs, err = c.Keepers(min(size, c.Size())); err == nil && size > c.Size() {
				err = fmt.Errorf("%w: %w: it was made when the control log had %d entries, now it has %d", chain.ErrOrphan, errAhead, size, c.Size())
			}
		})
		return vs, err
	}
}

// Bound is the highest root record that is in the chain and that who has a key name has told the control log of; 0 if none is.
func Bound(ctx context.Context, log *ledger.Log, store worm.Store, archive [16]byte, by string) (n uint64, err error) {
	d := Open(Config{Store: store, Archive: archive, Keys: Keepers(log)})
	if err := d.Refresh(ctx); err != nil {
		return 0, err
	}
	log.View(func(c *control.State) {
		said := func(root control.RootRef, who string) {
			if who == by && d.state.Require(root.N, root.Hash) == nil {
				n = max(n, root.N)
			}
		}
		for i := range c.KeyRoots {
			said(control.RootRef{N: c.KeyRoots[i].N, Hash: c.KeyRoots[i].Hash}, c.KeyRoots[i].By)
		}
		for i := range c.Erasures {
			said(c.Erasures[i].Root, c.Erasures[i].By)
		}
	})
	return n, nil
}
