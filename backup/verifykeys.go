package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/internal/keytrie"
	"github.com/stelelog/stele/internal/segment"
)

// ScopeCounts says, as of the newest root record of the key store, what became of the keys of the scopes in an archive.
type ScopeCounts struct {
	Record     uint64 `json:"record"` // the newest root record of the key store
	Generation uint64 `json:"generation"`
	Live       uint64 `json:"live"`    // in the tries, with the check value that the writer signed
	Pending    uint64 `json:"pending"` // granted less than a day ago, not taken in yet, and in no list
	Erased     uint64 `json:"erased"`  // in the list of an approved erasure
	Buried     uint64 `json:"buried"`  // granted too late, under the tombstone of an approved request
	Dead       uint64 `json:"dead"`    // granted after their intake key was erased
	Missing    uint64 `json:"missing"` // none of these
	Audited    int    `json:"audited"` // erasures of which the tries before and after were compared
}

// scopesAtOnce is how many scopes are looked up together: neighbours in a trie share its nodes.
const scopesAtOnce = 1 << 16

// pendingFor is for how long after its commit a grant may wait to be taken in.
const pendingFor = 24 * time.Hour

// keyCheck holds what writers signed of the keys of scopes against the key store, without any secret.
type keyCheck struct {
	v      *verifier
	depot  *keydepot.Depot
	record *keyroot.Record
	hash   commit.Hex32
	ring   *keyring.Ring // nil if there is nothing to judge by
	others control.Clock // how late it is by others than key services
	broken bool

	waiting []seenScope
	lost    lostKeys
	asked   time.Time         // of the newest request that was approved of those that leave a tombstone
	classes map[string]string // of scopes, each once
	counts  ScopeCounts

	carriedOut map[commit.Hex32]bool // requests of which a record says that nothing is left
}

// seenScope is a scope where it is first used.
type seenScope struct {
	id, check [16]byte
	start     int64
	class     string
	stream    [16]byte
	first     uint64 // seqs of the frame
	next      uint64
	c         *logCommit
}

// startKeys reads the root records and checks that nothing is missing of what they name.
func (v *verifier) startKeys(ctx context.Context) error {
	k := &keyCheck{v: v, classes: map[string]string{}, carriedOut: map[commit.Hex32]bool{}}
	v.keys = k
	if v.a.unfounded != nil {
		return nil
	}
	var known keydepot.Known
	var late []control.LoggedSupplement
	var erased []control.LoggedErasure
	v.a.control.View(func(s *control.State) {
		known, late, erased = keydepot.KnownBy(s), slices.Clone(s.Supplements), slices.Clone(s.Erasures)
	})
	k.depot = keydepot.Open(keydepot.Config{Store: v.a.store, Archive: v.a.trust.Archive, Keys: keydepot.Keepers(v.a.control)})
	if err := k.depot.Refresh(ctx); err != nil {
		return err
	}
	if err := v.a.control.Refresh(ctx); err != nil { // an erasure may be as young as that
		return err
	}
	v.r.findings(k.depot.Findings())
	k.missing(known)
	if k.record, k.hash = k.depot.State().Last(); k.record == nil {
		return nil
	}
	k.counts.Record, k.counts.Generation = k.record.N, k.record.Generation
	k.ring = k.record.Public(k.depot.Source(k.record.Packs))
	if err := k.packs(ctx); err != nil {
		return err
	}
	k.supplements(late)
	if err := k.readClock(ctx); err != nil {
		return err
	}
	if err := k.horizons(ctx, erased); err != nil {
		return err
	}
	k.recoveries()
	k.revoked()
	if err := k.erasures(ctx); err != nil {
		return err
	}
	k.overdue()
	return k.audit(ctx)
}

// missing finds records that the control log knows and that are not there. Those of a generation above the newest record's
// are never lost with anybody's leave: what was erased would be back.
func (k *keyCheck) missing(known keydepot.Known) {
	var gone []keydepot.Gone
	k.v.a.control.View(func(s *control.State) { gone = keydepot.Missing(s, k.depot.State(), keydepot.Known{}, known) })
	for _, g := range gone {
		object := fmt.Sprintf("%s%020d", keydepot.Roots, g.N)
		k.v.r.fault(integrity, object, "the control log holds root record %d of generation %d with hash %s, and it is not there, nor have two approvers declared it lost", g.N, g.Generation, g.Hash)
		if g.Left {
			k.v.r.fault(erasure, object, "generation %d of the key store, which left out what was erased, is gone: an older one in its place has keys of it", g.Generation)
		}
	}
}

