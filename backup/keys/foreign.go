package keys

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/stelelog/stele/internal/transport"
)

// maxNamed bounds the other archives that are named in the log.
const maxNamed = 16

// guard keeps what another archive has in the grants transport from being removed: two archives were given one
// transport, and these grants may be the only copies of keys.
type guard struct {
	archive [16]byte
	lanes   map[string]*guarded
	named   map[[16]byte]bool // archives that the log names already
}

// guarded is what was seen of a lane.
type guarded struct {
	seen int64     // messages below it were looked at
	held bool      // there is one of another archive, before seen
	at   int64     // its position; nothing from it on is removed
	time time.Time // when the transport took it
}

func newGuard(archive [16]byte) *guard {
	return &guard{archive: archive, lanes: map[string]*guarded{}, named: map[[16]byte]bool{}}
}

// foreign says of which other archive a message is.
func (g *guard) foreign(data []byte) (archive [16]byte, yes bool) {
	id, ok := transport.ArchiveOf(data)
	return id, ok && id != g.archive
}

// kept reports whether a message of that time is left where it is. One from the future would be for ever.
func kept(at, now time.Time) bool {
	return at.Before(now.Add(24*time.Hour)) && at.Add(horizon).After(now)
}

func (g *guard) lane(name string) *guarded {
	if g.lanes[name] == nil {
		g.lanes[name] = new(guarded)
	}
	return g.lanes[name]
}

// note looks at messages that were read from a position on, if it has looked at all before them.
func (g *guard) note(lane string, from int64, messages []message, now time.Time) {
	l := g.lane(lane)
	if l.held || from > l.seen {
		return
	}
	for i := range messages {
		m := &messages[i]
		if m.Pos < l.seen {
			continue
		}
		l.seen = m.Pos + 1
		if _, yes := g.foreign(m.Data); yes && kept(m.Time, now) {
			l.held, l.at, l.time = true, m.Pos, m.Time
			return
		}
	}
}

// limit is how far a lane may be removed, at most next: up to the first message of another archive that is not over.
func (g *guard) limit(ctx context.Context, from grantSource, lane string, next int64, now time.Time) (int64, error) {
	l := g.lane(lane)
	for {
		if l.held && kept(l.time, now) {
			return min(l.at, next), nil
		}
		if l.held {
			l.held, l.seen = false, l.at+1
		}
		if l.seen >= next {
			return next, nil
		}
		seen := l.seen
		messages, err := from.read(ctx, lane, seen)
		if err != nil {
			return seen, err
		}
		if g.note(lane, seen, messages, now); l.seen == seen && !l.held {
			return seen, nil // nothing is there yet
		}
	}
}

// heldSince is when the transport took the oldest message that removal waits for; zero if there is none.
func (g *guard) heldSince() (since time.Time) {
	for _, l := range g.lanes {
		if l.held && (since.IsZero() || l.time.Before(since)) {
			since = l.time
		}
	}
	return since
}

// removable says how far each lane of the grants transport may be removed.
func (s *Service) removable(ctx context.Context) map[string]int64 {
	next := map[string]int64{}
	for lane, at := range s.version.Folded.Lanes {
		if s.cut[lane] {
			continue
		}
		n, err := s.guard.limit(ctx, s.grants, lane, at.Next, s.now())
		if err != nil {
			s.log.Warn("grants that are folded are kept: what lies there cannot be read", "lane", lane, "err", err)
		}
		next[lane] = n
	}
	for lane := range s.guard.lanes {
		if _, ok := s.pending.folded.Lanes[lane]; !ok {
			delete(s.guard.lanes, lane)
		}
	}
	s.statsMu.Lock()
	defer s.statsMu.Unlock()
	s.stats.HeldSince = s.guard.heldSince()
	return next
}

// stranger counts a message of another archive, and names the archive once.
func (s *Service) stranger(archive [16]byte, lane string, m *message) {
	s.statsMu.Lock()
	s.stats.Foreign++
	s.statsMu.Unlock()
	if s.guard.named[archive] || len(s.guard.named) >= maxNamed {
		return
	}
	s.guard.named[archive] = true
	s.log.Error("another archive sends to this transport: give it one of its own. From its oldest grant on nothing is removed here for 14 days, so that its key service can take them in",
		"archive", hex.EncodeToString(archive[:]), "lane", lane, "position", m.Pos, "time", m.Time)
}
