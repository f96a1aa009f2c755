package backup_test

import (
	"testing"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/evidence"
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
