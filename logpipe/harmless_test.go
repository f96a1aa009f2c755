package logpipe

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/kafka"
	"github.com/stelelog/stele/internal/spool"
)

// shutBubble runs f under a clock of its own, with a pipe whose transport takes nothing before f closes gate.
func shutBubble(t *testing.T, change func(*Config), f func(t *testing.T, a *archive, p *Pipe, n *nullTransport, gate chan struct{})) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, _, cfg := fileArchive(t)
		cfg.Memory, cfg.Beat = minMemory, time.Hour
		if change != nil {
			change(&cfg)
		}
		gate := make(chan struct{})
		p, nulls := openNull(t, cfg, gate)
		f(t, a, p, nulls[0], gate)
	})
}

// Who waits for a durability that does not come is told so by Close.
func TestCloseAnswersWhoWaits(t *testing.T) {
	change := func(c *Config) { c.Default.Durability = Acked }
	shutBubble(t, change, func(t *testing.T, a *archive, p *Pipe, n *nullTransport, gate chan struct{}) {
		told := make(chan error, 2)
		go func() { told <- p.Capture(context.Background(), &Record{Kind: Input}) }()
		go func() { told <- p.Flush(context.Background()) }()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		p.Close(ctx)
		for range 2 {
			synctest.Wait()
			select {
			case err := <-told:
				if !errors.Is(err, ErrClosed) {
					t.Errorf("%v, want ErrClosed", err)
				}
			default:
				t.Error("a caller waits for a pipe that is closed")
			}
		}
	})
}

