package kafka

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// backoff is the pause after the given attempt (from 1): doubling, bounded,
// and random in its upper half so that clients do not return in step.
func backoff(attempt int) time.Duration {
	d := lastPause
	if attempt < 7 { // 50 ms << 6 is past the bound
		d = min(firstPause<<(attempt-1), lastPause)
	}
	return d/2 + rand.N(d/2)
}

// pause waits before the next attempt. It reports false when ctx or the
// client ended first.
func (c *Client) pause(ctx context.Context, attempt int) bool {
	t := time.NewTimer(backoff(attempt))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	case <-c.closed:
		return false
	}
}
