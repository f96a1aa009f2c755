package keys

import "time"

// Stats are figures of a service since it was opened, and how erasures stood when it last looked: within FoldEvery.
type Stats struct {
	Waiting     int       // approved requests that wait to be carried out; readers get no answer about what they select
	Oldest      time.Time // when the first of them was approved; zero without any
	Deferred    int       // approved requests of which a hold or minimum retention keeps something
	Erasures    uint64    // generations that were left
	Scopes      uint64    // whose keys were erased
	Undestroyed int       // generations that were left and can still be opened, because a custodian or the replica is away
}

// Stats returns the figures of this process. It does not wait for what the service is at.
func (s *Service) Stats() Stats {
	s.statsMu.Lock()
	defer s.statsMu.Unlock()
	return s.stats
}

// count takes note of how it stands with erasures. Requires mu.
func (s *Service) count(waits []*ask) {
	s.statsMu.Lock()
	defer s.statsMu.Unlock()
	st := &s.stats
	st.Waiting, st.Deferred, st.Undestroyed, st.Oldest = 0, 0, 0, time.Time{}
	for _, a := range waits {
		if _, tried := s.tried[a.request]; tried && len(a.deferred) > 0 {
			st.Deferred++
			continue
		}
		if st.Waiting++; st.Oldest.IsZero() || a.at.Before(st.Oldest) {
			st.Oldest = a.at
		}
	}
	for _, g := range s.depot.State().Generations() {
		if g.Number < s.version.Generation && !s.dead[g.Number] {
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
