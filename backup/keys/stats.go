package keys

import "time"

// Stats are figures of a service since it was opened, and how erasures stood when it last looked: within FoldEvery.
type Stats struct {
	// Failing is why grants are not taken in by [Service.Run] now, which tries again; nil if they are, or another service does it.
	Failing error

	Waiting     int       // approved requests that wait to be carried out; readers get no answer about what they select
	Oldest      time.Time // when the first of them was approved; zero without any
	Deferred    int       // approved requests of which a hold or minimum retention keeps something
	Erasures    uint64    // generations that were left
	Scopes      uint64    // whose keys were erased
	Undestroyed int       // generations that were left and can still be opened, because a custodian or the replica is away

	// Overdue is how many days of keys, and weeks of intake keys, are over by the clock of this machine and not by the second
	// clock: that of the witnesses, or of the control log where the trust file wants none. They wait.
	Overdue int
	// Behind is how far the second clock was behind that of this machine when that was last read; below 0: ahead. It is the
	// longest Duration where nobody has said how late it is.
	Behind time.Duration

	Unread uint64 // times that the grants transport could not be read for an answer, which was given without it

	Foreign   uint64    // messages of other archives that were found in the grants transport
	HeldSince time.Time // when the oldest of them that keeps grants from being removed came; zero without any
}

// Stats returns the figures of this process. It does not wait for what the service is at.
func (s *Service) Stats() Stats {
	s.statsMu.Lock()
	defer s.statsMu.Unlock()
	return s.stats
}

// fails takes note of why grants are not taken in, until they are.
func (s *Service) fails(err error) {
	s.statsMu.Lock()
	defer s.statsMu.Unlock()
	s.stats.Failing = err
}

// count takes note of how it stands with erasures. Requires mu.
func (s *Service) count(waits []*ask) {
	s.statsMu.Lock()
	defer s.statsMu.Unlock()
	st := &s.stats
	st.Waiting, st.Deferred, st.Undestroyed, st.Oldest = 0, 0, 0, time.Time{}
	for _, a := range waits {
		if _, tried := s.requests.tried[a.request]; tried && len(a.deferred) > 0 {
			st.Deferred++
			continue
		}
		if st.Waiting++; st.Oldest.IsZero() || a.at.Before(st.Oldest) {
			st.Oldest = a.at
		}
	}
	for _, g := range s.depot.State().Generations() {
		if g.Number < s.version.Generation && !s.dead.numbers[g.Number] {
			st.Undestroyed++
		}
	}
}

// countErased counts an erasure. Requires mu.
func (s *Service) countErased(e *Erased) {
	s.statsMu.Lock()
	defer s.statsMu.Unlock()
	s.stats.Erasures++
	s.stats.Scopes += e.Scopes
}

// countOverdue takes note of what waits for the second clock, and how far that is behind. Requires mu.
func (s *Service) countOverdue(n int, behind time.Duration) {
	s.statsMu.Lock()
	defer s.statsMu.Unlock()
	s.stats.Overdue, s.stats.Behind = n, behind
	switch {
	case n > 0 && s.clocks.others.IsZero():
		s.log.Warn("what is over by the clock here is not erased: nobody else says how late it is", "waits", n)
	case n > 0:
		s.log.Warn("what is over by the clock here and not by that of others is not erased", "waits", n, "behind", behind.Round(time.Second))
	}
}
