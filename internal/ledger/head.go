package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/control"
)

// Published is the newest signed head in the store that is one of what was read, and its size; nil if there is none. It is
// older than the end of the log where whoever wrote that has not published its head.
func (c *Log) Published(ctx context.Context) (file []byte, size uint64, err error) {
	var ends []uint64
	c.View(func(s *control.State) { ends = s.Ends() })
	for i := len(ends) - 1; i >= 0; i-- {
		if file, size, err := c.publishedAt(ctx, ends[i]); err != nil || file != nil {
			return file, size, err
		}
	}
	return nil, 0, nil
}

func (c *Log) publishedAt(ctx context.Context, end uint64) (file []byte, size uint64, err error) {
	prefix := CheckpointKeys(end, nil)[0]
	for v, err := range c.store.Versions(ctx, prefix, "") {
		if err != nil {
			return nil, 0, err
		}
		if v.Deleted || v.Size > MaxCheckpoint {
			continue
		}
		file, err := c.store.Read(ctx, v.Key, v.ID, worm.Range{})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		var bad error
		c.View(func(s *control.State) { size, bad = s.CheckCheckpoint(file) })
		if bad == nil && size == end {
			return file, size, nil
		}
	}
	return nil, 0, nil
}

// MaxCheckpoint bounds a file that can be a checkpoint, in bytes.
const MaxCheckpoint = 64 << 10

// Entries calls use with the n entries from first on, which it reads anew.
func (c *Log) Entries(ctx context.Context, first, n uint64, use func(i uint64, entry string) error) error {
	for at := first; at < first+n; {
		var place control.Place
		var begin uint64
		var err error
		c.View(func(s *control.State) { place, begin, err = s.PlaceOf(at) })
		if err != nil {
			return err
		}
		file, err := c.store.Read(ctx, place.Key, place.Version, worm.Range{})
		if err != nil {
			return err
		}
		var entries []string
		c.View(func(s *control.State) { entries, err = s.Entries(file, begin) })
		if err != nil {
			return fmt.Errorf("%s: %w", place.Key, err)
		}
		for ; at < first+n && at-begin < uint64(len(entries)); at++ {
			if err := use(at, entries[at-begin]); err != nil {
				return err
			}
		}
	}
	return nil
}
