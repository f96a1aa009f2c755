package httplog

import (
	"github.com/stelelog/stele/internal/chatjson"
	"github.com/stelelog/stele/logpipe"
)

// maxPending is how many bytes of a stream wait for a flush before they are recorded without one.
const maxPending = 32 << 10

// answer gathers the response of one call.
type answer struct {
	status int   // 0: none came
	length int64 // as the head says; -1: unknown
	form   string
	coding string
	attrs  chatjson.Object

	stream  *chatjson.Stream // nil: the answer comes in one piece
	pending []byte           // of a stream: passed on, not recorded yet
	body    []byte           // what was kept, unless the stream has it
	size    int64            // all bytes
	kept    int              // bytes given to the call
	late    bool             // bytes were written after the client had gone
}

// add takes in bytes.
func (a *answer) add(p []byte, limit int) {
	a.size += int64(len(p))
	if a.stream != nil {
		a.pending = append(a.pending, p...)
	}
	// The bytes of a stream in a content coding are needed again: it can be read in one piece only.
	if a.stream == nil || a.coding != "" {
		a.body = appendKept(a.body, p, limit, a.length)
	}
}

// commit records the pending bytes of a stream as one chunk.
func (a *answer) commit(call *logpipe.Call, limit int) {
	if len(a.pending) == 0 {
		return
	}
	chunk := a.pending[:min(len(a.pending), limit-a.kept)]
	call.Chunk(chunk)
	a.kept += len(chunk)
	if a.coding == "" {
		a.stream.Write(a.pending)
	}
	a.pending = a.pending[:0]
}

// unstreamed returns the body that the call does not have from its chunks.
func (a *answer) unstreamed() []byte {
	if a.stream != nil {
		return nil
	}
	return a.body
}

// read works out what the answer says, sets its attributes and returns why the call failed, or nil. why is what stopped
// it, if anything did.
func (a *answer) read(why *failure, limit int) *failure {
	if a.status == 0 {
		return why
	}
	says, whole, readable := a.parse(limit)
	says.Attributes(&a.attrs)
	if a.stream != nil {
		a.attrs.Int("stele.stream.events", int64(a.stream.Events))
	}
	if a.coding != "" {
		a.attrs.Text("stele.body.encoding", a.coding)
	}
	if a.size > int64(limit) {
		a.attrs.Raw("stele.body.truncated", []byte("true"))
		a.attrs.Int("http.response.body.size", a.size)
	}

	return a.verdict(why, says, whole && !a.late, readable)
}

// verdict weighs what stopped the call against what the answer says.
func (a *answer) verdict(why *failure, says *chatjson.Response, whole, readable bool) *failure {
	failed := says.Failed || a.status >= 400
	switch {
	case why != nil && (why.kind == "panic" || why.kind == "aborted"):
		return why
	case failed && why != nil && why.kind == "request_body":
		return why
	case whole && failed:
		return refusal(a.status, says)
	case whole:
		return nil
	case why != nil && (!failed || why.kind != "closed"):
		return why
	case failed:
		return refusal(a.status, says)
	case a.length > a.size:
		return &failure{"cut", "the answer is shorter than its content length", nil}
	case a.stream != nil && readable && a.stream.Events == 0:
		return &failure{"cut", "the stream ended before its first event", nil}
	case a.stream != nil && readable && says.Ends && !says.Done:
		return &failure{"cut", "the stream ended without its last event", nil}
	}
	return nil
}

// parse reads the body. whole reports that all of the answer came, as far as the answer can tell; readable, that its
// text could be read.
func (a *answer) parse(limit int) (says *chatjson.Response, whole, readable bool) {
	sized := a.length >= 0 && a.size >= a.length
	plain, readable := decode(a.coding, a.body, limit)
	if a.stream == nil {
		r, valid := chatjson.ParseResponse(plain)
		return &r, sized || valid, readable
	}
	if a.coding != "" {
		a.stream.Write(plain)
		readable = readable && a.size <= int64(limit)
	}
	a.stream.End()
	r := &a.stream.Response
	return r, r.Done || r.Failed, readable
}
