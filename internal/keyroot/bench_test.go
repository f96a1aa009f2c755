//go:build unix

package keyroot

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"syscall"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/keytrie"
)

// benchScopes makes n scopes of 100 days and 40 streams: 200 tenants, subjects with 20 scopes, sessions with 3.
func benchScopes(n int) []keyring.Scope {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]keyring.Scope, n)
	tag := func(kind byte, i int) (t keyring.Tag) {
		h := sha256.Sum256(binary.LittleEndian.AppendUint64([]byte{kind}, uint64(i)))
		copy(t[:], h[:])
		return t
	}
	for i := range out {
		s := &out[i]
		day := uint16(20_000 + i*100/n)
		var id [14]byte
		for k := range id {
			id[k] = byte(r.Uint32())
		}
		s.ID = keyscope.ScopeID(day, id)
		stream := r.IntN(40)
		s.Stream = [16]byte{1, byte(stream)}
		h := sha256.Sum256([]byte{byte(stream), byte(day), byte(day >> 8)})
		copy(s.Encap[:], h[:])
		for k := range s.Inner {
			s.Inner[k] = byte(r.Uint32())
		}
		s.Start, s.Class, s.Week = keyscope.DayStart(day).UnixNano()+r.Int64N(86400e9), "default", keyscope.Week(keyscope.DayStart(day))
		s.Tags = keyring.Tags{tag(1, r.IntN(200)), tag(2, r.IntN(n/20)), tag(3, r.IntN(n/3))}
		switch i % 500 {
		case bigSubject: // of one tenant, in sessions of three
			s.Tags = keyring.Tags{tag(1, 7), tag(2, n), tag(3, n+i/1500)}
		case scattered: // of any tenant, each in another session
			s.Tags[1] = tag(2, n+1)
		}
		s.Place(keyscope.DayStart(day), 0)
	}
	return out
}

// benchService has n scopes, folded in a number of steps.
func benchService(b *testing.B, scopes []keyring.Scope, folds int) *service {
	s := newService(b)
	s.random = rand.NewChaCha8([32]byte{1})
	s.sets = [][]string{{"a"}}
	written := 0
	start := cpuTime(b)
	for i := range folds {
		part := scopes[len(scopes)*i/folds : len(scopes)*(i+1)/folds]
		batch := keyring.Batch{Scopes: part}
		x := s.write(b, func(w *keytrie.Writer) (*keyring.Ring, error) {
			ring, err := s.ring.Fold(context.Background(), w, batch)
			written += w.Tally().Bytes
			return ring, err
		})
		x.Live += uint64(len(part))
		x.Fold = &Fold{Added: uint64(len(part))}
		if last, _ := s.state.Last(); last == nil {
			x.Top, x.Custody = s.custody(b, 1)
		} else {
			top := s.tops[1]
			x.Top = &top
		}
		if !s.put(b, x) {
			b.Fatal("lost")
		}
	}
	size := 0
	last, _ := s.state.Last()
	for _, p := range last.Packs {
		size += int(p.Size)
	}
	b.Logf("%d scopes in %d folds: %d runs, %d packs, %.1f B/scope, %.1f B/scope written, %.2f µs/scope", len(scopes), folds, len(last.Runs),
		len(last.Packs), float64(size)/float64(len(scopes)), float64(written)/float64(len(scopes)), float64((cpuTime(b)-start).Microseconds())/float64(len(scopes)))
	return s
}

// eraseFully does what one erasure costs beside custodians and the store: find, make, gate, list, record.
func (s *service) eraseFully(b *testing.B, ring *keyring.Ring, e keyring.Erasure) (written int) {
	ctx := context.Background()
	var list *keyring.Erased
	x := s.write(b, func(w *keytrie.Writer) (next *keyring.Ring, err error) {
		next, list, err = ring.Erase(ctx, w, e)
		if err == nil {
			err = w.Close()
		}
		written += w.Tally().Bytes
		return next, err
	})
	if err := keyring.Gate(ctx, ring, x.Ring, &e, list, 32, s.random); err != nil {
		b.Fatal(err)
	}
	data := list.Marshal(archive)
	written += len(data)
	x.Live -= list.Scopes()
	x.Erased = &Erased{Cause: "request", Requests: []Outcome{{Erased: list.Scopes()}}, Scopes: list.Scopes(), Removed: list.Paths(), Spent: uint64(len(list.Spent)), Root: list.Root(),
		List: sha256.Sum256(data), Size: int64(len(data))}
	last, _ := s.state.Last()
	x.Top, x.Custody = s.custody(b, last.Generation+1)
	file, err := s.state.Build(s.tail, x, s.random, s.signer)
	if err != nil {
		b.Fatal(err)
	}
	delete(s.tops, last.Generation+1)
	if testing.Verbose() {
		b.Logf("%d bytes of nodes, %d of the list, %d of the record", written-len(data), len(data), len(file))
	}
	return written + len(file)
}

// cpuTime is the CPU time that the process has used: this benchmark shares its machine.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// These subjects have one scope in 500.
const bigSubject, scattered = 7, 8

