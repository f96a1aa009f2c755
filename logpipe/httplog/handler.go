package httplog

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Handler returns a handler that captures the calls which next answers, and passes all others untouched. The input is
// recorded as soon as its body is read whole, at the latest when next returns. What next leaves unread is read for the
// record, up to 256 KiB, but not where net/http would answer without it: with full duplex, which only next may enable,
// with Expect, or before the connection is closed. If next panics, the call is recorded and the panic goes on.
//
// The writer that next gets passes flushes, deadlines and full duplex through [http.ResponseController]; it cannot be
// hijacked.
func Handler(next http.Handler, pipe Beginner, o Options) http.Handler {
	rec := newRecorder(pipe, o)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rec.o.wants(r) {
			if x := rec.begin(r, false); x != nil {
				x.serve(w, r, next)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// serve runs next and records what it reads and writes.
func (x *exchange) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	body := &request{under: r.Body, x: x, length: r.ContentLength}
	// A client that waits for permission to send must not get it from the log, and one that closes the connection after
	// the answer may wait for that.
	body.eager = r.ProtoMajor == 1 && r.Header.Get("Expect") == "" && !(r.Close && r.ContentLength < 0)
	if r.Body == nil || r.Body == http.NoBody {
		body.under = http.NoBody
		body.took(nil, io.EOF)
	}
	inner := r.WithContext(context.WithValue(r.Context(), callKey{}, x.call))
	inner.Body = body
	body.ended = func() { // net/http knows only of its own copy of the request
		if inner.Trailer == nil {
			inner.Trailer = r.Trailer
		}
	}
	out := &writer{ResponseWriter: w, x: x, body: body, stream: r.ProtoMajor > 1}

	returned := false
	defer func() {
		r.MultipartForm = inner.MultipartForm // whose files net/http removes
		if returned {
			x.served(out, nil)
			return
		}
		v := recover()
		x.served(out, interrupted(v))
		if v != nil {
			panic(v)
		}
	}()
	next.ServeHTTP(out.exact(), inner)
	returned = true
}

// served ends the call after the handler.
func (x *exchange) served(out *writer, why *failure) {
	broken := out.settle()
	over := x.over()
	switch {
	case why != nil && (why.kind != "aborted" || over == nil):
	case over != nil:
		why = ended(over)
	case out.err != nil:
		why = classify(out.err, "write", "writing the answer")
	case broken != nil:
		why = classify(broken, "request_body", "reading the request")
	}
	if why == nil && !out.begun {
		x.answered(http.StatusOK, out.Header(), -1)
	}
	x.finish(why)
}

// settle reads what the handler left unread, as far as that cannot hold the answer up, and records the input. On HTTP/1
// nobody can stop waiting for a client: after a deadline, net/http would take what comes later for the next request.
func (w *writer) settle() error {
	const patience = 100 * time.Millisecond
	w.early()
	if b := w.body; w.stream && b.halfway() && http.NewResponseController(w.ResponseWriter).SetReadDeadline(time.Now().Add(patience)) == nil {
		b.drain()
	}
	return w.body.finish()
}

// writer passes an answer on and then gives it to the exchange.
type writer struct {
	http.ResponseWriter
	x      *exchange
	body   *request
	stream bool  // of a connection with others: HTTP/2
	begun  bool  // the head has been given
	err    error // the first error of Write
}

// early lets the rest of the request be read before the answer begins, as net/http does, unless that ends the connection
// and so does not wait for it.
func (w *writer) early() {
	if !w.begun && w.Header().Get("Connection") == "close" {
		w.body.lazy()
	}
	w.body.early()
}

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(code int) {
	final := !w.begun && (code >= 200 || code == http.StatusSwitchingProtocols)
	if final {
		w.early()
	}
	w.ResponseWriter.WriteHeader(code)
	if final {
		w.head(code)
	}
}

// head notes the head of the answer.
func (w *writer) head(code int) {
	w.begun = true
	h := w.Header()
	length, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	if err != nil {
		length = -1
	}
	w.x.answered(code, h, length)
}

// Write implements http.ResponseWriter.
func (w *writer) Write(p []byte) (int, error) {
	first := !w.begun
	if first {
		w.early()
	}
	n, err := w.ResponseWriter.Write(p)
	if first {
		w.head(http.StatusOK)
	}
	w.x.wrote(p[:max(0, min(n, len(p)))], false)
	if w.err == nil {
		w.err = err
	}
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// EnableFullDuplex is for http.ResponseController. From here on reading ahead could wait for ever.
func (w *writer) EnableFullDuplex() error {
	w.body.lazy()
	return http.NewResponseController(w.ResponseWriter).EnableFullDuplex()
}

// Hijack refuses: what travels on a hijacked connection could not be captured.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, fmt.Errorf("httplog: captured connections cannot be hijacked: %w", http.ErrNotSupported)
}

// exact returns w with the optional methods that its underlying writer has.
func (w *writer) exact() http.ResponseWriter {
	switch w.ResponseWriter.(type) {
	case http.Flusher, interface{ FlushError() error }:
		return flusher{w}
	}
	return w
}

// flusher is a writer that can flush.
type flusher struct{ *writer }

// Flush implements http.Flusher.
func (w flusher) Flush() { _ = w.FlushError() }

// FlushError is for http.ResponseController.
func (w flusher) FlushError() error {
	first := !w.begun
	if first {
		w.early()
	}
	err := http.NewResponseController(w.ResponseWriter).Flush()
	if first {
		w.head(http.StatusOK)
	}
	w.x.wrote(nil, true)
	return err
}
