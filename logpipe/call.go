package logpipe

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/stelelog/stele/internal/chatjson"
)

// Sink takes records; [Pipe.Capture] is one.
type Sink func(context.Context, *Record) error

// Call follows one inference call from its input to its end and always leaves a closing record: an output, or an
// error, or both when an answer was cut. Its methods are safe for concurrent use and never block longer than Capture
// does. A Call must be ended; End is idempotent and safe to defer.
type Call struct {
	sink  Sink
	way   *callWay // into the pipe; nil if there is a sink only
	base  Record
	id    string
	begun time.Time
	limit int // bytes of chunks that are kept; 0: no limit

	mu      sync.Mutex // guards what follows
	attrs   []attr
	out     []byte
	output  *Record
	offsets offsets
	first   time.Duration
	cut     bool  // chunks were left out
	err     error // the first error of the sink
	ended   bool
}

type attr struct {
	key   string
	value json.RawMessage
}

// NewCall returns a call whose records go to sink. [Pipe.Begin] is the usual way. base gives tenant, subject, session,
// class, trace and attributes to every record of the call; its Kind, Time, Body and Parts are ignored.
func NewCall(ctx context.Context, sink Sink, base Record) *Call {
	id := NewID()
	base.ID, base.Kind, base.Time, base.Body, base.Parts = ID{}, 0, time.Time{}, nil, nil
	return &Call{sink: sink, base: base, id: id.String(), begun: time.Now()}
}

// ID is the random id that all records of the call carry in the attribute stele.call.id.
func (c *Call) ID() string { return c.id }

// Set adds an attribute to the records that follow. The value is written as JSON; one that cannot be is left out.
func (c *Call) Set(key string, value any) {
	raw, err := json.Marshal(value)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.attrs {
		if c.attrs[i].key == key {
			c.attrs[i].value = raw
			return
		}
	}
	c.attrs = append(c.attrs, attr{key, raw})
}

// Input captures what was asked. Empty fields of r are filled from the call.
func (c *Call) Input(ctx context.Context, r Record) error { return c.capture(ctx, Input, r, false) }

// State captures an intermediate state.
func (c *Call) State(ctx context.Context, r Record) error { return c.capture(ctx, State, r, false) }

// Chunk adds a piece of a streamed answer. Chunks become one output record when the call ends, with the time offsets
// in the attribute stele.stream.offsets: [milliseconds since Begin, bytes up to and including the chunk] for each, or, of
// more than 2,048 chunks, for every second, fourth, and so on, and the last. What goes beyond Config.MaxBody is left out,
// and the record marked as cut.
func (c *Call) Chunk(data []byte) {
	since := time.Since(c.begun)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || len(data) == 0 {
		return
	}
	if c.offsets.count == 0 {
		c.first = since
	}
	if c.limit > 0 && len(data) > c.limit-len(c.out) {
		data, c.cut = data[:c.limit-len(c.out)], true
	}
	c.out = append(c.out, data...)
	c.offsets.add(since.Milliseconds(), int64(len(c.out)))
}

// Output sets the answer of a call that does not stream, or the form of one that does (content type, id, attributes);
// chunks come first. It is captured by End.
func (c *Call) Output(r Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.Body = append([]byte(nil), r.Body...)
	c.output = &r
}

// End closes the call: the output if there is one, then an error record if err is not nil. It returns the first error
// that capturing any of the call's records met. Later calls do nothing and return the same.
func (c *Call) End(ctx context.Context, err error) error {
	c.mu.Lock()
	if c.ended {
		defer c.mu.Unlock()
		return c.err
	}
	c.ended = true
	out := c.closing(err)
	c.mu.Unlock()

	// The caller's context is often the cancelled request: the closing record must not die with it.
	ctx = context.WithoutCancel(ctx)
	c.Set("gen_ai.client.operation.duration", json.RawMessage(seconds(time.Since(c.begun))))
	if out != nil {
		c.capture(ctx, Output, *out, err == nil)
	}
	if err != nil {
		c.capture(ctx, Error, Record{ContentType: "text/plain; charset=utf-8", Body: []byte(err.Error()),
			Attributes: errorType(err)}, true)
	}
	if c.way != nil {
		c.note(c.way.end(ctx, err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// closing builds the output record. Requires mu.
func (c *Call) closing(err error) *Record {
	if c.output == nil && c.offsets.count == 0 {
		if err != nil {
			return nil
		}
		return &Record{}
	}
	r := Record{}
	if c.output != nil {
		r = *c.output
	}
	if c.offsets.count > 0 {
		r.Body = append(c.out, r.Body...)
		extra := []attr{
			{"stele.stream.offsets", c.offsets.json()},
			{"gen_ai.response.time_to_first_chunk", json.RawMessage(seconds(c.first))}}
		if c.cut {
			extra = append(extra, attr{"stele.body.truncated", json.RawMessage("true")})
		}
		r.Attributes = mergeAttributes(r.Attributes, nil, extra)
	}
	return &r
}

func (c *Call) capture(ctx context.Context, kind Kind, r Record, closes bool) error {
	c.fill(&r)
	r.Kind = kind
	if c.way == nil {
		return c.note(c.sink(ctx, &r))
	}
	return c.note(c.way.take(ctx, &r, closes))
}

// note keeps the first error and returns err.
func (c *Call) note(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	return err
}

// fill completes r from the call.
func (c *Call) fill(r *Record) {
	for _, f := range [...]struct{ to, from *string }{
		{&r.Tenant, &c.base.Tenant}, {&r.Subject, &c.base.Subject}, {&r.Session, &c.base.Session},
		{&r.Class, &c.base.Class}, {&r.CallerID, &c.base.CallerID}, {&r.TraceID, &c.base.TraceID},
		{&r.SpanID, &c.base.SpanID}, {&r.ParentID, &c.base.ParentID}, {&r.ContentType, &c.base.ContentType},
	} {
		if *f.to == "" {
			*f.to = *f.from
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	extra := append([]attr{{"stele.call.id", json.RawMessage(strconv.Quote(c.id))}}, c.attrs...)
	r.Attributes = mergeAttributes(r.Attributes, c.base.Attributes, extra)
}

// mergeAttributes joins JSON objects; the earliest mention of a name wins. What is no object is kept as it is, and
// Capture refuses it.
func mergeAttributes(own, base []byte, extra []attr) []byte {
	var out chatjson.Object
	seen := make(map[string]bool, 32)
	add := func(key string, value []byte) {
		if !seen[key] {
			seen[key] = true
			out.Raw(key, value)
		}
	}
	for _, object := range [][]byte{own, base} {
		if len(object) > 0 && !chatjson.Members(object, add) {
			return object
		}
	}
	for _, a := range extra {
		add(a.key, a.value)
	}
	return out.JSON()
}

// errorType gives the OpenTelemetry attribute error.type for err, if err offers one.
func errorType(err error) []byte {
	if t, ok := err.(interface{ ErrorType() string }); ok {
		name, _ := json.Marshal(t.ErrorType())
		return fmt.Appendf(nil, `{"error.type":%s}`, name)
	}
	return nil
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 6, 64) }
