//go:build unix

package keyroot

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
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

// BenchmarkErase erases among 10⁶ scopes; each time from the same version, so nothing is put.
func BenchmarkErase(b *testing.B) {
	ctx := context.Background()
	scopes := benchScopes(1_000_000)
	for _, folds := range []int{1, 30} {
		s := benchService(b, scopes, folds)
		one := func(r *rand.Rand, ring *keyring.Ring, kind int) []keyring.Located {
			found, err := ring.Tagged(ctx, scopes[r.IntN(len(scopes))].Tags[kind])
			if err != nil {
				b.Fatal(err)
			}
			return found
		}
		for name, find := range map[string]func(r *rand.Rand, ring *keyring.Ring) []keyring.Located{
			"one-scope": func(r *rand.Rand, ring *keyring.Ring) []keyring.Located { return one(r, ring, 2)[:1] },
			"session":   func(r *rand.Rand, ring *keyring.Ring) []keyring.Located { return one(r, ring, 2) },
			"subject":   func(r *rand.Rand, ring *keyring.Ring) []keyring.Located { return one(r, ring, 1) },
			"tenant":    func(r *rand.Rand, ring *keyring.Ring) []keyring.Located { return one(r, ring, 0) },
			"10000-scopes": func(r *rand.Rand, ring *keyring.Ring) []keyring.Located {
				var ids [][16]byte
				for range 10_000 {
					ids = append(ids, scopes[r.IntN(len(scopes))].ID)
				}
				found, err := ring.Find(ctx, ids)
				if err != nil {
					b.Fatal(err)
				}
				return found
			},
		} {
			b.Run(fmt.Sprintf("runs=%d/%s", len(s.ring.Runs), name), func(b *testing.B) {
				r := rand.New(rand.NewPCG(3, 4))
				var bytes, gone, rounds int
				cpu := cpuTime(b)
				for b.Loop() {
					ring := s.ring.Cached(1 << 15)
					found := find(r, ring)
					bytes += s.eraseFully(b, ring, keyring.Erasure{Scopes: found, Tombstones: []keyring.Tombstone{{Tag: found[0].Tags[1], Cutoff: 1}}})
					gone += len(found)
					rounds++
				}
				b.ReportMetric(float64(bytes)/float64(rounds), "B-written/op")
				b.ReportMetric(float64(gone)/float64(rounds), "scopes/op")
				b.ReportMetric((cpuTime(b)-cpu).Seconds()*1000/float64(rounds), "cpu-ms/op")
			})
		}
	}
}
