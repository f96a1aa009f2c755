package keys

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/internal/keyscope"
)

// pending is what the grants transport holds beyond the newest record, folded in memory: answers are made of both, and
// the next record takes it in.
type pending struct {
	intake   *intake
	policy   *control.Policy // by which grants are placed and kept
	judge    *keyring.Admission
	folded   commit.Source
	moved    bool             // positions
	again    map[string]int64 // of lanes that were cut: how far they were read again
	batch    keyring.Batch
	fold     keyroot.Fold
	ends     []ended
	deferred []keyring.Deferred // what the version keeps of requests that wait
	byID     map[[16]byte][]int // indexes of batch.Scopes
	buried   map[[16]byte]bool
}

// maxPending is how many grants are held in memory before they go into the key store.
const maxPending = 50_000

// maxLate is how many requests a record names at least before there is another one.
const maxLate = 4096

// begin starts behind the newest record. Requires mu.
func (s *Service) begin(ctx context.Context) (*pending, error) {
	keys, err := s.version.ring.Intake(ctx)
	if err != nil {
		return nil, err
	}
	p := &pending{policy: s.control.Policy(), judge: s.version.ring.Admission(), folded: s.version.Folded, again: map[string]int64{}, byID: map[[16]byte][]int{}, buried: map[[16]byte]bool{}}
	if p.deferred, err = s.version.ring.Deferred(ctx); err != nil {
		return nil, err
	}
	p.folded.Lanes = maps.Clone(p.folded.Lanes)
	if p.folded.Lanes == nil {
		p.folded.Lanes = map[string]commit.Lane{}
	}
	var old *intake
	if s.pending != nil {
		old = s.pending.intake
	}
	p.intake, err = newIntake(s.trust.Archive, keys, old)
	return p, err
}

// errOther says that grants are not those that the key store was filled from.
var errOther = errors.New("this is not the transport that the key store belongs to")

// errUnread says that the grants transport cannot be read now.
var errUnread = errors.New("grants transport")

// full reports whether a record is due before more is read.
func (p *pending) full() bool {
	return len(p.batch.Scopes)+len(p.batch.Spent)+len(p.ends) >= maxPending || len(p.fold.Late) >= maxLate
}

// readTail folds what the transport holds in memory, until there is no more or p is full. Requires mu.
func (s *Service) readTail(ctx context.Context) error {
	p := s.pending
	if s.grants == nil {
		return nil
	}
	cluster, topic, err := s.grants.identity(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnread, err)
	}
	switch {
	case p.folded.Cluster == "":
		p.folded.Cluster, p.folded.Topic = cluster, topic
	case p.folded.Cluster != cluster || p.folded.Topic != topic:
		return fmt.Errorf("%w: the key store was filled from %s %s, this is %s %s", errOther, p.folded.Cluster, p.folded.Topic, cluster, topic)
	}
	ends, err := s.grants.ends(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnread, err)
	}
	now := s.lastHeard() // an answer waits for nobody's clock
	p.judge.Retained = func(x *keyring.Scope) bool {
		return !p.policy.Erasable(x.Class, time.Unix(0, x.Start), now, false, control.CauseRequest).Erase
	}
	for lane := range p.folded.Lanes {
		if _, ok := ends[lane]; !ok {
			delete(p.folded.Lanes, lane) // removed, because it was read to its end
		}
	}
	for _, lane := range slices.Sorted(maps.Keys(ends)) {
		if err := s.readLane(ctx, lane, ends[lane]); err != nil {
			return fmt.Errorf("grants of lane %s: %w", lane, err)
		}
	}
	return nil
}

func (s *Service) readLane(ctx context.Context, lane string, end int64) error {
	p := s.pending
	at, known := p.folded.Lanes[lane]
	if !known {
		p.folded.Lanes[lane] = at
	}
	next, err := s.resume(ctx, lane, at, end)
	if err != nil {
		return err
	}
	for next < end && !p.full() {
		messages, err := s.grants.read(ctx, lane, next)
		if err != nil {
			return fmt.Errorf("%w: %w", errUnread, err)
		}
		if len(messages) == 0 {
			break
		}
		s.guard.note(lane, next, messages, s.now())
		var scopes []keyring.Scope
		var ends []ended
		fold := p.fold // of what was read before, should this fail
		for i := range messages {
			m := &messages[i]
			more, end := s.open(p, lane, m, &fold)
			scopes = append(scopes, more...)
			if end != nil {
				ends = append(ends, *end)
			}
		}
		verdicts, err := p.judge.Admit(ctx, scopes)
		if err != nil {
			return err
		}
		p.fold, p.ends = fold, append(p.ends, ends...)
		last := &messages[len(messages)-1]
		s.clocks.arrived = later(s.clocks.arrived, last.Time)
		p.take(scopes, verdicts)
		next = last.Pos + 1
		s.passed(lane, next, sha256.Sum256(last.Data))
	}
	return nil
}

// take takes in grants that were judged.
func (p *pending) take(scopes []keyring.Scope, verdicts []keyring.Verdict) {
	for i, v := range verdicts {
		x := &scopes[i]
		switch v {
		case keyring.Added:
			p.byID[x.ID] = append(p.byID[x.ID], len(p.batch.Scopes))
			p.batch.Scopes = append(p.batch.Scopes, *x)
			p.fold.Added++
			if x.Day != keyscope.ScopeDay(x.ID) {
				p.fold.Moved++
			}
		case keyring.Buried:
			p.batch.Spent = append(p.batch.Spent, x.Spent())
			p.buried[x.ID] = true
			p.fold.Buried++
			for _, request := range p.judge.BuriedBy(x) {
				p.late(request)
			}
		case keyring.Repeated:
			p.fold.Repeated++
		case keyring.Replayed:
			p.fold.Replayed++
		case keyring.Refused:
			p.fold.Refused++
		}
	}
}

// late counts a scope that was destroyed on arrival for the request that it came too late for.
func (p *pending) late(request commit.Hex32) {
	i, found := slices.BinarySearchFunc(p.fold.Late, request, func(l keyroot.Late, r commit.Hex32) int { return bytes.Compare(l.Request[:], r[:]) })
	if !found {
		p.fold.Late = slices.Insert(p.fold.Late, i, keyroot.Late{Request: request})
	}
	p.fold.Late[i].Buried++
}
