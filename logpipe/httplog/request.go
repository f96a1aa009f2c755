package httplog

import (
	"io"
	"sync"
)

// maxDrain is how much of a request the handler leaves unread is read for the record. It is what net/http itself reads
// in that case to keep the connection usable, so a client cannot be made to wait by it any longer.
const maxDrain = 256 << 10

// request passes the body of a request on and keeps a copy for the record, which it makes as soon as the body is whole.
type request struct {
	under  io.ReadCloser
	x      *exchange
	length int64  // as the head says; ≤ 0: unknown
	ended  func() // called when the handler has read the body to its end; nil: nothing

	reading sync.Mutex // held while under is read
	ahead   []byte     // read by drain, not yet by the handler
	then    error      // what follows ahead

	mu       sync.Mutex // guards what follows
	eager    bool       // the rest may be read before the answer begins
	buf      []byte
	size     int64
	whole    bool
	err      error // that broke reading off
	recorded bool
}

// Read implements io.Reader.
func (b *request) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if len(b.ahead) > 0 {
		n := copy(p, b.ahead)
		b.ahead = b.ahead[n:]
		return n, nil
	}
	if b.then != nil {
		b.took(nil, b.then)
		return 0, b.tell(b.then)
	}
	n, err := b.under.Read(p)
	if n == 0 && err != nil && b.complete() {
		err = io.EOF
	}
	b.took(p[:max(0, min(n, len(p)))], err)
	return n, b.tell(err)
}

// tell passes on how reading ended.
func (b *request) tell(err error) error {
	if err == io.EOF && b.ended != nil {
		b.ended()
	}
	return err
}

// complete reports whether all that the head announced was read. net/http closes such a body when the answer begins, and
// a proxy whose transport looks once more for the end must not take that for a fault and cut the answer off.
func (b *request) complete() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.length > 0 && b.size >= b.length
}

// Close implements io.Closer.
func (b *request) Close() error {
	b.early()
	return b.under.Close()
}

// took notes bytes that were read and the error that came with them.
func (b *request) took(p []byte, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.size += int64(len(p))
	if b.recorded {
		return
	}
	b.buf = appendKept(b.buf, p, b.x.o.MaxBody, b.length)
	switch {
	case err == io.EOF, b.length > 0 && b.size >= b.length:
		b.whole = true
		b.record()
	case err != nil && b.err == nil:
		b.err = err
	}
}

// lazy says that reading ahead could wait for ever.
func (b *request) lazy() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.eager = false
}

// halfway says that the handler has read a part of the body.
func (b *request) halfway() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.size > 0 && !b.recorded
}

// early reads the rest before the answer begins or the body is closed, after which net/http would throw it away. It does
// nothing where reading could wait for a client that waits for the answer.
func (b *request) early() {
	b.mu.Lock()
	eager := b.eager && (b.length <= 0 || b.length-b.size <= maxDrain)
	b.mu.Unlock()
	if eager {
		b.drain()
	}
}

// drain reads the rest, up to a limit, and keeps it for the handler.
func (b *request) drain() {
	defer b.x.contain()
	if !b.reading.TryLock() {
		return
	}
	defer b.reading.Unlock()
	b.mu.Lock()
	over := b.whole || b.recorded || b.err != nil
	b.mu.Unlock()
	if over || b.then != nil || len(b.ahead) > 0 {
		return
	}
	data, err := io.ReadAll(io.LimitReader(b.under, maxDrain))
	if err == nil && len(data) < maxDrain {
		err = io.EOF
	}
	b.ahead, b.then = data, err
	if err != io.EOF {
		err = nil // it breaks the request off only if the handler meets it
	}
	b.took(data, err)
}

// finish records what there is and returns what broke reading off, if anything did.
func (b *request) finish() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.record()
	return b.err
}

// record makes the input record, once. Requires mu.
func (b *request) record() {
	if b.recorded {
		return
	}
	b.recorded = true
	size := b.size
	if !b.whole {
		size = max(size, b.length)
	}
	b.x.asked(b.buf, size, !b.whole || size > int64(len(b.buf)))
	b.buf = nil
}
