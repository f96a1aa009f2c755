package keyring

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/keytrie"
)

// packs is a source in memory.
type packs map[uint64][]byte

func (p packs) ReadPack(_ context.Context, pack, offset uint64, n int) ([]byte, error) {
	data, ok := p[pack]
	if !ok || offset+uint64(n) > uint64(len(data)) {
		return nil, fmt.Errorf("pack %d has no %d bytes at %d", pack, n, offset)
	}
	return data[offset : offset+uint64(n) : offset+uint64(n)], nil
}

// fatal is what helpers need of tests, benchmarks and rapid's checks.
type fatal interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// world is a ring with what is needed to make its next version.
type world struct {
	*Ring
	packs  packs
	next   uint64
	limit  int
	keys   io.Reader // of node keys
	rand   *rand.Rand
	day    uint16 // today
	serial uint64
	tally  keytrie.Tally // of the last write
}

const firstDay = 20_000

func newWorld(seed uint64) *world {
	p := packs{}
	return &world{Ring: &Ring{Archive: [16]byte{3}, Packs: p}, packs: p, next: 1, limit: 1 << 20,
		keys: rand.NewChaCha8([32]byte{byte(seed)}), rand: rand.New(rand.NewPCG(seed, 9)), day: firstDay}
}

// write runs f with a writer, closes it, and checks that each new run names packs that there are.
func (w *world) write(t fatal, f func(*keytrie.Writer) (*Ring, error)) *Ring {
	t.Helper()
	out := keytrie.NewWriter(w.Archive, w.next, w.limit, w.keys, func(n uint64, data []byte) error {
		w.packs[n] = bytes.Clone(data)
		return nil
	})
	next, err := f(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	w.next, w.tally = out.Next(), out.Tally()
	for i, run := range next.Runs {
		if !slices.IsSorted(run.Packs) {
			t.Fatalf("run %d names packs %v", i, run.Packs)
		}
		for _, n := range run.Packs {
			if w.packs[n] == nil {
				t.Fatalf("run %d names pack %d, which does not exist", i, n)
			}
		}
	}
	return next
}

func (w *world) fold(t fatal, b Batch) {
	t.Helper()
	before := w.Ring
	next := w.write(t, func(out *keytrie.Writer) (*Ring, error) { return before.Fold(context.Background(), out, b) })
	if err := CheckFold(context.Background(), before, next, b); err != nil {
		t.Fatal(err)
	}
	w.Ring = next
}

// erase erases, and lets everything check it that can.
func (w *world) erase(t fatal, e Erasure) *Erased {
	t.Helper()
	ctx := context.Background()
	before := w.Ring
	var list *Erased
	next := w.write(t, func(out *keytrie.Writer) (next *Ring, err error) {
		next, list, err = before.Erase(ctx, out, e)
		return next, err
	})
	if err := Gate(ctx, before, next, &e, list, 8, w.keys); err != nil {
		t.Fatal(err)
	}
	w.Ring = next
	return list
}

// at is a time of day of a day.
func at(day uint16, of time.Duration) time.Time { return keyscope.DayStart(day).Add(of) }

// offer makes a grant of today, placed: of one of some streams, with tags out of some, in a class with a TTL or without.
func (w *world) offer(subjects int, ttl uint16) Scope {
	w.serial++
	var r [14]byte
	for i := range r {
		r[i] = byte(w.rand.Uint32())
	}
	s := Scope{Week: keyscope.Week(keyscope.DayStart(w.day)), Start: at(w.day, time.Duration(w.rand.IntN(86400))*time.Second).UnixNano()}
	s.ID = keyscope.ScopeID(w.day+ttl, r)
	stream := uint64(w.rand.IntN(20))
	s.Stream, s.Encap = id16("stream", stream), id16(fmt.Sprint("encapsulation of day ", w.day), stream)
	binary.LittleEndian.PutUint64(s.Inner[:], w.serial)
	s.Tags[1] = tag("subject", w.rand.IntN(subjects))
	if w.rand.IntN(2) == 0 {
		s.Tags[0] = tag("tenant", w.rand.IntN(3))
	}
	if w.rand.IntN(4) > 0 {
		s.Tags[2] = tag("session", w.rand.IntN(3*subjects))
	}
	s.Class = []string{"default", "audit", "a-class"}[w.rand.IntN(3)]
	if ttl > 0 {
		s.Class = "state"
	}
	s.Place(at(w.day, 12*time.Hour), ttl)
	return s
}

func id16(kind string, n uint64) (id [16]byte) {
	h := keyscope.KeyCheck([16]byte{}, [16]byte{}, (*[48]byte)(slices.Concat([]byte(kind), make([]byte, 48))[:48]))
	copy(id[:], h[:])
	binary.BigEndian.PutUint64(id[8:], n)
	// The first four bytes of an encapsulation id may be those of another one.
	id[0] ^= byte(n % 2)
	return id
}

func tag(kind string, n int) (t Tag) {
	copy(t[:], kind)
	binary.BigEndian.PutUint32(t[8:], uint32(n)+1)
	// Tags share their first bytes now and then.
	t[4] = byte(n % 7)
	return t
}

func intake(week uint16) IntakeKey {
	return IntakeKey{Week: week, Public: id16("intake", uint64(week)), Seed: [32]byte{byte(week)}}
}

func mustList(t testing.TB, list *Erased, archive [16]byte) {
	t.Helper()
	again, err := ParseErased(archive, list.Marshal(archive))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(again.Removed, list.Removed, equalPaths) || !equalPaths(again.Spent, list.Spent) || again.Root() != list.Root() {
		t.Fatalf("the list is read as %v, was %v", again, list)
	}
}

func equalPaths(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }
