package logpipe

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"github.com/stelelog/stele/internal/record"
)

// Begin starts a call whose records go into the pipe. It never fails: what cannot be captured is what the methods of the
// call report, and is besides declared as lost, because nobody captures it again. base gives tenant, subject, session,
// class, trace and attributes to every record of the call.
func (p *Pipe) Begin(ctx context.Context, base Record) *Call {
	c := NewCall(ctx, p.Capture, base)
	c.limit = p.set.MaxBody
	c.way = &callWay{pipe: p, keep: p.keeps(&base), order: maphash.String(p.seed, c.id)}
	return c
}

// keeps asks the sampling hook. A hook that panics keeps the call.
func (p *Pipe) keeps(base *Record) (keep bool) {
	if p.set.Sample == nil {
		return true
	}
	defer func() {
		if recover() != nil {
			keep = true
		}
	}()
	return p.set.Sample(base)
}

// callWay is how the records of a call get into the pipe. Those of a call that is not sampled are held, inside the
// memory bound, until its end decides.
type callWay struct {
	pipe  *Pipe
	order uint64
	keep  bool

	mu      sync.Mutex
	held    []heldRecord
	over    losses // records that there was no room to hold
	decided bool
}

type heldRecord struct {
	r     Record
	flags uint8
	size  int
}

// take captures a record of the call, or holds it.
func (w *callWay) take(ctx context.Context, r *Record, closes bool) error {
	var flags uint8
	if closes {
		flags = record.ClosesCall
	}
	if err := r.check(w.pipe.set.MaxBody); err != nil {
		w.refused(r, err)
		return err
	}
	if w.keep {
		return w.send(ctx, r, flags)
	}
	if r.Time.IsZero() {
		r.Time, flags = time.Now().UTC(), flags|record.PipeTime
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.decided {
		return ErrClosed
	}
	h := heldRecord{r: *r, flags: flags, size: sizeOf(r)}
	if !w.pipe.memory.reserve(h.size) {
		w.over.add(r.Class, record.MemoryFull, 1, r.when())
		return nil
	}
	h.r.Attributes, h.r.Body = clone(r.Attributes), clone(r.Body)
	h.r.Parts = append([]Part(nil), r.Parts...)
	for i := range h.r.Parts {
		h.r.Parts[i].Data = clone(h.r.Parts[i].Data)
	}
	w.held = append(w.held, h)
	return nil
}

// send captures a record that was checked, and declares it as lost if the pipe has no room for it.
func (w *callWay) send(ctx context.Context, r *Record, flags uint8) error {
	err := w.pipe.capture(ctx, r, w.order, flags)
	sh := w.pipe.shardOf(r, w.order)
	switch {
	case errors.Is(err, ErrTooLarge):
		sh.drop(r.Class, record.TooLarge, r.when())
	case errors.Is(err, ErrFull):
		sh.drop(r.Class, sh.stream.waiting(), r.when())
	}
	return err
}

// refused declares a record as lost that check found to be bad.
func (w *callWay) refused(r *Record, err error) {
	class, why := r.Class, record.Refused
	if !record.ValidClass(class) {
		class = ""
	}
	if errors.Is(err, ErrTooLarge) {
		why = record.TooLarge
	}
	w.pipe.shardOf(r, w.order).drop(class, why, time.Now().UnixNano())
}

// end decides about what was held: sent if the call failed, else counted.
func (w *callWay) end(ctx context.Context, failed error) (err error) {
	if w.keep {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.decided = true
	if failed == nil {
		return w.count()
	}
	for i := range w.held {
		h := &w.held[i]
		w.pipe.memory.release(h.size)
		if e := w.send(ctx, &h.r, h.flags); err == nil {
			err = e
		}
		*h = heldRecord{}
	}
	for _, d := range w.over.take() {
		w.pipe.shardOf(&Record{}, w.order).dropAll(d)
		err = ErrFull
	}
	return err
}

// count declares the call as left out by sampling. It returns ErrClosed if nobody does any more. Requires mu.
func (w *callWay) count() error {
	all := w.over.take()
	for i := range w.held {
		h := &w.held[i]
		at := h.r.Time.UnixNano()
		all = append(all, declared{lossSum: lossSum{1, at, at}})
		w.pipe.memory.release(h.size)
	}
	w.held = nil
	if len(all) == 0 {
		return nil
	}
	sum := all[0].lossSum
	for _, d := range all[1:] {
		sum.add(d.lossSum)
	}
	return w.pipe.shardOf(&Record{}, w.order).leaveOut(sum)
}
