package compact

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/tips"
	"github.com/stelelog/stele/merkle"
)

// readLane takes what there is in a lane, at most until position end, and reports whether there was anything.
func (w *worker) readLane(ctx context.Context, lane string, end int64, wait time.Duration) (bool, error) {
	at := w.batch.lanes[lane]
	messages, err := w.src.read(ctx, lane, at.Next, wait)
	if errors.Is(err, fs.ErrNotExist) {
		p, perr := w.src.position(ctx, lane)
		if errors.Is(perr, fs.ErrNotExist) {
			return false, nil
		}
		if perr != nil || p.First <= at.Next {
			return false, errors.Join(err, perr)
		}
		w.skip(lane, at.Next, p.First)
		return true, nil
	}
	if err != nil {
		return false, err
	}
	w.renewed = false
	for i, m := range messages {
		if m.Pos >= end {
			return i > 0, nil
		}
		if err := w.take(ctx, lane, m); errors.Is(err, errLater) {
			if i > 0 {
				w.advance(lane, messages[i-1])
			}
			return true, nil
		} else if err != nil {
			return false, err
		}
		full := w.full()
		if i == len(messages)-1 || full || messages[i+1].Pos >= end {
			w.advance(lane, m)
		}
		if full {
			return true, nil
		}
	}
	return len(messages) > 0, nil
}

// advance notes that a lane was read up to and including m.
func (w *worker) advance(lane string, m message) {
	if w.last.lane != lane {
		w.hashLast()
	}
	at := w.batch.lanes[lane]
	at.Next, at.Last = m.Pos+1, nil
	w.batch.lanes[lane] = at
	w.batch.moved[lane] = true
	w.last.lane = ""
	if !m.Void {
		w.last.lane, w.last.data = lane, append(w.last.data[:0], m.Data...)
	}
}

// hashLast notes the hash of the last message that was read, which a commit would name. It waits until a commit or another
// lane comes: of most messages nobody wants it.
func (w *worker) hashLast() {
	if w.last.lane == "" {
		return
	}
	at, sum := w.batch.lanes[w.last.lane], commit.Hash(w.last.data)
	at.Last = &sum
	w.batch.lanes[w.last.lane] = at
	w.last.lane = ""
}

// take judges one message and puts it where it belongs.
func (w *worker) take(ctx context.Context, lane string, m message) error {
	if now := w.c.now(); m.Time.After(now) {
		m.Time = now // whatever the transport's clock says, it did not take the message later than this
	}
	if m.Time.After(w.batch.sourceTime) {
		w.batch.sourceTime = m.Time.UTC()
	}
	if m.Err != nil {
		w.setAside(lane, m, m.Err)
		return nil
	}
	if frame.IsBeat(m.Data) {
		if err := w.table.Beat(m.Data, m.Time); err != nil {
			b, _ := frame.ParseBeat(m.Data)
			w.reject(lane, m, b.Stream, err)
		}
		return nil
	}
	if err := w.frame.Decode(m.Data); err != nil {
		w.setAside(lane, m, err)
		return nil
	}
	verdict, leaves, err := w.table.Take(&w.frame, lane)
	if errors.Is(err, tips.ErrService) {
		again, newer := w.renew(ctx)
		if newer != nil {
			return newer
		}
		if again {
			verdict, leaves, err = w.table.Take(&w.frame, lane)
		}
	}
	if verdict == tips.Old {
		verdict, err = w.old(ctx)
	}
	switch verdict {
	case tips.Accept, tips.Late:
		return w.add(leaves)
	case tips.Duplicate:
		w.batch.duplicates++
		w.c.stats.duplicates.Add(1)
	case tips.Reject:
		w.reject(lane, m, w.frame.Stream, err)
	default:
		return err
	}
	return nil
}

// reject sets a message aside, and says so in the control log if its stream contradicts itself.
func (w *worker) reject(lane string, m message, stream commit.Hex16, err error) {
	if errors.Is(err, tips.ErrEquivocation) {
		w.c.notice(control.TypeDivergence, control.Divergence{Log: w.origin(), Kind: control.DivergedEquivocation,
			Detail: err.Error(), Stream: &stream})
	}
	w.setAside(lane, m, err)
}

// errLater says that a message can only be judged in the next segment.
var errLater = errors.New("not in this segment")

// renew looks whether a newer control log lets the writer in whose frame is being taken. What is in the segment was
// judged by an older one, so then it is committed first.
func (w *worker) renew(ctx context.Context) (again bool, err error) {
	if !w.renewed {
		if err := w.c.control.Refresh(ctx); err != nil {
			return false, err
		}
		w.renewed = true
	}
	cert, err := keyscope.ParseCert(w.frame.Detail(0))
	if err != nil {
		return false, nil
	}
	size := w.c.control.Size()
	w.c.control.View(func(s *control.State) { _, err = s.Service(cert.ServiceKey[:], size) })
	switch {
	case err != nil || size == w.batch.control:
		return false, nil
	case w.seg.Leaves() > 0:
		w.batch.closing = true
		return false, errLater
	}
	w.batch.control = size
	return true, nil
}

// add puts the frame into the segment.
func (w *worker) add(leaves []merkle.Hash) error {
	if w.batch.started.IsZero() {
		w.batch.started = w.c.now()
	}
	w.batch.streams[w.frame.Stream] = true
	w.c.stats.records.Add(uint64(len(leaves)))
	w.c.stats.bytes.Add(uint64(len(w.frame.Raw)))
	return w.seg.Add(&w.frame, leaves)
}
