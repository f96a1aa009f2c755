package keys

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/stelelog/stele/internal/commit"
)

// resume is where reading a lane goes on: behind what was folded, or where it began, if the transport does not have that any
// more. Then a leader took over that lacked it, or a disk was put back, and grants that were acknowledged since lie in its
// place. What is known already is only counted. Requires mu.
func (s *Service) resume(ctx context.Context, lane string, at commit.Lane, end int64) (next int64, err error) {
	if next, yes := s.pending.again[lane]; yes {
		return next, nil
	}
	cut, err := s.wasCut(ctx, lane, at, end)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errUnread, err)
	}
	if !cut {
		delete(s.cut, lane)
		return at.Next, nil
	}
	if !s.cut[lane] {
		s.log.Error("the grants transport lost messages that were folded, and may have lost others; what it has is read again, and none of it removed until it has as many", "lane", lane, "folded", at.Next, "end", end)
	}
	s.cut[lane], s.pending.again[lane] = true, 0
	delete(s.guard.lanes, lane)
	return 0, nil
}

// wasCut reports whether a lane ends before what was folded of it, or has another message in the place of the last one. That it
// has none there says nothing: what was folded is removed.
func (s *Service) wasCut(ctx context.Context, lane string, at commit.Lane, end int64) (bool, error) {
	if at.Last == nil || end < at.Next {
		return at.Last != nil, nil
	}
	messages, err := s.grants.read(ctx, lane, at.Next-1)
	if err != nil || len(messages) == 0 || messages[0].Pos >= at.Next {
		return false, err
	}
	return sha256.Sum256(messages[0].Data) != *at.Last, nil
}

// passed notes that a lane was read up to a message with a digest. Of one that was cut the position stays until it is passed:
// no record goes back. Requires mu.
func (s *Service) passed(lane string, next int64, last commit.Hex32) {
	p := s.pending
	if _, again := p.again[lane]; again {
		p.again[lane] = next
		if next < p.folded.Lanes[lane].Next {
			p.moved = p.moved || len(p.batch.Scopes)+len(p.batch.Spent) > 0
			return
		}
		delete(p.again, lane)
	}
	p.folded.Lanes[lane], p.moved = commit.Lane{Next: next, Last: &last}, true
}
