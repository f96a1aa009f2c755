package logpipe

import (
	"sync"
	"sync/atomic"

	"github.com/stelelog/stele/merkle"
)

// itemKind says what a message is and where it goes.
type itemKind uint8

const (
	itemFrame  itemKind = iota // to the frames of the stream
	itemBeat                   // the same, but outside the chain
	itemGrants                 // to the grants: acknowledged before any frame behind it is sent
)

// item is a sealed message on its way to the transport.
type item struct {
	kind    itemKind
	data    []byte
	records int         // captured records in it
	last    uint64      // frame: seq of the last leaf
	head    merkle.Hash // frame
	closing bool        // frame: its last leaf closes the stream
	tickets [2][]*ticket
	arrived bool // at the destination, guarded by the outbox's mutex
}

// itemBytes is about what an item takes beside its message.
const itemBytes = 200

// size is what the item counts for.
func (it *item) size() int { return itemBytes + len(it.data) }

// urgent reports whether somebody waits for the item.
func (it *item) urgent() bool { return len(it.tickets[onSpooled])+len(it.tickets[onAcked]) > 0 }

// settle answers those who wait on a level.
func (it *item) settle(level int, err error) {
	for _, t := range it.tickets[level] {
		t.close(err)
	}
	it.tickets[level] = nil
}

// outbox holds, in order, the messages of a stream that the transport has not accepted for good.
type outbox struct {
	memory *memory
	wake   chan struct{} // one token: there is something new, or the outbox was closed
	acked  atomic.Uint64 // captured records at the destination

	mu     sync.Mutex
	items  []*item
	bytes  int
	parked *item         // the last one that was accepted, if that went to the spool
	freed  chan struct{} // one token: something was accepted
	closed bool
}

func newOutbox(m *memory) *outbox {
	return &outbox{memory: m, wake: make(chan struct{}, 1), freed: make(chan struct{}, 1)}
}

func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// push appends a message. There is no bound: the sealing goroutine looks at size before it seals.
func (o *outbox) push(it *item) {
	o.memory.charge(it.size())
	o.mu.Lock()
	o.items = append(o.items, it)
	o.bytes += it.size()
	o.mu.Unlock()
	token(o.wake)
}

// pushBeat appends a beat, unless one waits already.
func (o *outbox) pushBeat(it *item) {
	o.mu.Lock()
	for _, other := range o.items {
		if other.kind == itemBeat {
			o.mu.Unlock()
			return
		}
	}
	o.mu.Unlock()
	o.push(it)
}

// attach lets a ticket wait on everything pushed so far.
func (o *outbox) attach(level int, t *ticket) {
	o.mu.Lock()
	var last *item
	if n := len(o.items); n > 0 {
		last = o.items[n-1]
	} else if level == onAcked && o.parked != nil && !o.parked.arrived {
		last = o.parked
	}
	if last != nil {
		last.tickets[level] = append(last.tickets[level], t)
	}
	o.mu.Unlock()
	if last == nil {
		t.close(nil)
		return
	}
	token(o.wake)
}

// from returns the items behind the first n, and whether somebody waits for any item at all.
func (o *outbox) from(n int) (items []*item, urgent, closed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, it := range o.items {
		urgent = urgent || it.urgent()
	}
	return append([]*item(nil), o.items[n:]...), urgent, o.closed
}

// size is the number of bytes that wait.
func (o *outbox) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes
}

func (o *outbox) empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.items) == 0
}

// accept takes the first n items off, which are on stable storage: at the destination, or else in the spool, where those
// who want an acknowledgement go on waiting. It returns these.
func (o *outbox) accept(n int, arrived bool) (done []*item) {
	if n == 0 {
		return nil
	}
	o.mu.Lock()
	done = append(done, o.items[:n]...)
	rest := copy(o.items, o.items[n:])
	clear(o.items[rest:])
	o.items = o.items[:rest]
	bytes := 0
	for _, it := range done {
		bytes += it.size()
		it.data = nil
		if arrived {
			o.count(it)
		}
	}
	o.bytes -= bytes
	if o.parked = nil; !arrived {
		o.parked = done[n-1]
	}
	o.memory.release(bytes)
	o.mu.Unlock()
	for _, it := range done {
		it.settle(onSpooled, nil)
		if arrived {
			it.settle(onAcked, nil)
		}
	}
	token(o.freed)
	return done
}

// count notes that an item is at the destination, before anybody can learn of it. Requires mu.
func (o *outbox) count(it *item) {
	it.arrived = true
	o.acked.Add(uint64(it.records))
}

// arrived counts items that are at the destination, and answers who waits for that.
func (o *outbox) arrived(items []*item) {
	o.mu.Lock()
	for _, it := range items {
		o.count(it)
	}
	o.mu.Unlock()
	for _, it := range items { // nothing is attached to them any more
		it.settle(onAcked, nil)
	}
}

// fail answers who waits for items that will not arrive.
func (o *outbox) fail(items []*item, err error) {
	o.mu.Lock()
	for _, it := range items {
		if it == o.parked {
			o.parked = nil
		}
	}
	o.mu.Unlock()
	for _, it := range items {
		it.settle(onAcked, err)
	}
}

// refuse answers all who wait with an error; the items stay.
func (o *outbox) refuse(err error) {
	o.mu.Lock()
	var tickets []*ticket
	for _, it := range o.items {
		for level := range it.tickets {
			tickets = append(tickets, it.tickets[level]...)
			it.tickets[level] = nil
		}
	}
	o.mu.Unlock()
	for _, t := range tickets {
		t.close(err)
	}
}

// close says that nothing will be pushed any more.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	token(o.wake)
}
