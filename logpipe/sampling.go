package logpipe

import (
	"sync"
	"time"

	"github.com/stelelog/stele/internal/record"
)

// sampledEvery is how often a stream says what sampling left out.
const sampledEvery = time.Minute

// sampled counts the calls that sampling left out and that were not declared yet.
type sampled struct {
	mu  sync.Mutex
	sum record.SampledDetail
}

func (s *sampled) add(records uint64, from, until int64) {
	s.giveBack(record.SampledDetail{Calls: 1, Records: records, From: from, Until: until})
}

func (s *sampled) giveBack(d record.SampledDetail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sum.Calls == 0 {
		s.sum = d
		return
	}
	s.sum.Calls += d.Calls
	s.sum.Records += d.Records
	s.sum.From, s.sum.Until = min(s.sum.From, d.From), max(s.sum.Until, d.Until)
}

// take returns what is to be declared, if there is anything.
func (s *sampled) take() (d record.SampledDetail, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, s.sum = s.sum, record.SampledDetail{}
	return d, d.Calls > 0
}
