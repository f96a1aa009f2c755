package logpipe

import (
	"context"
	"fmt"
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/stelelog/stele/internal/record"
)

// Capture copies a record into the pipe. What is durable when it returns nil is the choice of the record's class, see
// [Durability]; with Memory it neither allocates nor does any I/O. An error is [ErrClosed], [ErrFull], [ErrTooLarge], an
// [OpError] about a field, or, with a stronger durability, why the record is not durable: it may then still arrive.
// If ctx ends while Capture waits, its error is returned.
func (p *Pipe) Capture(ctx context.Context, r *Record) error {
	return p.capture(ctx, r, 0, 0)
}

// capture captures r. order, if not zero, takes the place of a session in choosing a shard.
func (p *Pipe) capture(ctx context.Context, r *Record, order uint64, flags uint8) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &OpError{"capture", "", fmt.Errorf("panic: %v", v)}
		}
	}()
	if p.closed.Load() {
		return ErrClosed
	}
	if err := r.check(p.set.MaxBody); err != nil {
		return err
	}
	size := sizeOf(r)
	if most := p.set.Memory / 4 * 3; int64(size) > most {
		return &OpError{"capture", "", fmt.Errorf("%w: %d bytes, three quarters of Config.Memory are %d", ErrTooLarge, size, most)}
	}
	st := stamp{id: r.ID, flags: flags}
	if r.Time.IsZero() {
		st.clock, st.flags = true, flags|record.PipeTime
	} else {
		st.time, st.zone = r.Time.UnixNano(), zoneOf(r.Time)
	}
	c := p.class(r.Class)
	sh := p.shardOf(r, order)
	t, err := sh.put(r, &st, size, c.durability)
	if err == ErrFull {
		t, err = p.full(ctx, sh, r, &st, size, c)
	}
	if err != nil || t == nil {
		return err
	}
	return p.await(ctx, t)
}

func (p *Pipe) class(name string) *class {
	if name == "" {
		return p.unnamed
	}
	if c, ok := p.named[name]; ok {
		return c
	}
	return p.other
}

// full does what the class wants when there is no room.
func (p *Pipe) full(ctx context.Context, sh *shard, r *Record, st *stamp, size int, c *class) (t *ticket, err error) {
	p.waits.Add(1)
	switch c.onFull {
	case Reject:
		return nil, ErrFull
	case DropAndDeclare:
		return nil, sh.drop(r.Class, sh.stream.waiting(), r.when())
	}
	timer := time.NewTimer(c.wait)
	defer timer.Stop()
	for {
		freed := p.memory.waitFreed()
		if t, err = sh.put(r, st, size, c.durability); err != ErrFull {
			return t, err
		}
		select {
		case <-freed:
		case <-timer.C:
			return nil, ErrFull
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrFull, ctx.Err())
		}
	}
}

// shardOf chooses the shard of a record: records of one session go to the same one.
func (p *Pipe) shardOf(r *Record, order uint64) *shard {
	n := uint64(len(p.shards))
	if n == 1 {
		return p.shards[0]
	}
	switch {
	case r.Session != "":
		order = maphash.String(p.seed, r.Session)
	case r.Subject != "":
		order = maphash.String(p.seed, r.Subject)
	case order != 0:
	case r.TraceID != "":
		order = maphash.String(p.seed, r.TraceID)
	default:
		order = rand.Uint64()
	}
	high, _ := bits.Mul64(order, n) // order is random in all its bits, and this is quicker than a remainder
	return p.shards[high]
}

// when is the time of the record, or now, in nanoseconds.
func (r *Record) when() int64 {
	if r.Time.IsZero() {
		return time.Now().UnixNano()
	}
	return r.Time.UnixNano()
}
