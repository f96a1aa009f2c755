package logpipe

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// nullTransport accepts everything at once, if gate is nil or open.
type nullTransport struct {
	s       *stream
	records atomic.Uint64
	bytes   atomic.Uint64
	gate    chan struct{} // closed: open

	mu       sync.Mutex
	messages []message
	keep     bool
}

// open returns what the transport has taken.
func (t *nullTransport) open(tb testing.TB, a *archive) *opened {
	tb.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	o, err := a.open(t.messages)
	if err != nil {
		tb.Fatal(err)
	}
	return o
}

func (t *nullTransport) run(ctx context.Context) {
	if t.gate != nil {
		select {
		case <-t.gate:
		case <-ctx.Done():
			return
		}
	}
	for {
		items, _, closed := t.s.out.from(0)
		for _, it := range items {
			t.records.Add(uint64(it.records))
			t.bytes.Add(uint64(len(it.data)))
			if t.keep {
				t.mu.Lock()
				t.messages = append(t.messages, message{logOf(it), it.data})
				t.mu.Unlock()
			}
		}
		t.s.out.accept(len(items), true)
		if closed && t.s.out.size() == 0 {
			return
		}
		select {
		case <-t.s.out.wake:
		case <-ctx.Done():
			return
		}
	}
}

func (t *nullTransport) spooled() int64 { return 0 }
func (t *nullTransport) abort()         {}

// openNull opens a pipe that goes nowhere.
func openNull(t testing.TB, cfg Config, gate chan struct{}) (*Pipe, []*nullTransport) {
	t.Helper()
	var all []*nullTransport
	p, err := open(t.Context(), cfg, func(_ *Pipe, s *stream) (transport, error) {
		null := &nullTransport{s: s, gate: gate, keep: gate != nil}
		all = append(all, null)
		return null, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, all
}

// prose makes n bytes that compress about as prose does.
func prose(n int) []byte {
	words := strings.Fields("the a stele stone of what is written model answered question in on for with subject record archive kept nobody can change and forget one person when law says so proof tree hash leaf frame")
	rng := rand.New(rand.NewPCG(1, 2))
	var b []byte
	for len(b) < n {
		b = append(b, words[rng.IntN(len(words))]...)
		b = append(b, " .,\n"[rng.IntN(4)])
		b = append(b, byte('a'+rng.IntN(26)))
	}
	return b[:n]
}

// BenchmarkCapture measures capture, sealing and framing, drained to a transport that goes nowhere. ns/op is time on the
// wall with all goroutines capturing as fast as they can, so the sealing goroutine bounds it; caller-ns is the time of a
// Capture that finds room; cpu-ns/rec is all CPU of the process.
func BenchmarkCapture(b *testing.B) {
	for _, size := range []int{1 << 10, 4600, 400 << 10} {
		for _, perScope := range []int{1, 100} {
			for _, callers := range []int{1, 2, 4} {
				for _, packing := range []string{"small", "fast"} {
					b.Run(fmt.Sprintf("body=%d/scope=%d/callers=%d/%s", size, perScope, callers, packing), func(b *testing.B) {
						benchCapture(b, size, perScope, callers, packing)
					})
				}
			}
		}
	}
}

func benchCapture(b *testing.B, size, perScope, callers int, packing string) {
	_, _, cfg := fileArchive(b)
	cfg.Compression = packing
	cfg.Default = ClassConfig{OnFull: Wait, Wait: time.Minute}
	p, nulls := openNull(b, cfg, nil)
	pool := prose(size + 1<<20)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	before := cpuTime(b)
	b.ResetTimer()
	var next atomic.Int64
	done := make(chan error, callers)
	for range callers {
		go func() {
			r := Record{Kind: Output, Tenant: "t", Subject: "s", Time: time.Unix(1_700_000_000, 0).UTC()}
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					done <- nil
					return
				}
				if n%int64(perScope) == 0 || r.Session == "" {
					r.Session = fmt.Sprint(n)
				}
				at := int(n) * (size + 13) % (1 << 20)
				r.Body = pool[at : at+size]
				if err := p.Capture(context.Background(), &r); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for range callers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/rec")
	records, bytes := uint64(0), uint64(0)
	for _, n := range nulls {
		records += n.records.Load()
		bytes += n.bytes.Load()
	}
	if records != uint64(b.N) {
		b.Fatalf("%d of %d records were drained", records, b.N)
	}
	b.ReportMetric(float64(bytes)/float64(b.N)/float64(size), "sealed/raw")
}

// stillPipe is a pipe whose goroutines were not started: nothing competes with the caller, and drop gives the arenas back
// unread.
func stillPipe(t testing.TB) (p *Pipe, drop func()) {
	t.Helper()
	_, _, cfg := fileArchive(t)
	set, err := cfg.settle()
	if err != nil {
		t.Fatal(err)
	}
	p = newPipe(set)
	err = p.connect(nil, func(_ *Pipe, s *stream) (transport, error) { return &nullTransport{s: s}, nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.abort)
	var arenas []*arena
	return p, func() {
		for _, s := range p.streams {
			for _, sh := range s.shards {
				sh.take(false)
			}
			arenas = s.inbox.takeAll(arenas[:0])
			for _, a := range arenas {
				p.memory.recycle(a)
			}
		}
	}
}

// BenchmarkCaptureCaller measures the caller's path alone.
func BenchmarkCaptureCaller(b *testing.B) {
	for _, size := range []int{1 << 10, 4600} {
		for _, kind := range []string{"plain", "now", "attributes"} {
			b.Run(fmt.Sprintf("body=%d/%s", size, kind), func(b *testing.B) {
				p, drop := stillPipe(b)
				r := Record{Kind: Output, Tenant: "t", Subject: "s", Session: "1", Body: prose(size), Time: time.Unix(1_700_000_000, 0).UTC()}
				switch kind {
				case "now":
					r.Time = time.Time{}
				case "attributes":
					r.Attributes = []byte(`{"gen_ai.operation.name":"chat","gen_ai.provider.name":"openai","gen_ai.request.model":"m-1","gen_ai.usage.input_tokens":120,"gen_ai.usage.output_tokens":340}`)
				}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				for n := 0; n < b.N; n++ {
					if n%1000 == 0 {
						b.StopTimer()
						drop()
						b.StartTimer()
					}
					if err := p.Capture(context.Background(), &r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
