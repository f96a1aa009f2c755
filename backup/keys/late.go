package keys

import (
	"context"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keydepot"
)

// tellLate tells the control log of grants that came too late, as root records count them: buried under the tombstone of
// a request, or dead because their intake key is gone. What it says follows from the records, so whoever holds the role
// says it, once, whatever happened to who folded. Requires mu.
func (s *Service) tellLate(ctx context.Context) error {
	all := s.depot.Late()
	logged := map[commit.Hex32]bool{}
	if s.told.late < len(all) {
		s.control.View(func(c *control.State) {
			for i := range c.Supplements {
				logged[supplementID(&c.Supplements[i].Supplement)] = true
			}
		})
	}
	whole := true // all before is in the log
	for _, l := range all[s.told.late:] {
		for _, u := range supplements(&l) {
			if l.Undone {
				break // what it counted is counted again
			}
			id := supplementID(&u)
			if logged[id] {
				continue
			}
			whole = false
			if s.requests.reported[id] {
				continue
			}
			// Dated as the record is: who says it again, with the same key, drops the same bytes under the same name.
			if err := s.say(ctx, id, control.TypeSupplement, l.Time, u); err != nil {
				return err
			}
			s.requests.reported[id] = true
		}
		if whole {
			s.told.late++
		}
	}
	return nil
}

// supplements are what is to be said of one record.
func supplements(l *keydepot.Late) (out []control.Supplement) {
	root := control.RootRef{N: l.N, Hash: l.Hash}
	for _, late := range l.Late {
		request := late.Request
		out = append(out, control.Supplement{Request: &request, Root: root, Buried: late.Buried})
	}
	if l.Dead > 0 {
		out = append(out, control.Supplement{Root: root, Dead: l.Dead, Weeks: l.Weeks})
	}
	return out
}

// supplementID tells supplements apart: a record has one for each request, and one for dead grants.
func supplementID(u *control.Supplement) commit.Hex32 {
	id := append([]byte("supplement"), u.Root.Hash[:]...)
	if u.Request != nil {
		id = append(id, u.Request[:]...)
	}
	return commit.Hash(id)
}