// supplements checks that what the control log says of late grants is what root records count.
func (k *keyCheck) supplements(all []control.LoggedSupplement) {
	records := map[control.RootRef]*keyroot.Fold{}
	for _, l := range k.depot.Late() {
		records[control.RootRef{N: l.N, Hash: l.Hash}] = &l.Fold
	}
	for i := range all {
		u := &all[i]
		if records[u.Root] == nil && k.lostRoot(u.Root) {
			continue
		}
		if f := records[u.Root]; f == nil || !says(f, &u.Supplement) {
			k.v.r.fault(erasure, fmt.Sprintf("%s%020d", keydepot.Roots, u.Root.N), "control entry %d says that %d scopes were buried and %d dead on arrival, and the root record does not",
				u.Index, u.Buried, u.Dead)
		}
	}
}

// lostRoot reports whether two approvers have decided that a record is lost.
func (k *keyCheck) lostRoot(root control.RootRef) (lost bool) {
	k.v.a.control.View(func(s *control.State) {
		for i := range s.KeyRoots {
			r := &s.KeyRoots[i]
			lost = lost || r.N == root.N && r.Hash == root.Hash && keydepot.Excused(s, k.depot.State(), root)
		}
	})
	return lost
}

// recoveries checks that two approvers let each record stand in that does, as it does.
func (k *keyCheck) recoveries() {
	for _, x := range k.depot.State().Recoveries() {
		object, wrong := fmt.Sprintf("%s%020d", keydepot.Roots, x.N), error(nil)
		k.v.a.control.View(func(s *control.State) { wrong = keydepot.CheckRecovery(s, &x) })
		if wrong != nil {
			k.v.r.fault(erasure, object, "it lets root record %d stand in for newer ones, and no two approvers have decided that: %v", x.Stood.N, wrong)
			continue
		}
		k.v.r.notice(erasure, object, "root record %d stands in for newer ones that were lost, as an approved request says; %s were missing then", x.Stood.N, number(x.Missing, "scope"))
	}
}

// says reports whether a record counts what a supplement does.
func says(f *keyroot.Fold, u *control.Supplement) bool {
	if u.Request == nil {
		return f.Dead == u.Dead && slices.Equal(f.Weeks, u.Weeks)
	}
	return slices.Contains(f.Late, keyroot.Late{Request: *u.Request, Buried: u.Buried})
}

