package httplog

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/stelelog/stele/internal/chatjson"
	"github.com/stelelog/stele/logpipe"
)

// recorder makes exchanges. It is what Handler and NewTransport share.
type recorder struct {
	pipe Beginner
	o    Options
}

// exchange is one captured call. No method of it fails or panics.
type exchange struct {
	*recorder
	call    *logpipe.Call
	input   func(logpipe.Record) error
	end     func(error) error
	over    func() error // why the context of the request has ended, if it has
	server  bool
	attrs   chatjson.Object
	path    string
	query   string // never to be recorded
	coding  string // of the request
	form    string // content type of the request
	inputs  string // class of the input
	outputs string // class of the output

	mu       sync.Mutex // guards what follows
	finished bool
	answer   answer
}

// contain keeps a panic of capturing away from the service. It must be deferred itself.
func (rec *recorder) contain() {
	if v := recover(); v != nil {
		rec.report(fmt.Errorf("httplog: capturing panicked: %v", v))
	}
}

func (rec *recorder) report(err error) {
	if err != nil && rec.o.OnError != nil {
		defer func() { _ = recover() }()
		rec.o.OnError(err)
	}
}

// begin starts capturing r, or returns nil.
func (rec *recorder) begin(r *http.Request, client bool) (x *exchange) {
	defer rec.contain()
	begun := rec.describe(r, client)
	base := logpipe.Record{Attributes: rec.o.Attributes, Class: rec.class(r, logpipe.Error)}
	base.TraceID, base.ParentID = traceparent(r.Header)
	base.Tenant, base.Subject, base.Session = rec.identify(r)
	provider := rec.o.Provider
	if provider == "" && client {
		provider = chatjson.Provider(r.URL.Hostname())
	}

	call := rec.pipe.Begin(r.Context(), base)
	if call == nil {
		return nil
	}
	if provider != "" {
		call.Set("gen_ai.provider.name", provider)
	}
	live := r.Context()
	// What was asked and answered is recorded also when the request is cancelled.
	kept := context.WithoutCancel(live)
	begun.call = call
	begun.input = func(in logpipe.Record) error { return call.Input(kept, in) }
	begun.end = func(err error) error { return call.End(kept, err) }
	begun.over = func() error { return over(live) }
	return begun
}

// describe notes of a request what does not depend on its body. A client may reuse it as soon as it is sent.
func (rec *recorder) describe(r *http.Request, client bool) *exchange {
	x := &exchange{
		recorder: rec,
		attrs:    describe(r, &rec.o, client),
		path:     r.URL.Path,
		query:    r.URL.RawQuery,
		coding:   encodingOf(r.Header),
		form:     clean(r.Header.Get("Content-Type")),
		inputs:   rec.class(r, logpipe.Input),
		outputs:  rec.class(r, logpipe.Output),
		server:   !client,
	}
	if outer, ok := r.Context().Value(callKey{}).(*logpipe.Call); ok {
		x.attrs.Text("stele.call.parent", outer.ID())
	}
	return x
}

// over returns why ctx has ended, or nil. A deadline counts from its moment on: net/http acts on it by a timer of its own,
// which may be faster.
func over(ctx context.Context) error {
	if at, ok := ctx.Deadline(); ok && ctx.Err() == nil && !time.Now().Before(at) {
		return context.DeadlineExceeded
	}
	return context.Cause(ctx)
}

// maxIdentity bounds tenant, subject and session, in bytes.
const maxIdentity = 1024

func (rec *recorder) identify(r *http.Request) (tenant, subject, session string) {
	if rec.o.Identify == nil {
		return "", "", ""
	}
	defer rec.contain()
	tenant, subject, session = rec.o.Identify(r)
	// An identity often comes from a header. Nobody may escape the record by one that the pipe refuses.
	return cleanTo(maxIdentity, tenant), cleanTo(maxIdentity, subject), cleanTo(maxIdentity, session)
}

func (rec *recorder) class(r *http.Request, k logpipe.Kind) (class string) {
	if rec.o.Class == nil {
		return ""
	}
	defer rec.contain()
	return rec.o.Class(r, k)
}

