package event

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/stelelog/stele/logpipe"
)

// Reader reads events line by line. It holds one line in memory. It is not safe for concurrent use.
type Reader struct {
	in   *bufio.Reader
	max  int // bytes of a line
	line []byte
	n    int
}

// NewReader returns a reader of r, which it may read ahead of what it gives.
func NewReader(r io.Reader) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, 64<<10), max: MaxLine}
}

// Line is the number, from 1, of the line that was read last.
func (r *Reader) Line() int { return r.n }

// All gives the events that are left. A line that is refused comes as an [*Error] with its number, and reading goes on
// behind it; any other error is one of the underlying reader, and the last thing given. Lines of white space are passed
// over. Stopping early and calling All again goes on behind the last line given.
func (r *Reader) All() iter.Seq2[logpipe.Record, error] {
	return func(yield func(logpipe.Record, error) bool) {
		for {
			line, refused, end := r.next()
			more := true
			switch {
			case refused != nil:
				more = yield(logpipe.Record{}, refused)
			case len(line) > 0 && (end == nil || end == io.EOF):
				more = r.give(line, yield)
			}
			if !more || end == io.EOF {
				return
			}
			if end != nil {
				yield(logpipe.Record{}, end)
				return
			}
		}
	}
}

func (r *Reader) give(line []byte, yield func(logpipe.Record, error) bool) bool {
	var record logpipe.Record
	if err := decode(line, &record); err != nil {
		err.Line = r.n
		return yield(logpipe.Record{}, err)
	}
	return yield(record, nil)
}

// next reads one line, without the white space around it, and passes over the rest of one that is too long. The line
// is good until the next call.
func (r *Reader) next() (line []byte, refused *Error, end error) {
	r.line = r.line[:0]
	length := 0
	for {
		piece, err := r.in.ReadSlice('\n')
		if length == 0 && len(piece) > 0 {
			r.n++
		}
		length += len(piece)
		if length <= r.max+len("\r\n") {
			r.line = append(r.line, piece...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			end = err
			break
		}
	}
	if len(bytes.TrimRight(r.line, "\r\n")) > r.max || length > r.max+len("\r\n") {
		refused = &Error{Line: r.n, Reason: fmt.Sprintf("is longer than %d bytes", r.max)}
	}
	return bytes.Trim(r.line, " \t\r\n"), refused, end
}
