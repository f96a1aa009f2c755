package chatjson

import "bytes"

// maxEvent bounds the bytes of one event that are held to be read. A larger one counts but says nothing.
const maxEvent = 1 << 20

// Stream reads the answer out of an event stream (server-sent events, or JSON lines) that comes in pieces cut anywhere.
type Stream struct {
	Response
	Events int // events with data so far, [DONE] not counted

	lines bool   // JSON lines
	line  []byte // a line without its end
	data  []byte // the data of the event so far
	has   bool   // the event has data
	skip  bool   // the event is too large
}

// NewStream returns a Stream of JSON lines, or of server-sent events.
func NewStream(lines bool) *Stream { return &Stream{lines: lines} }

// Write takes in the next bytes, of which it keeps none.
func (s *Stream) Write(p []byte) {
	for {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			s.keep(&s.line, p)
			return
		}
		if len(s.line) == 0 {
			s.take(p[:end])
		} else {
			s.keep(&s.line, p[:end])
			s.take(s.line)
			s.line = s.line[:0]
		}
		p = p[end+1:]
	}
}

// End says that no more bytes come. What stands without a line end counts.
func (s *Stream) End() {
	s.take(s.line)
	s.line = nil
	s.dispatch()
}

// keep appends to a buffer, or gives the event up.
func (s *Stream) keep(buf *[]byte, p []byte) {
	if len(*buf)+len(p) > maxEvent {
		s.skip = true
		return
	}
	*buf = append(*buf, p...)
}

// take reads a line.
func (s *Stream) take(line []byte) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	switch {
	case s.lines:
		s.has = len(line) > 0
		s.keep(&s.data, line)
		s.dispatch()
	case len(line) == 0:
		s.dispatch()
	default:
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			if s.has {
				s.keep(&s.data, []byte("\n"))
			}
			s.has = true
			s.keep(&s.data, bytes.TrimPrefix(data, []byte(" ")))
		}
	}
}

// dispatch reads the event that is complete.
func (s *Stream) dispatch() {
	switch {
	case !s.has:
	case string(bytes.TrimSpace(s.data)) == "[DONE]":
		s.Done, s.Ends = true, true
	default:
		s.Events++
		if !s.skip {
			s.event(s.data)
		}
	}
	s.data, s.has, s.skip = s.data[:0], false, false
}
