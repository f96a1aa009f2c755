//go:build unix

package backup_test

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

// loads are the shapes that are measured: records of a session, and records of a frame.
func loads() []load {
	return []load{
		{records: 256 << 10, body: 1 << 10, perScope: 100},
		{records: 256 << 10, body: 1 << 10, perScope: 1},
		{records: 2 << 10, body: 1 << 10, perScope: 1, alone: true},
		{records: 64 << 10, body: 4600, perScope: 100},
		{records: 64 << 10, body: 4600, perScope: 1},
		{records: 512, body: 400 << 10, perScope: 100},
		{records: 512, body: 400 << 10, perScope: 1},
	}
}

// BenchmarkCompact takes frames from a spool in memory into a store that forgets objects, with all checks on. One
// operation is the whole load; the figures are of a record, and of CPU time: of all operations, and of the one that other
// work on the machine has disturbed least.
func BenchmarkCompact(b *testing.B) {
	for _, l := range loads() {
		archive := archives(b, l)
		b.Run(l.String(), func(b *testing.B) {
			a := archive(b)
			var cpu, best time.Duration
			b.ReportAllocs()
			b.ResetTimer()
			for n := range b.N {
				b.StopTimer()
				dir := filepath.Join(filepath.Dir(a.spool), "copy"+strconv.Itoa(n))
				if err := os.CopyFS(dir, os.DirFS(a.spool)); err != nil {
					b.Fatal(err)
				}
				store := a.store.clone(true)
				before := cpuTime(b)
				b.StartTimer()
				a.compact(b, store, dir, nil)
				b.StopTimer()
				took := cpuTime(b) - before
				cpu += took
				if n == 0 || took < best {
					best = took
				}
				os.RemoveAll(dir)
				b.StartTimer()
			}
			records := float64(b.N * l.records)
			b.ReportMetric(records/cpu.Seconds(), "records/cpu-s")
			b.ReportMetric(float64(l.records)/best.Seconds(), "best-records/cpu-s")
			b.ReportMetric(float64(cpu.Nanoseconds())/records, "cpu-ns/record")
		})
	}
}

// BenchmarkVerify verifies an archive in memory. MB/s are of the objects that must be read. of-sha256 is the speed against
// that of hashing the same bytes once with crypto/sha256, of-limit against that of the hashes and signatures that the
// formats want checked, with the functions that verify uses, both in the same run.
func BenchmarkVerify(b *testing.B) {
	for _, l := range loads() {
		archive := archives(b, l)
		b.Run(l.String(), func(b *testing.B) {
			a := archive(b)
			store, _ := a.archive(b)
			work := newHashWork(b, store)
			var verify, hash, limit time.Duration
			var bytes uint64
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				before := cpuTime(b)
				ar, err := OpenArchive(b.Context(), store, a.role(b, "trust.stele"))
				if err != nil {
					b.Fatal(err)
				}
				r, err := ar.Verify(b.Context(), VerifyOptions{})
				if err != nil || r.ExitCode("integrity") != 0 || r.Records != uint64(l.records) {
					b.Fatalf("%d records, exit code %d, %v: %v", r.Records, r.ExitCode("integrity"), r.Faults, err)
				}
				verify += cpuTime(b) - before
				bytes = r.Bytes
				b.StopTimer()
				hash += hashAll(b, store)
				limit += work.time(b)
				b.StartTimer()
			}
			b.SetBytes(int64(bytes))
			b.ReportMetric(float64(b.N)*float64(bytes)/verify.Seconds()/1e6, "MB/cpu-s")
			b.ReportMetric(float64(hash)/float64(verify), "of-sha256")
			b.ReportMetric(float64(limit)/float64(verify), "of-limit")
			b.ReportMetric(float64(b.N*l.records)/verify.Seconds(), "records/cpu-s")
		})
	}
}

