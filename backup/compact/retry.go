package compact

import (
	"context"
	"fmt"
	"time"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/objstore"
)

// retry lets f persist. A worker that is to finish gives up where trying again does not mend it; one that runs for good
// waits until somebody has.
func (w *worker) retry(ctx context.Context, f func() error) error {
	err := objstore.Persist(ctx, f, func(err error, wait time.Duration) bool {
		if worm.Permanent(err) && !w.patient {
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
const (
	partControl   = "control log"
	partTransport = "transport"
)

// fails notes why a part of the compactor does not get on, until it works again, and reports whether it did before.
func (c *Compactor) fails(part string, err error) (worked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	worked = c.failing[part] == nil
	c.failing[part] = err
	return worked
}

// works notes that a part gets on, and reports whether it failed before.
func (c *Compactor) works(part string) (failed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	failed = c.failing[part] != nil
	delete(c.failing, part)
	return failed
}
