package compact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
)

// errDiverged stops a partition: what the source or the store holds contradicts what was committed.
var errDiverged = errors.New("it does not continue what was committed")

// checkSource compares the transport with what the last commit says of it.
func (w *worker) checkSource(ctx context.Context) error {
	last := w.parent()
	if last == nil {
		return nil
	}
	cluster, topic := w.src.identity()
	if last.Source.Cluster != cluster || last.Source.Topic != topic {
		return w.diverged(control.DivergedSource, fmt.Sprintf("the archive was fed from cluster %s topic %s, this is cluster %s topic %s",
			last.Source.Cluster, last.Source.Topic, cluster, topic))
	}
	for lane, at := range w.batch.lanes {
		p, err := w.src.position(ctx, lane)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a spool lane that was read to its end and removed
		}
		if err != nil {
			return err
		}
		if p.Damaged && p.End < at.Next {
			continue // reading on will show it
		}
		if p.End < at.Next {
			return w.diverged(control.DivergedSource, fmt.Sprintf("lane %s ends at %d, but %d was committed", lane, p.End, at.Next))
		}
		if p.First > at.Next {
			w.skip(lane, at.Next, p.First)
			continue
		}
		if at.Last == nil || p.First > at.Next-1 {
			continue
		}
		if err := w.sameMessage(ctx, lane, at); err != nil {
			return err
		}
	}
	return nil
}

// sameMessage checks that the message before the place where a lane goes on is the one that was committed.
func (w *worker) sameMessage(ctx context.Context, lane string, at commit.Lane) error {
	messages, err := w.src.read(ctx, lane, at.Next-1, time.Second)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if w.src.damaged()[lane] != nil {
		return nil
	}
	if len(messages) == 0 || messages[0].Pos != at.Next-1 || commit.Hash(messages[0].Data) != *at.Last {
		return w.diverged(control.DivergedSource, fmt.Sprintf("message %d of lane %s is not the one that was committed", at.Next-1, lane))
	}
	return nil
}

func (w *worker) diverged(kind, detail string) error {
	w.c.notice(control.TypeDivergence, control.Divergence{Log: w.origin(), Kind: kind, Detail: detail})
	return fmt.Errorf("partition %d: %w: %s", w.partition, errDiverged, detail)
}

// skip declares that the transport removed messages before they were read.
func (w *worker) skip(lane string, from, to int64) {
	w.hashLast()
	at := w.batch.lanes[lane]
	at.Next, at.Last = to, nil
	at.Gap = append(slices.Clone(at.Gap), [2]int64{from, to})
	w.batch.lanes[lane] = at
	w.batch.moved[lane] = true
	w.log.Error("the transport removed messages before they were archived", "lane", lane, "from", from, "to", to)
}

// damaged says which lanes of the transport cannot be read on.
func (w *worker) damaged() error {
	broken := w.src.damaged()
	var errs []error
	for _, lane := range slices.Sorted(maps.Keys(broken)) {
		errs = append(errs, broken[lane])
	}
	return errors.Join(errs...)
}
