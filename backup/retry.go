package backup

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// persist calls f until it succeeds, again says no, or ctx ends. again is told how long the wait is going to be. The error
// is the last one of f, whatever ended the attempts.
func persist(ctx context.Context, f func() error, again func(err error, wait time.Duration) bool) error {
	var last error
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := f()
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // once ctx has ended, f says no more than that
			last = err
		}
		if ctx.Err() != nil {
			return errors.Join(last, ctx.Err())
		}
		if !again(err, wait) {
			return err
		}
		pause(ctx, wait)
	}
}

// retry lets f persist. A worker that is to finish gives up where trying again does not mend it; one that runs for good
// waits until somebody has.
func (w *worker) retry(ctx context.Context, f func() error) error {
	err := persist(ctx, f, func(err error, wait time.Duration) bool {
		if permanent(err) && !w.patient {
			return false
		}
		w.c.fails(w.name(), err)
		w.log.Warn("the store failed, trying again", "err", err, "in", wait)
		return true
	})
	if err == nil {
		w.c.works(w.name())
	}
	return err
}

// name is what the worker is called where something fails.
func (w *worker) name() string { return partName(int(w.partition)) }

func partName(partition int) string { return fmt.Sprintf("partition %d", partition) }

// Parts of a compactor that may fail, beside its partitions.
const partControl = "control log"

// fails notes why a part of the compactor does not get on, until it works again.
func (c *Compactor) fails(part string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failing[part] = err
}

func (c *Compactor) works(part string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.failing, part)
}
