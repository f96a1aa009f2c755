package spool

import (
	"context"
	"time"
)

// Follow is Read, but waits while there is nothing yet: it looks again after 1 ms, then after twice as
// long each time, up to interval. It returns the error of ctx if that ends first.
func (r *Reader) Follow(ctx context.Context, from uint64, maxBytes int, interval time.Duration) ([]Message, error) {
	pause := min(time.Millisecond, interval)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		messages, err := r.Read(from, maxBytes)
		if err != nil || len(messages) > 0 {
			return messages, err
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
		}
		pause = min(2*pause, interval)
	}
}
