package logpipe

import (
	"sync"
	"time"
)

const (
	arenaSize    = 256 << 10
	minArenaSize = 8 << 10
)

// arena holds encoded records between Capture and sealing.
type arena struct {
	buf     []byte
	records int
	big     bool // made for one record, not to be used again
	tickets [2]*ticket
	begun   time.Time // when the first record without a time came
	wall    int64     // the same in nanoseconds
}

// now is the time in nanoseconds. It reads the wall clock once for an arena, which lives for a linger: the clock costs
// more than the copy of a small record, and the monotonic one costs half.
func (a *arena) now() int64 {
	if a.wall == 0 {
		a.begun = time.Now()
		a.wall = a.begun.UnixNano()
		return a.wall
	}
	return a.wall + int64(time.Since(a.begun))
}

// ticket is what callers wait on until their records have reached a durability.
type ticket struct {
	done chan struct{}
	err  error // set before done is closed
}

func (t *ticket) close(err error) {
	t.err = err
	close(t.done)
}

// Places of tickets in an arena.
const (
	onSpooled = iota
	onAcked
)

// wait returns the ticket for a durability, made for the first caller that waits.
func (a *arena) wait(d Durability) *ticket {
	t := &a.tickets[d-Spooled]
	if *t == nil {
		*t = &ticket{done: make(chan struct{})}
	}
	return *t
}

// memory is the bound on everything between Capture and the acceptance by the transport: arenas in use and sealed frames.
type memory struct {
	limit int64
	size  int // of an arena

	mu    sync.Mutex
	used  int64
	free  []*arena      // count as unused
	freed chan struct{} // closed when something is given back; nil if nobody waits
}

func newMemory(limit int64, shards int) *memory {
	size := min(arenaSize, limit/int64(4*shards))
	return &memory{limit: limit, size: int(max(size, minArenaSize))}
}

// arena returns an empty arena with room for n bytes, or nil if there is no room now.
func (m *memory) arena(n int) *arena {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > m.size {
		if m.used+int64(n) > m.limit {
			return nil
		}
		m.used += int64(n)
		return &arena{buf: make([]byte, 0, n), big: true}
	}
	if m.used+int64(m.size) > m.limit {
		return nil
	}
	m.used += int64(m.size)
	if last := len(m.free) - 1; last >= 0 {
		a := m.free[last]
		m.free = m.free[:last]
		return a
	}
	return &arena{buf: make([]byte, 0, m.size)}
}

// recycle takes back an arena whose records were sealed or declared lost.
func (m *memory) recycle(a *arena) {
	n := int64(cap(a.buf))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= n
	if !a.big {
		*a = arena{buf: a.buf[:0]}
		m.free = append(m.free, a)
	}
	m.wake()
}

// charge counts n bytes of sealed frames, whether there is room or not; release takes them off again.
func (m *memory) charge(n int) {
	m.mu.Lock()
	m.used += int64(n)
	m.mu.Unlock()
}

// reserve counts n bytes of records that are held back, which may take half of the memory at most. release takes them off.
func (m *memory) reserve(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.used+int64(n) > m.limit/2 {
		return false
	}
	m.used += int64(n)
	return true
}

func (m *memory) release(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= int64(n)
	m.wake()
}

func (m *memory) wake() {
	if m.freed != nil {
		close(m.freed)
		m.freed = nil
	}
}

// waitFreed returns a channel that is closed when something is given back after this call.
func (m *memory) waitFreed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.freed == nil {
		m.freed = make(chan struct{})
	}
	return m.freed
}

func (m *memory) inUse() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}