// packs checks that every pack of the newest record is there, byte for byte.
func (k *keyCheck) packs(ctx context.Context) error {
	for _, p := range k.record.Packs {
		obj := &commit.Object{Key: keydepot.Packs + p.SHA256.String(), SHA256: p.SHA256, Size: p.Size}
		_, err := datalog.TryVersions(ctx, k.v.a.store, obj, func(version string) (bool, error) {
			o := &objectReader{store: k.v.a.store, obj: obj, version: version, piece: k.v.mem.piece}
			if err := o.pieces(ctx, o.left(), func(piece []byte) { o.hash.Write(piece) }); err != nil {
				return false, unlessFaulty(err)
			}
			return o.end(ctx)
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case datalog.Faulty(err):
			k.broken = true
			k.v.r.fault(readability, obj.Key, "pack %d of the key store, which root record %d names: %v; what only its keys open is lost unless a copy of it turns up",
				p.N, k.record.N, err)
		case err != nil:
			return err
		}
	}
	return nil
}

// see takes the scopes of a frame in.
func (k *keyCheck) see(c *logCommit, f *segment.FrameAt, entries []byte) error {
	if k.ring == nil {
		return nil
	}
	return k.v.mem.entries.Each(entries, func(e []byte) {
		if id, start, kcv, name, ok := frame.PeekScope(e); ok {
			class, known := k.classes[string(name)]
			if !known {
				class = string(name)
				k.classes[class] = class
			}
			k.waiting = append(k.waiting, seenScope{id, [16]byte(kcv[:16]), start, class, f.Stream, f.First, f.First + uint64(f.Count), c})
		}
	})
}

// judge looks up the scopes that wait.
func (k *keyCheck) judge(ctx context.Context) error {
	if k.broken || len(k.waiting) == 0 {
		k.waiting = k.waiting[:0]
		return nil
	}
	ids := make([][16]byte, len(k.waiting))
	for i := range k.waiting {
		ids[i] = k.waiting[i].id
	}
	checks, err := k.ring.Checks(ctx, ids)
	if err := k.unread(err); err != nil || k.broken {
		return err
	}
	for i := range k.waiting {
		s := &k.waiting[i]
		if slices.Contains(checks[s.id], s.check) {
			k.counts.Live++
		} else if err := k.absent(ctx, s); err != nil {
			return err
		}
	}
	k.waiting = k.waiting[:0]
	return nil
}

// unread is err, unless it says that the key store is damaged, which is a fault.
func (k *keyCheck) unread(err error) error {
	var node *keytrie.NodeError
	if err == nil || !errors.As(err, &node) {
		return err
	}
	k.broken = true
	k.v.r.fault(erasure, keydepot.Packs, "which keys are there cannot be read: %v", err)
	return nil
}

// pending reports whether grants of a commit may still wait in the transport.
func (k *keyCheck) pending(c *logCommit) bool {
	if k.v.opt.Now.Sub(c.Time) >= pendingFor {
		return false
	}
	for lane, end := range c.GrantsEnd {
		if k.record.Folded.Lanes[lane].Next < end {
			return true
		}
	}
	return false
}

// absent judges a scope whose key is not there.
func (k *keyCheck) absent(ctx context.Context, s *seenScope) error {
	if err := k.lost.read(ctx, k); err != nil || k.broken {
		return err
	}
	folds := k.depot.Folds()
	switch mark := keyMark(s.id, s.check); {
	case k.lost.erased.has(mark), k.lost.byPolicy(s.class, mark):
		k.counts.Erased++
	case k.pending(s.c):
		k.counts.Pending++
	case k.lost.buried.has(mark) && !time.Unix(0, s.start).After(k.asked) && k.counts.Buried < folds.Buried:
		k.counts.Buried++
	case k.lost.dead(s) && k.counts.Dead < folds.Dead:
		k.counts.Dead++
	default:
		k.counts.Missing++
		k.v.r.fault(erasure, s.c.key, "scope %x of stream %x, used from seq %d to %d on: its key is not in root record %d with the check value that the writer signed, it is not pending, and no approved erasure lists it",
			s.id, s.stream, s.first, s.next-1, k.record.N)
	}
	return nil
}

// conclude judges what is left and words the verdict: checked if it can hold, else why it was not.
func (k *keyCheck) conclude(ctx context.Context) (checked, unchecked string, err error) {
	if err := k.judge(ctx); err != nil {
		return "", "", err
	}
	named := false
	k.v.a.control.View(func(s *control.State) { named = len(s.KeyRoots) > 0 })
	if k.v.a.unfounded != nil {
		return "", "without an access policy no key store can be judged", nil
	}
	if k.ring == nil {
		if named {
			k.v.r.fault(erasure, keydepot.Roots, "the control log knows of a key store, and none is there")
		}
		return "", "the archive has no key store", nil
	}
	if k.v.opt.Reader != nil {
		if err := k.contradicted(ctx); err != nil {
			return "", "", err
		}
	}
	c := k.counts
	k.v.r.Scopes = &c
	for what, n := range map[string]uint64{"buried: granted after the erasure of what they belong to": c.Buried, "dead on arrival: granted after their intake key was erased": c.Dead} {
		if n > 0 {
			k.v.r.notice(erasure, keydepot.Roots, "%s %s", number(n, "scope"), what)
		}
	}
	return fmt.Sprintf("%s by root record %d, generation %d: %d have their keys, %d are pending, %d were erased by approved requests or policy, %d came too late",
		number(c.Live+c.Pending+c.Erased+c.Buried+c.Dead, "scope"), c.Record, c.Generation, c.Live, c.Pending, c.Erased, c.Buried+c.Dead), "", nil
}

// contradicted finds scopes of which the key service told the reader that they were erased, and whose keys are there. While
// a request is being carried out it denies what it is about to erase, and while a hold stands, or minimum retention is not over,
// what came too late for one that is done.
func (k *keyCheck) contradicted(ctx context.Context) error {
	busy := false
	k.v.a.control.View(func(s *control.State) {
		busy = slices.ContainsFunc(s.Requests, func(r *control.Request) bool { return r.What == control.WhatErase && r.Standing == control.Approved }) ||
			slices.ContainsFunc(s.Holds, func(h *control.Hold) bool { return h.Released == 0 })
	})
	if busy || k.broken {
		return nil
	}
	var ids [][16]byte
	for id, o := range k.v.opt.Reader.scopes {
		if o.state == stateErased && !k.v.opt.Now.Before(o.retained) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	for part := range slices.Chunk(ids, scopesAtOnce) {
		checks, err := k.ring.Checks(ctx, part)
		if err := k.unread(err); err != nil || k.broken {
			return err
		}
		for _, id := range part {
			if len(checks[id]) > 0 {
				k.v.r.fault(readability, fmt.Sprintf("scope %x", id), "the key service says that it was erased, and root record %d has its key", k.record.N)
			}
		}
	}
	return nil
}

// keyMark is a scope and the check of its key, as one thing to look up.
func keyMark(id, check [16]byte) [16]byte {
	sum := sha256.Sum256(append(id[:], check[:]...))
	return [16]byte(sum[:])
}
