package benchmarks

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/segment"
)

// counted is a store that counts what is read through it, and takes so long for each read as one far away would.
type counted struct {
	worm.Store
	wait time.Duration

	mu       sync.Mutex
	read     map[string]int64 // bytes by kind of object
	requests int
}

func (c *counted) Read(ctx context.Context, key, id string, r worm.Range) ([]byte, error) {
	if c.wait > 0 {
		select {
		case <-time.After(c.wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	data, err := c.Store.Read(ctx, key, id, r)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read[kindOf(key)] += int64(len(data))
	c.requests++
	return data, err
}

// restored is what it took to restore one subject. Needed are the sealed blocks of its records and their rows, without
// which they cannot be checked, as they lie in the runs of their scopes.
type restored struct {
	records, opening, requests int // requests for records, and to open the archive before
	bodies, needed, read       int64
	opened                     int64 // bytes to open the archive
	took                       time.Duration
}

func (r *restored) ratio() float64 { return float64(r.read) / float64(r.needed) }

func (r *restored) String() string {
	return fmt.Sprintf("%d records, %d bytes of bodies: needed %d, read %d (%.2f) in %d requests and %v; to open the archive %d bytes in %d requests",
		r.records, r.bodies, r.needed, r.read, r.ratio(), r.requests, r.took.Round(time.Millisecond), r.opened, r.opening)
}

// rowBytes is what a record takes in the runs of the archive.
func (m *meter) rowBytes() float64 {
	m.t.Helper()
	runs := 0
	for v, err := range m.s.store.Versions(m.t.Context(), "logs/", "") {
		if err != nil {
			m.t.Fatal(err)
		}
		if kindOf(v.Key) != "proof" {
			continue
		}
		data, err := m.s.store.Read(m.t.Context(), v.Key, v.ID, worm.Range{})
		if err != nil {
			m.t.Fatal(err)
		}
		proof, err := segment.ParseProof(data)
		if err != nil {
			m.t.Fatal(err)
		}
		runs += len(proof[segment.SectionRuns])
	}
	return float64(runs) / float64(m.f.records)
}

// restore reads back one subject of the archive that m has captured into.
func (m *meter) restore(subject string, wait time.Duration) *restored {
	m.t.Helper()
	ctx := m.t.Context()
	c := &counted{Store: m.s.store, wait: wait, read: map[string]int64{}}
	a, err := backup.OpenArchive(ctx, c, m.s.role("trust.stele"))
	if err != nil {
		m.t.Fatal(err)
	}
	r, err := a.Unlock(m.s.role("reader/reader.stele"), m.s.keys)
	if err != nil {
		m.t.Fatal(err)
	}
	out := &restored{opening: c.requests}
	for _, n := range c.read {
		out.opened += n
	}
	clear(c.read)
	start := time.Now()
	for f, err := range r.Records(ctx, backup.Query{Tenant: "acme", Subject: subject}) {
		if err != nil {
			m.t.Fatal(err)
		}
		out.records++
		out.bodies += int64(len(f.Body))
	}
	out.took = time.Since(start)
	for _, n := range c.read {
		out.read += n
	}
	out.requests = c.requests - out.opening
	out.needed = c.read["data"] + int64(m.rowBytes()*float64(out.records))
	return out
}

// TestRestoreReads sees to it that the restore of one subject of 200 reads little more than what it needs: that is how
// much it may be.
func TestRestoreReads(t *testing.T) {
	for _, turns := range []int{1, 5, 20} {
		t.Run(fmt.Sprintf("turns=%d", turns), func(t *testing.T) {
			all := answers(t, 1<<20)
			m := captured(t, all, turns)
			for _, subject := range []string{"user-000", "user-007", "user-199"} {
				r := m.restore(subject, 0)
				t.Log(r)
				want := 0
				for _, c := range conversations(all, turns) {
					if c.subject == subject {
						want += 2 * turns
					}
				}
				if r.records != want || want == 0 {
					t.Errorf("%s: %d records, want %d", subject, r.records, want)
				}
				if r.ratio() > 1.5 {
					t.Errorf("%s: %.2f times what is needed, more than 1.5", subject, r.ratio())
				}
			}
		})
	}
}

// BenchmarkRestoreSubject restores subjects of the archive of all real data. A read takes no time, or 10 ms.
func BenchmarkRestoreSubject(b *testing.B) {
	for _, turns := range []int{1, 5, 20} {
		m := captured(b, answers(b, 1<<20), turns)
		for _, wait := range []time.Duration{0, 10 * time.Millisecond} {
			b.Run(fmt.Sprintf("turns=%d/wait=%v", turns, wait), func(b *testing.B) {
				var sum restored
				for i := range b.N {
					r := m.restore(fmt.Sprintf("user-%03d", i%200), wait)
					sum.needed, sum.read, sum.requests, sum.took = sum.needed+r.needed, sum.read+r.read, sum.requests+r.requests, sum.took+r.took
					sum.opened += r.opened
				}
				n := float64(b.N)
				b.ReportMetric(sum.ratio(), "read/needed")
				b.ReportMetric(float64(sum.read)/n, "read-bytes")
				b.ReportMetric(float64(sum.requests)/n, "requests")
				b.ReportMetric(sum.took.Seconds()*1000/n, "restore-ms")
				b.ReportMetric(float64(sum.opened)/n, "opening-bytes")
			})
		}
	}
}
