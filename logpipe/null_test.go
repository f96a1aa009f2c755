package logpipe

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
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
