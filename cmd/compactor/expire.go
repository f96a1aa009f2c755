package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/backup/worm"
)

// expire removes what has expired now and then, by the time of the witnesses, until ctx ends. What fails is tried again the
// next time: nothing waits for it.
func (c *config) expire(ctx context.Context, store worm.Store, log *slog.Logger) error {
	deleter, err := location.OpenDeleter(ctx, c.Archive, location.Options{})
	if err != nil {
		return err
	}
	tick := time.NewTicker(c.ExpireEvery)
	defer tick.Stop()
	fails := "" // why the last round failed: it is said when it changes
	for {
		e, err := backup.Expire(ctx, backup.ExpireConfig{Store: store, Deleter: deleter, Trust: c.trust, Identity: c.identity})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		why := ""
		if err != nil {
			why = err.Error()
		}
		switch {
		case why == fails:
		case err != nil:
			log.Error("nothing expires; it is tried again", "every", c.ExpireEvery, "err", err)
		default:
			log.Info("expiry works again")
		}
		fails = why
		if err == nil && (len(e.Objects) > 0 || e.Kept > 0) {
			log.Info("expired", "objects", len(e.Objects), "bytes", e.Bytes, "kept", e.Kept, "time", e.Time)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
