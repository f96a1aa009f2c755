package backup_test

import (
	"testing"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/logpipe"
)

// BenchmarkProve makes evidence of one record of an archive in memory: the control log is read once, and indexes until the
// record is found. Then it is checked.
func BenchmarkProve(b *testing.B) {
	l := loads()[0]
	archive := archives(b, l)
	b.Run(l.String(), func(b *testing.B) {
		a := archive(b)
		store, keys := a.archive(b)
		ar, err := OpenArchive(b.Context(), store, a.role(b, "trust.stele"))
		if err != nil {
			b.Fatal(err)
		}
		r, err := ar.Unlock(a.role(b, "reader/reader.stele"), keys)
		if err != nil {
			b.Fatal(err)
		}
		var last logpipe.ID
		for f, err := range r.Records(b.Context(), Query{Limit: l.records / 2}) {
			if err != nil {
				b.Fatal(err)
			}
			last = f.ID
		}
		size := 0
		before := cpuTime(b)
		b.ResetTimer()
		for range b.N {
			e, err := ar.Prove(b.Context(), []logpipe.ID{last})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := evidence.Check(a.role(b, "trust.stele"), e.File); err != nil {
				b.Fatal(err)
			}
			size = len(e.File)
		}
		b.ReportMetric((cpuTime(b)-before).Seconds()*1000/float64(b.N), "cpu-ms/op")
		b.ReportMetric(float64(size), "B/file")
		b.ReportMetric(float64(l.records), "records")
	})
}

// BenchmarkAnswer answers a query over all leaves of an archive in memory with nothing left out, and checks the answer.
func BenchmarkAnswer(b *testing.B) {
	for _, l := range loads()[:2] {
		archive := archives(b, l)
		b.Run(l.String(), func(b *testing.B) {
			a := archive(b)
			store, _ := a.archive(b)
			ar, err := OpenArchive(b.Context(), store, a.role(b, "trust.stele"))
			if err != nil {
				b.Fatal(err)
			}
			var cost rangeproof.Cost
			size, check := 0, time.Duration(0)
			before := cpuTime(b)
			b.ResetTimer()
			for range b.N {
				e, err := ar.Answer(b.Context(), rangeproof.Query{Kind: "error"}, false, func(c rangeproof.Cost) error { cost = c; return nil })
				if err != nil {
					b.Fatal(err)
				}
				start := cpuTime(b)
				if _, err := evidence.Check(a.role(b, "trust.stele"), e.File); err != nil {
					b.Fatal(err)
				}
				check += cpuTime(b) - start
				size = len(e.File)
			}
			leaves := float64(cost.Leaves)
			b.ReportMetric((cpuTime(b)-before-check).Seconds()*1e6/float64(b.N)/leaves, "cpu-µs/leaf")
			b.ReportMetric(check.Seconds()*1e6/float64(b.N)/leaves, "check-µs/leaf")
			b.ReportMetric(float64(size)/leaves, "B/leaf")
			b.ReportMetric(leaves, "leaves")
		})
	}
}
