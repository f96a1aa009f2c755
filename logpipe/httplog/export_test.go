package httplog

import (
	"context"

	"github.com/stelelog/stele/logpipe"
)

// HeldOfAStream is how many bytes an answer holds after n bytes of a stream were written at once.
func HeldOfAStream(n int) int {
	rec := newRecorder(nil, Options{})
	x := &exchange{recorder: rec, over: func() error { return nil }}
	x.call = logpipe.NewCall(context.Background(), func(context.Context, *logpipe.Record) error { return nil }, logpipe.Record{})
	x.answer.stream = streamOf("text/event-stream")
	x.wrote(make([]byte, n), false)
	return cap(x.answer.pending) + cap(x.answer.body)
}