// BenchmarkErase erases among 10⁶ scopes; each time from the same version, so nothing is put. What it is beside is to
// write all that lives again, under new keys.
func BenchmarkErase(b *testing.B) {
	ctx := context.Background()
	for _, folds := range []int{1, 30} {
		scopes := benchScopes(1_000_000)
		s := benchService(b, scopes, folds)
		ids, tags := make([][16]byte, len(scopes)), make([]keyring.Tags, len(scopes))
		for i := range scopes {
			ids[i], tags[i] = scopes[i].ID, scopes[i].Tags
		}
		scopes = nil // a service does not have them in memory either
		tagged := func(i, kind int) func(*keyring.Ring) ([]keyring.Located, error) {
			return func(ring *keyring.Ring) ([]keyring.Located, error) { return ring.Tagged(ctx, tags[i][kind]) }
		}
		r := rand.New(rand.NewPCG(3, 4))
		for _, x := range []struct {
			name string
			find func() func(*keyring.Ring) ([]keyring.Located, error)
		}{
			{"one-scope", func() func(*keyring.Ring) ([]keyring.Located, error) {
				id := ids[r.IntN(len(ids))]
				return func(ring *keyring.Ring) ([]keyring.Located, error) { return ring.Find(ctx, [][16]byte{id}) }
			}},
			{"session", func() func(*keyring.Ring) ([]keyring.Located, error) { return tagged(r.IntN(len(ids)), 2) }},
			{"subject", func() func(*keyring.Ring) ([]keyring.Located, error) { return tagged(500*r.IntN(len(ids)/500), 1) }},
			{"subject-of-2000", func() func(*keyring.Ring) ([]keyring.Located, error) { return tagged(bigSubject, 1) }},
			{"2000-all-over", func() func(*keyring.Ring) ([]keyring.Located, error) { return tagged(scattered, 1) }},
			{"10000-scopes", func() func(*keyring.Ring) ([]keyring.Located, error) {
				some := make([][16]byte, 10_000)
				for i := range some {
					some[i] = ids[r.IntN(len(ids))]
				}
				return func(ring *keyring.Ring) ([]keyring.Located, error) { return ring.Find(ctx, some) }
			}},
		} {
			b.Run(fmt.Sprintf("runs=%d/%s", len(s.ring.Runs), x.name), func(b *testing.B) {
				var bytes, gone, rounds int
				once := func() {
					ring := s.ring.Cached(keyring.EraseCache)
					found, err := x.find()(ring)
					if err != nil || len(found) == 0 {
						b.Fatal(len(found), err)
					}
					bytes += s.eraseFully(b, ring, keyring.Erasure{Scopes: found, Tombstones: []keyring.Tombstone{{Tag: found[0].Tags[1], Cutoff: 1}}})
					gone += len(found)
					rounds++
				}
				cpu := cpuTime(b)
				for b.Loop() {
					once()
				}
				b.ReportMetric((cpuTime(b)-cpu).Seconds()*1000/float64(rounds), "cpu-ms/op")
				before := bytes
				percent := debug.SetGCPercent(1) // of a heap that holds all packs: what is measured is not garbage
				runtime.GC()
				peak := heapPeak()
				once()
				b.ReportMetric(max(0, float64(peak())-float64(bytes-before))/(1<<20), "MiB-held")
				debug.SetGCPercent(percent)
				b.ReportMetric(float64(bytes)/float64(rounds), "B-written/op")
				b.ReportMetric(float64(gone)/float64(rounds), "scopes/op")
			})
		}
		b.Run(fmt.Sprintf("runs=%d/rewrite-everything", len(s.ring.Runs)), func(b *testing.B) {
			rounds, bytes, cpu := 0, 0, cpuTime(b)
			for b.Loop() {
				bytes += s.rewriteAll(b)
				rounds++
			}
			b.ReportMetric((cpuTime(b)-cpu).Seconds()*1000/float64(rounds), "cpu-ms/op")
			b.ReportMetric(float64(bytes)/float64(rounds), "B-written/op")
		})
	}
}

// rewriteAll writes every node of all runs again under a fresh key: what an erasure costs without a trie.
func (s *service) rewriteAll(b *testing.B) (written int) {
	ctx := context.Background()
	w := keytrie.NewWriter(archive, 1<<20, 64<<20, s.random, func(uint64, []byte) error { return nil })
	keys := &keytrie.Trie{Archive: archive, Source: s.ring.Packs}
	index := &keytrie.Trie{Archive: archive, Source: s.ring.Packs, Hidden: true}
	for i := range s.ring.Runs {
		if _, err := keys.Rewrite(ctx, w, s.ring.Runs[i].Keys, 0); err != nil {
			b.Fatal(err)
		}
		if _, err := index.Rewrite(ctx, w, s.ring.Runs[i].Index, 0); err != nil {
			b.Fatal(err)
		}
	}
	return w.Tally().Bytes
}

// heapPeak begins to watch the heap, and returns a function that says by how much it has grown at most.
func heapPeak() func() uint64 {
	read := func() uint64 {
		x := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(x)
		return x[0].Value.Uint64()
	}
	base, peak, stop, done := read(), uint64(0), make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for {
			peak = max(peak, read())
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() uint64 {
		close(stop)
		<-done
		return peak - min(base, peak)
	}
}