// hashAll is how long it takes to hash the objects of segments.
func hashAll(b *testing.B, s *benchStore) time.Duration {
	before := cpuTime(b)
	for key, data := range s.objects {
		if strings.Contains(key, "/objects/") {
			sha256.Sum256(data)
		}
	}
	return cpuTime(b) - before
}

// BenchmarkRestore reads every record back: found, opened, checked against its commitment. MB/s are of bodies.
func BenchmarkRestore(b *testing.B) {
	for _, l := range loads() {
		archive := archives(b, l)
		b.Run(l.String(), func(b *testing.B) {
			a := archive(b)
			store, keys := a.archive(b)
			b.SetBytes(a.raw)
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuTime(b)
			for range b.N {
				if got := a.restore(b, store, keys, Query{}); got != a.raw {
					b.Fatalf("%d bytes of bodies, captured %d", got, a.raw)
				}
			}
			cpu := cpuTime(b) - before
			b.ReportMetric(float64(b.N)*float64(a.raw)/cpu.Seconds()/1e6, "MB/cpu-s")
			b.ReportMetric(float64(b.N*l.records)/cpu.Seconds(), "records/cpu-s")
		})
	}
}

// restore returns how many bytes of bodies a query yields.
func (a *benchArchive) restore(b *testing.B, store worm.Store, keys keys.Source, q Query) (bytes int64) {
	ar, err := OpenArchive(b.Context(), store, a.role(b, "trust.stele"))
	if err != nil {
		b.Fatal(err)
	}
	r, err := ar.Unlock(a.role(b, "reader/reader.stele"), keys)
	if err != nil {
		b.Fatal(err)
	}
	for f, err := range r.Records(b.Context(), q) {
		if err != nil {
			b.Fatal(err)
		}
		bytes += int64(len(f.Body))
	}
	return bytes
}

// BenchmarkRestoreSubject reads one of 200 subjects back. read/needed is everything that is read from the store, opening
// the archive included, against the sealed blocks of the subject; index/needed is the part of the index in it.
func BenchmarkRestoreSubject(b *testing.B) {
	for _, l := range loads() {
		if l.records < 64<<10 {
			continue
		}
		archive := archives(b, l)
		b.Run(l.String(), func(b *testing.B) {
			a := archive(b)
			archived, keys := a.archive(b)
			var raw int64
			var s *benchStore
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				s = archived.clone(false)
				raw = a.restore(b, s, keys, Query{Subject: "subject-7"})
			}
			total := int64(0)
			for _, n := range s.read {
				total += n
			}
			needed := float64(s.read["data"])
			b.SetBytes(raw)
			b.ReportMetric(float64(total)/needed, "read/needed")
			b.ReportMetric(float64(s.read["index"])/needed, "index/needed")
			b.ReportMetric(float64(total)/float64(raw), "read/raw")
			b.ReportMetric(float64(s.requests), "requests")
		})
	}
}

// BenchmarkLeaf is the clear half of a record to its leaf hash.
func BenchmarkLeaf(b *testing.B) {
	l := record.Leaf{Type: record.Plain, Kind: 2, Class: "default", Clear: record.Clear{"chat", "bench", "m-1", "stop"}}
	var scratch []byte
	b.ReportAllocs()
	for b.Loop() {
		l.Seq++
		scratch = l.Append(append(scratch[:0], 0))
		sha256.Sum256(scratch)
	}
}

// BenchmarkTree is a leaf's share of growing the tree by a segment of 65,536 leaves, interior nodes kept.
func BenchmarkTree(b *testing.B) {
	leaves := make([]merkle.Hash, 1<<16)
	for i := range leaves {
		leaves[i][0], leaves[i][1] = byte(i), byte(i>>8)
	}
	var levels [][]merkle.Hash
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		var f merkle.Frontier
		for i := range levels {
			levels[i] = levels[i][:0]
		}
		levels = f.AppendLevels(levels, leaves...)
		n += len(leaves)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/leaf")
}
