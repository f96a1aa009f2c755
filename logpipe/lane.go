package logpipe

import (
	"context"
	"crypto/rand"
	"errors"
	"sync/atomic"
	"time"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/spool"
)

// laneWriter puts the messages of a stream's outbox into a lane of a spool directory. A fault of the disk ends the lane;
// what it had not synced goes into a new one, where readers drop by seq what they have. It belongs to the goroutine of
// its transport.
type laneWriter struct {
	s      *stream
	dir    *spool.Dir
	lane   *spool.Writer // nil: none yet, or none after a fault
	id     [16]byte      // of the newest lane; zero before the first
	places []lanePlace   // of the first items of the outbox: appended, but not synced
	since  time.Time     // when the first of them was appended
	grants bool          // grants are among them
	taken  func(places []lanePlace)
	full   atomic.Bool // the spool, or its disk, had no room for the last append
}

// why is the reason for a loss when there is no room for records.
func (l *laneWriter) why() record.Reason {
	if l.full.Load() {
		return record.SpoolFull
	}
	return record.MemoryFull
}

// lanePlace is where an item went.
type lanePlace struct {
	kind spool.Kind
	pos  uint64
}

const (
	syncEvery  = 250 * time.Millisecond // the longest that an appended message waits for its sync
	maxRun     = 4 << 20                // bytes appended in one write
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
)

// begin makes a lane: the first under the id of the stream, each after a fault under one of its own.
func (l *laneWriter) begin() (err error) {
	if l.id == ([16]byte{}) {
		l.id = l.s.id
	} else {
		rand.Read(l.id[:])
	}
	l.lane, err = l.dir.CreateLane(l.id)
	return err
}

// carry appends items, which follow those in places, and syncs if it is time.
func (l *laneWriter) carry(ctx context.Context, items []*item, now bool) error {
	if l.lane == nil {
		if err := l.begin(); err != nil {
			return err
		}
	}
	if err := l.append(ctx, items); err != nil {
		return err
	}
	if len(l.places) > 0 && (now || time.Since(l.since) >= syncEvery) {
		return l.sync(ctx)
	}
	return nil
}

// append appends runs of items of one log. Grants are synced before a frame is appended behind them.
func (l *laneWriter) append(ctx context.Context, items []*item) error {
	for len(items) > 0 {
		kind, n, bytes := logOf(items[0]), 0, 0
		for n < len(items) && logOf(items[n]) == kind && bytes < maxRun {
			bytes += len(items[n].data)
			n++
		}
		if kind == spool.Frames && l.grants {
			if err := l.sync(ctx); err != nil {
				return err
			}
		}
		if err := l.appendRun(kind, items[:n]); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

func (l *laneWriter) appendRun(kind spool.Kind, items []*item) error {
	messages := make([][]byte, len(items))
	for i, it := range items {
		messages[i] = it.data
	}
	l.s.note(items)
	first, err := l.lane.Append(kind, messages...)
	if err != nil {
		return err
	}
	if len(l.places) == 0 {
		l.since = time.Now()
	}
	for i := range items {
		l.places = append(l.places, lanePlace{kind, first + uint64(i)})
	}
	l.grants = l.grants || kind == spool.Grants
	return nil
}

func logOf(it *item) spool.Kind {
	if it.kind == itemGrants {
		return spool.Grants
	}
	return spool.Frames
}

func (l *laneWriter) sync(ctx context.Context) error {
	if err := l.lane.Sync(ctx); err != nil {
		return err
	}
	places := l.places
	l.places, l.grants = nil, false
	l.full.Store(false)
	l.taken(places)
	return nil
}

// fault tells those who wait, and gives the lane up unless only the bound of the spool was reached.
func (l *laneWriter) fault(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	full := errors.Is(err, spool.ErrFull)
	kept := full && l.lane != nil && l.sync(ctx) == nil // nothing of the append was written, and what was before it waits for nothing
	l.full.Store(full)
	l.s.log.Error("the spool does not take messages; they are kept in memory and tried again", "error", err)
	l.s.out.refuse(&OpError{"capture", "spool", err})
	if !kept {
		l.giveUp()
	}
}

// giveUp leaves the lane to others. What was not synced goes elsewhere.
func (l *laneWriter) giveUp() {
	if l.lane != nil {
		l.lane.Close() // without an end mark, after a fault
	}
	l.lane, l.places, l.grants = nil, nil, false
}

// due is when the next sync is due; nil if there is nothing to sync.
func (l *laneWriter) due() (<-chan time.Time, func()) {
	if len(l.places) == 0 {
		return nil, func() {}
	}
	timer := time.NewTimer(time.Until(l.since.Add(syncEvery)))
	return timer.C, func() { timer.Stop() }
}

// finish appends what is left, as far as the disk takes it, and ends the lane.
func (l *laneWriter) finish(items []*item) error {
	if l.lane == nil {
		return nil
	}
	ctx := context.Background()
	err := l.append(ctx, items)
	if err == nil && len(l.places) > 0 {
		err = l.sync(ctx)
	}
	return errors.Join(err, l.lane.Close())
}

// pressed says whether so much waits for the transport that a sync should not be put off.
func (s *stream) pressed() bool {
	return int64(s.out.size()) > s.set.Memory/int64(8*s.set.Streams)
}

// sleep waits, and returns false when ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
