package logpipe

import (
	"context"

	"github.com/stelelog/stele/internal/spool"
)

// fileTransport leaves the messages of a stream in a lane of the spool from which the compactor reads.
type fileTransport struct{ laneWriter }

func newFileTransport(s *stream, dir *spool.Dir) (*fileTransport, error) {
	t := &fileTransport{laneWriter{s: s, dir: dir}}
	t.taken = func(places []lanePlace) { s.out.accept(len(places), true) }
	s.waiting = t.why
	return t, t.begin()
}

func (t *fileTransport) spooled() int64 { return 0 }

func (t *fileTransport) abort() {
	if t.lane != nil {
		t.lane.Close()
	}
}

func (t *fileTransport) run(ctx context.Context) {
	pause := firstPause
	for {
		items, urgent, closed := t.s.out.from(len(t.places))
		if err := t.carry(ctx, items, urgent || closed || t.s.pressed()); err != nil {
			t.fault(ctx, err)
			if !sleep(ctx, pause) {
				break
			}
			pause = min(2*pause, lastPause)
			continue
		}
		pause = firstPause
		if closed && t.s.out.size() == 0 || !t.wait(ctx) {
			break
		}
	}
	items, _, _ := t.s.out.from(len(t.places))
	if err := t.finish(items); err != nil {
		t.s.log.Error("the lane of the stream could not be ended", "error", err)
	}
}

// wait waits until there is something to do. It returns false when ctx has ended.
func (t *fileTransport) wait(ctx context.Context) bool {
	due, stop := t.due()
	defer stop()
	select {
	case <-t.s.out.wake:
	case <-due:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
