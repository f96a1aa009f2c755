package logpipe

import (
	"context"
)

// transport carries the messages of one stream, in order, to where a compactor finds them. Grants are acknowledged
// there before any message behind them is sent.
type transport interface {
	// run carries messages until the outbox was closed and everything has arrived, or ctx ends.
	run(ctx context.Context)

	// spooled is the size of messages on the local disk that a broker has not acknowledged.
	spooled() int64

	// abort gives up what a transport holds that never ran.
	abort()
}

// note writes the tip of the last frame in items, before that is sent.
func (s *stream) note(items []*item) {
	if s.slot == nil {
		return
	}
	for i := len(items) - 1; i >= 0; i-- {
		if it := items[i]; it.kind == itemFrame {
			t := tip{archive: s.set.writer.Archive, stream: s.id, seq: it.last, head: it.head, closed: it.closing,
				durability: s.sealer.cert.Durability}
			if err := s.slot.write(&t); err != nil {
				s.log.Warn("the tip of the stream could not be written; its successor will not link to it", "error", err)
			}
			return
		}
	}
}