// asked records the input: body is what was kept of size bytes.
func (x *exchange) asked(body []byte, size int64, cut bool) {
	defer x.contain()
	if cut {
		x.attrs.Raw("stele.body.truncated", []byte("true"))
		x.attrs.Int("http.request.body.size", size)
	}
	if x.coding != "" {
		x.attrs.Text("stele.body.encoding", x.coding)
	}
	plain, _ := decode(x.coding, body, x.o.MaxBody)
	request := chatjson.ParseRequest(plain)
	if name := operation(x.path, request.Operation); name != "" {
		x.call.Set("gen_ai.operation.name", name)
	}
	if request.Model != "" {
		x.call.Set("gen_ai.request.model", request.Model)
	}
	x.attrs.Append(&request.Attributes)

	in := logpipe.Record{Class: x.inputs, ContentType: x.form, Attributes: x.attrs.JSON()}
	if x.coding == "" && len(request.Parts) > 1 {
		in.Parts = make([]logpipe.Part, len(request.Parts))
		for i, p := range request.Parts {
			in.Parts[i].Data = p
		}
	} else {
		in.Body = body
	}
	x.report(x.input(in))
}

// answered notes the head of the answer. length is -1 if it is not known.
func (x *exchange) answered(status int, h http.Header, length int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	defer x.contain()
	a := &x.answer
	a.status, a.length = status, length
	a.form, a.coding = clean(h.Get("Content-Type")), encodingOf(h)
	addHeaders(&a.attrs, "http.response.header.", h, x.o.Headers)
	a.stream = streamOf(a.form)
}

// streamOf returns a reader for the events of a body of this content type, or nil if it is no stream.
func streamOf(contentType string) *chatjson.Stream {
	kind, _, _ := mime.ParseMediaType(contentType)
	switch kind {
	case "text/event-stream":
		return chatjson.NewStream(false)
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/stream+json":
		return chatjson.NewStream(true)
	}
	return nil
}

// wrote takes bytes of the answer that have been passed on, and flushed says that the last of them are on their way.
func (x *exchange) wrote(p []byte, flushed bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	defer x.contain()
	if x.finished {
		return
	}
	if x.server && len(p) > 0 && x.over() != nil {
		x.answer.late = true
	}
	for len(p) > maxPending { // however much is written at once, no more is held
		x.answer.add(p[:maxPending], x.o.MaxBody)
		x.answer.commit(x.call, x.o.MaxBody)
		p = p[maxPending:]
	}
	x.answer.add(p, x.o.MaxBody)
	if flushed || len(x.answer.pending) >= maxPending {
		x.answer.commit(x.call, x.o.MaxBody)
	}
}

// finish ends the call, once. why is what stopped it before its end, if anything did.
func (x *exchange) finish(why *failure) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.finished {
		return
	}
	x.finished = true
	err := x.conclude(why)
	defer x.contain()
	x.report(x.end(err))
}

// conclude hands the output to the call and returns the error to end it with.
func (x *exchange) conclude(why *failure) (err error) {
	defer x.contain()
	a := &x.answer
	a.commit(x.call, x.o.MaxBody)
	f := a.read(why, x.o.MaxBody)
	if f != nil {
		f.text = cleanTo(maxMessage, x.hideQuery(f.Error()))
		f.err = nil
		err = f
	}
	if a.status == 0 {
		return err
	}
	x.call.Set("http.response.status_code", a.status)
	out := logpipe.Record{Class: x.outputs, ContentType: a.form, Body: a.unstreamed()}
	if f != nil {
		a.attrs.Text("error.type", f.kind)
	}
	out.Attributes = a.attrs.JSON()
	x.call.Output(out)
	return err
}

// hideQuery removes the query, which may hold a key, from a text that quotes the URL.
func (x *exchange) hideQuery(text string) string {
	if x.query == "" {
		return text
	}
	return strings.ReplaceAll(text, x.query, redactQuery(x.query))
}

// clean makes a header value fit for a record.
func clean(s string) string { return cleanTo(256, s) }

// cleanTo cuts s to a limit of bytes and replaces those that are no UTF-8.
func cleanTo(limit int, s string) string {
	return strings.ToValidUTF8(s[:min(len(s), limit)], "\uFFFD")
}
