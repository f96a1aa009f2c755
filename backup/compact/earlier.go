package compact

import (
	"context"
	"fmt"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/tips"
)

// old decides about a frame below the tip that is no longer in memory: it is a duplicate if the archive holds a frame
// with this head in this place, in this log or an earlier one.
func (w *worker) old(ctx context.Context) (tips.Verdict, error) {
	l := w.chain
	for l != nil {
		verdict, err := w.archived(ctx, l)
		if verdict != 0 || err != nil {
			return verdict, err
		}
		if l, err = w.earlier(ctx, l); err != nil {
			return 0, err
		}
	}
	return tips.Reject, fmt.Errorf("%w: at %d", tips.ErrEquivocation, w.frame.First)
}

// archived compares the frame with what a log holds in its place. The verdict is 0 if that is nothing.
func (w *worker) archived(ctx context.Context, l *datalog.Chain) (tips.Verdict, error) {
	head := frame.Head(w.frame.Raw)
	holding := l.Holding(w.frame.Stream, w.frame.First, w.frame.Next())
	for _, n := range holding {
		frames, err := w.archivedFrames(ctx, l, n)
		if datalog.Faulty(err) {
			return tips.Reject, fmt.Errorf("it cannot be compared with what the archive holds: %w", err)
		}
		if err != nil {
			return 0, err
		}
		for _, f := range frames {
			h, err := frame.ParseHeader(f)
			if err == nil && h.Stream == w.frame.Stream && h.First == w.frame.First && frame.Head(f) == head {
				return tips.Duplicate, nil
			}
		}
	}
	if len(holding) == 0 {
		return 0, nil
	}
	return tips.Reject, fmt.Errorf("%w: at %d", tips.ErrEquivocation, w.frame.First)
}

// archivedFrames reads the frame headers of a commit. Repeats come in runs, so those of the last one are kept.
func (w *worker) archivedFrames(ctx context.Context, l *datalog.Chain, n uint64) ([][]byte, error) {
	at := commit.End{Log: l.Origin, N: n}
	if w.repeats.frames != nil && w.repeats.at == at {
		return w.repeats.frames, nil
	}
	_, period := commit.SplitOrigin(l.Origin)
	for o, err := range datalog.Commits(w.c.cfg.Store, w.partition, period).From(ctx, n) {
		if err == nil {
			err = o.Err
		}
		if err != nil {
			return nil, err
		}
		c, err := l.Parse(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", datalog.ErrAltered, err)
		}
		w.repeats.at = at
		w.repeats.frames, err = datalog.Frames(ctx, w.c.cfg.Store, c)
		return w.repeats.frames, err
	}
	return nil, fmt.Errorf("commit %d of %s: %w", n, l.Origin, datalog.ErrNoObject)
}

// earlier is the log that l continues, read once; nil if l is the first of the partition.
func (w *worker) earlier(ctx context.Context, l *datalog.Chain) (*datalog.Chain, error) {
	if l.Before == nil {
		return nil, nil
	}
	origin := l.Before.Commit.Log
	if before := w.past[origin]; before != nil {
		return before, nil
	}
	_, period := commit.SplitOrigin(origin)
	before := w.chain.Of(period)
	if err := before.Read(ctx, func(chain.Finding) {}); err != nil {
		return nil, err
	}
	if w.past == nil {
		w.past = map[string]*datalog.Chain{}
	}
	w.past[origin] = before
	return before, nil
}
