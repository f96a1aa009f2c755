package logpipe

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/stelelog/stele/internal/record"
)

// shard is one lane of the capture buffer. Records of one session go to one shard, which keeps their order.
type shard struct {
	mu       sync.Mutex // guards what follows
	cur      *arena
	closed   bool
	captured uint64
	inbox    *inbox
	memory   *memory
	stream   *stream

	_ [64]byte // shards do not share cache lines
}

func newShard(s *stream) *shard {
	return &shard{inbox: s.inbox, memory: s.memory, stream: s}
}

// put copies a checked record of the given encoded size into the shard. It returns ErrClosed or ErrFull, and with a
// durability other than Memory the ticket to wait on.
func (s *shard) put(r *Record, st *stamp, size int, d Durability) (t *ticket, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	a := s.cur
	if a == nil || cap(a.buf)-len(a.buf) < size {
		if a, err = s.next(size); err != nil {
			return nil, err
		}
	}
	if st.clock {
		st.time = a.now()
	}
	taken := false
	if a.big { // it is nobody else's yet
		defer func() {
			if !taken {
				s.memory.recycle(a)
			}
		}()
	}
	start := len(a.buf)
	end := start + size
	// A caller that changes the record meanwhile must not be able to leave half of one in the arena.
	if encodeRecord(a.buf[start:end:end], r, st) != size {
		return nil, invalid("", "changed while it was captured")
	}
	taken = true
	a.buf = a.buf[:end]
	a.records++
	s.captured++
	if d != Memory {
		t = a.wait(d)
	}
	if a.big {
		s.inbox.push(a)
	}
	s.inbox.note(d != Memory)
	return t, nil
}

// drop declares a record as lost that there was no room for. It returns ErrClosed if the stream declares nothing any more.
func (s *shard) drop(class string, why record.Reason, when int64) error {
	return s.dropAll(declared{lossKey{class, why}, lossSum{1, when, when}})
}

func (s *shard) dropAll(d declared) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.stream.losses.addAll(d)
	s.stream.dropped.Add(d.count)
	s.inbox.note(false)
	return nil
}

// leaveOut declares the records of a call as left out by sampling. It returns ErrClosed if the stream declares nothing any more.
func (s *shard) leaveOut(sum lossSum) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.stream.sampled.add(sum.count, sum.from, sum.until)
	return nil
}

// next makes room for size bytes. Requires mu.
func (s *shard) next(size int) (*arena, error) {
	a := s.memory.arena(size)
	if a == nil {
		s.inbox.note(true)
		return nil, ErrFull
	}
	if s.cur != nil && s.cur.records > 0 {
		s.inbox.push(s.cur)
		s.cur = nil
	}
	if !a.big {
		if s.cur != nil { // empty, so too small for nothing but an error before
			s.memory.recycle(s.cur)
		}
		s.cur = a
	}
	return a, nil
}

// take moves what was captured so far to the inbox.
func (s *shard) take(closing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = s.closed || closing
	if s.cur == nil {
		return
	}
	if s.cur.records > 0 {
		s.inbox.push(s.cur)
	} else {
		s.memory.recycle(s.cur)
	}
	s.cur = nil
}

// count returns how many records the shard has taken.
func (s *shard) count() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.captured
}

// inbox hands arenas to the sealing goroutine of a stream.
type inbox struct {
	wake   chan struct{} // one token: there is something to look at
	dirty  atomic.Bool   // something was captured since the last take
	urgent atomic.Bool   // somebody waits for it

	mu   sync.Mutex
	full []*arena
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// note wakes the sealing goroutine if it does not know yet that something was captured, or that somebody waits.
func (b *inbox) note(urgent bool) {
	if urgent && !b.urgent.Load() && b.urgent.CompareAndSwap(false, true) {
		b.signal()
	}
	if !b.dirty.Load() && b.dirty.CompareAndSwap(false, true) {
		b.signal()
	}
}

func (b *inbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// manyArenas wake the sealing goroutine at once: they make a frame of good size.
const manyArenas = 4

// push appends an arena, whose shard is locked.
func (b *inbox) push(a *arena) {
	b.mu.Lock()
	b.full = append(b.full, a)
	n := len(b.full)
	b.mu.Unlock()
	if n >= manyArenas {
		b.signal()
	}
}

func (b *inbox) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.full)
}

// takeAll returns what was pushed, in order.
func (b *inbox) takeAll(dst []*arena) []*arena {
	b.mu.Lock()
	defer b.mu.Unlock()
	dst = append(dst, b.full...)
	clear(b.full)
	b.full = b.full[:0]
	return dst
}

// linger is how long a captured record may wait for company.
func (b *inbox) linger(usual time.Duration) time.Duration {
	if b.urgent.Load() {
		return min(usual, urgentLinger)
	}
	return usual
}

const urgentLinger = 5 * time.Millisecond