// A hook of the service that hangs does not make Close hang.
func TestCloseDoesNotWaitForAHook(t *testing.T) {
	var hang chan struct{}
	change := func(c *Config) {
		hang = make(chan struct{})
		c.Redact = func(*Record) error { <-hang; return nil }
	}
	shutBubble(t, change, func(t *testing.T, a *archive, p *Pipe, n *nullTransport, gate chan struct{}) {
		close(gate)
		if err := p.Capture(t.Context(), &Record{Kind: Input}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		go func() { // a Close that waits must not hang the test
			time.Sleep(time.Minute)
			close(hang)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := p.Close(ctx)
		if d := time.Since(start); d > 10*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v after %v", err, d)
		}
		time.Sleep(time.Minute) // the goroutines end when the hook does
	})
}

// What is lost in an outage is declared in a few leaves, however long it lasts.
func TestLossesDoNotFillTheMemory(t *testing.T) {
	change := func(c *Config) { c.Default.OnFull = DropAndDeclare }
	shutBubble(t, change, func(t *testing.T, a *archive, p *Pipe, n *nullTransport, gate chan struct{}) {
		const lost = 1000
		body := random(minMemory / 8 * 5)
		for range 1 + lost {
			if err := p.Capture(t.Context(), &Record{Kind: Input, Body: body}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if used := p.Stats().Memory; used > minMemory {
			t.Errorf("%d bytes in use, the bound is %d", used, minMemory)
		}
		close(gate)
		mustClose(t, p)
		if o := n.open(t, a); len(o.records()) != 1 || o.lost(t) != lost {
			t.Errorf("%d records, %d declared lost", len(o.records()), o.lost(t))
		}
	})
}

// Ends of sessions that nobody waits for any more do not pile up in an outage.
func TestSessionEndsDoNotFillTheMemory(t *testing.T) {
	shutBubble(t, nil, func(t *testing.T, a *archive, p *Pipe, n *nullTransport, gate chan struct{}) {
		for i := range 2000 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			if err := p.Session("t", "s", fmt.Sprint(i)).End(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			cancel()
		}
		if used := p.Stats().Memory; used > minMemory {
			t.Errorf("%d bytes in use, the bound is %d", used, minMemory)
		}
		told := make(chan error)
		go func() { told <- p.Session("t", "s", "last").End(context.Background()) }()
		time.Sleep(time.Second)
		close(gate)
		if err := <-told; err != nil {
			t.Error(err)
		}
		mustClose(t, p)
		if ends := n.open(t, a).ends; len(ends) < 2 {
			t.Errorf("%d ends of sessions", len(ends))
		}
	})
}

// Small frames that wait for hours take the memory that they are counted with.
func TestSmallFramesAreCountedInFull(t *testing.T) {
	shutBubble(t, nil, func(t *testing.T, a *archive, p *Pipe, n *nullTransport, gate chan struct{}) {
		before := p.Stats().Memory
		for range 100 {
			if err := p.Capture(t.Context(), &Record{Kind: Input, Session: "s"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		held := int64(0)
		items, _, _ := n.s.out.from(0)
		for _, it := range items {
			held += int64(cap(it.data))
		}
		if counted := p.Stats().Memory - before; held > counted {
			t.Errorf("%d frames hold %d bytes and are counted as %d", len(items), held, counted)
		}
		close(gate)
		mustClose(t, p)
	})
}

// States of a call that is not sampled, and that there is no room to hold, hold nothing.
func TestStatesWithoutRoomHoldNothing(t *testing.T) {
	change := func(c *Config) { c.Sample = func(*Record) bool { return false } }
	shutBubble(t, change, func(t *testing.T, a *archive, p *Pipe, n *nullTransport, gate chan struct{}) {
		close(gate)
		const states = 20_000
		calls := []*Call{p.Begin(t.Context(), Record{Session: "a"}), p.Begin(t.Context(), Record{Session: "b"})}
		held := 0
		body := random(1 << 10)
		for range 2 * minMemory / len(body) { // more than there is room for
			calls[0].State(t.Context(), Record{Body: body})
		}
		held = len(calls[0].way.held)
		heap := func() int64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := heap()
		for range states {
			calls[1].State(t.Context(), Record{Class: "state", Body: body})
		}
		if grown := heap() - before; grown > 2<<20 {
			t.Errorf("%d states without room hold %d bytes", states, grown)
		}
		for i, failed := range []error{errors.New("x"), errors.New("y")} {
			calls[i].End(t.Context(), failed)
		}
		mustClose(t, p)
		o := n.open(t, a)
		if want := uint64(2*minMemory/len(body) + states + 2); uint64(len(o.records()))+o.lost(t) != want || len(o.records()) < held {
			t.Errorf("%d records and %d declared lost, want %d together, and %d records", len(o.records()), o.lost(t), want, held)
		}
	})
}

// A record is acknowledged when the brokers have it, not when it waits for them in the spool.
func TestInTheSpoolIsNotAcknowledged(t *testing.T) {
	o := newOutbox(newMemory(minMemory, 1))
	it := &item{data: []byte("frame"), records: 1}
	o.push(it)
	o.accept(1, false)
	spooled, acked := newRequest().ticket, newRequest().ticket
	o.attach(onSpooled, spooled)
	o.attach(onAcked, acked)
	for _, want := range []struct {
		t    *ticket
		done bool
	}{{spooled, true}, {acked, false}} {
		select {
		case <-want.t.done:
			if !want.done {
				t.Error("acknowledged while it is in the spool")
			}
		default:
			if want.done {
				t.Error("not known to be in the spool")
			}
		}
	}
	o.arrived([]*item{it})
	select {
	case <-acked.done:
	default:
		t.Error("not acknowledged by the brokers")
	}
}

// A lane of a dead pipe that is damaged keeps no service from starting.
func TestOpenBesideADamagedLane(t *testing.T) {
	_, path, cfg := fileArchive(t)
	p := mustOpen(t, cfg)
	for range 20 {
		if err := p.Capture(t.Context(), &Record{Kind: Input, Body: random(100)}); err != nil {
			t.Fatal(err)
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, p)
	unclose(t, p.streams[0].slot.path)
	lane := filepath.Join(path, "lanes", fmt.Sprintf("%x", p.streams[0].id))
	if err := os.Remove(filepath.Join(lane, "end.json")); err != nil {
		t.Fatal(err)
	}
	damage(t, filepath.Join(lane, fmt.Sprintf("%s-%020d.log", spool.Frames, 0)))
	mustClose(t, mustOpen(t, cfg))
}

// unclose makes the tip of a slot that of a stream whose process died.
func unclose(t *testing.T, path string) {
	t.Helper()
	s, err := openSlot(filepath.Dir(path), [16]byte{})
	if err != nil || s.path != path {
		t.Fatal(err)
	}
	s.last.closed = false
	if err := s.write(&s.last); err != nil {
		t.Fatal(err)
	}
	s.close()
}

// What waits in the spool for brokers that are away for long takes no memory for each message.
func TestAwaitedAreFew(t *testing.T) {
	var as awaited
	records := 0
	for pos := range uint64(10_000) {
		for _, kind := range []spool.Kind{spool.Grants, spool.Frames} {
			it := &item{records: int(kind)}
			records += it.records
			if pos%5000 == 7 {
				it.tickets[onAcked] = []*ticket{newRequest().ticket}
			}
			as.add(&awaiting{[16]byte{byte(pos / 5000)}, lanePlace{kind, pos}, it})
		}
	}
	if len(as) > 12 {
		t.Errorf("%d are kept", len(as))
	}
	last := map[spool.Kind]uint64{}
	waits := 0
	for _, a := range as {
		if a.place.pos < last[a.place.kind] {
			t.Errorf("%v %d after %d", a.place.kind, a.place.pos, last[a.place.kind])
		}
		last[a.place.kind] = a.place.pos
		records -= a.item.records
		if a.item.urgent() {
			waits++
			if a.place.pos%5000 != 7 {
				t.Errorf("somebody waits for %d", a.place.pos)
			}
		}
	}
	if records != 0 || waits != 4 || last[spool.Frames] != 9999 || last[spool.Grants] != 9999 {
		t.Errorf("%d records and %d who wait are missing, ends %v", records, 4-waits, last)
	}
}

// A lane of a dead pipe that is damaged does not keep what comes after it from the brokers.
func TestDrainBehindADamagedLane(t *testing.T) {
	t.Parallel()
	a, _, cfg := brokerArchive(t)
	cfg.SpoolDir = t.TempDir()
	dir, err := spool.Open(cfg.SpoolDir, spool.Options{FileBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	dead := [16]byte{7}
	w, err := dir.CreateLane(dead)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		b := frame.Beat{Archive: a.writer.Archive, Stream: dead, Seq: uint64(i), Time: int64(i)}
		_, key, _ := ed25519.GenerateKey(nil)
		if _, err := w.Append(spool.Frames, b.Append(nil, key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	damage(t, filepath.Join(cfg.SpoolDir, "lanes", fmt.Sprintf("%x", dead), fmt.Sprintf("%s-%020d.log", spool.Frames, 1)))
	p := mustOpen(t, cfg)
	if err := p.Capture(t.Context(), &Record{Kind: Input}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if got := p.Stats().Acked; got != 1 {
		t.Errorf("%d records are acknowledged, want 1", got)
	}
	if lanes, err := dir.Lanes(); err != nil || len(lanes) != 1 || lanes[0].ID != dead || lanes[0].Held {
		t.Errorf("lanes %+v (%v), want the damaged one", lanes, err)
	}
}

// damage changes a bit in the middle of a file.
func damage(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// narrow is a topic that takes batches of so many bytes.
type narrow struct {
	most int
	got  *[]string
}

func (n narrow) Produce(_ context.Context, _ int, values [][]byte) (int64, error) {
	size := 0
	for _, v := range values {
		size += len(v)
	}
	if size > n.most {
		return -1, kafka.ErrTooLarge
	}
	for _, v := range values {
		*n.got = append(*n.got, string(v))
	}
	return 0, nil
}

// A topic whose max.message.bytes is less than a batch, but enough for each message, gets them all, in order.
func TestBatchesFitTheTopic(t *testing.T) {
	var messages [][]byte
	var want []string
	for i := range 40 {
		m := make([]byte, 1000*(1+i%40*7%40))
		m[0] = byte(i)
		messages, want = append(messages, m), append(want, string(m))
	}
	var got []string
	if err := send(t.Context(), narrow{50_000, &got}, 0, messages); err != nil || !slices.Equal(got, want) {
		t.Errorf("%d of %d messages: %v", len(got), len(want), err)
	}
	if err := send(t.Context(), narrow{30_000, &got}, 0, messages); !errors.Is(err, kafka.ErrTooLarge) {
		t.Errorf("a message that does not fit: %v", err)
	}
}

// A large record that its caller changes while it is captured is refused and holds no memory.
func TestRefusedRecordHoldsNoMemory(t *testing.T) {
	shutBubble(t, nil, func(t *testing.T, a *archive, p *Pipe, n *nullTransport, gate chan struct{}) {
		close(gate)
		r := &Record{Kind: Input, Body: random(minMemory / 2)}
		size, before := sizeOf(r), p.memory.inUse()
		r.Body = r.Body[1:]
		if _, err := p.shards[0].put(r, &stamp{}, size, Memory); err == nil {
			t.Error("half a record was taken")
		}
		r.Body = random(minMemory)
		func() {
			defer func() { recover() }()
			if _, err := p.shards[0].put(r, &stamp{}, size, Memory); err == nil {
				t.Error("a part of a record was taken")
			}
		}()
		if used := p.memory.inUse(); used != before {
			t.Errorf("%d bytes are held for nothing", used-before)
		}
		mustClose(t, p)
	})
}
