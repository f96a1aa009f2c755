package objstore

import (
	"context"
	"errors"
	"time"
)

// Persist calls f until it succeeds, again says no, or ctx ends. again is told how long the wait is going to be. The error
// is the last one of f, whatever ended the attempts.
func Persist(ctx context.Context, f func() error, again func(err error, wait time.Duration) bool) error {
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
		Pause(ctx, wait)
	}
}

// Pause waits, or until ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
