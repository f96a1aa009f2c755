package httplog

import (
	"io"
	"net/http"
)

// NewTransport returns a round tripper that captures the calls which base makes, and passes all others untouched; a nil
// base is http.DefaultTransport. A request that can be read twice (GetBody is set, as with every body in memory) is
// recorded before it is sent; any other as it is sent. The call ends when the body of the response is read to its end or
// closed: a body that is never closed leaves a call that never ends. Each attempt of a client that tries again is a call
// of its own, with http.request.resend_count where the client tells it.
func NewTransport(base http.RoundTripper, pipe Beginner, o Options) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{newRecorder(pipe, o), base}
}

// Middleware returns what the Go SDKs of OpenAI and Anthropic take as option.WithMiddleware. It captures like
// [NewTransport].
func Middleware(pipe Beginner, o Options) func(*http.Request, func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	return newRecorder(pipe, o).do
}

type transport struct {
	rec  *recorder
	base http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.rec.do(r, t.base.RoundTrip)
}

// CloseIdleConnections is for http.Client.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// do sends r with next and captures it.
func (rec *recorder) do(r *http.Request, next func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	if !rec.o.wants(r) {
		return next(r)
	}
	x := rec.begin(r, true)
	if x == nil {
		return next(r)
	}
	body := &request{x: x, length: r.ContentLength}
	if sent := body.attach(r); sent != nil {
		r = sent
	}
	returned := false
	defer func() {
		if !returned {
			v := recover()
			body.finish()
			x.finish(interrupted(v))
			if v != nil {
				panic(v)
			}
		}
	}()
	resp, err := next(r)
	returned = true
	x.received(resp, err, body)
	return resp, err
}

// attach arranges for the body of r to be recorded. It returns the request to send in place of r, or nil.
func (b *request) attach(r *http.Request) *http.Request {
	if r.Body == nil || r.Body == http.NoBody {
		b.took(nil, io.EOF)
		return nil
	}
	if b.copied(r) {
		return nil
	}
	sent := r.WithContext(r.Context())
	b.under, sent.Body = r.Body, b
	return sent
}

// copied records a second copy of the body, if r offers one.
func (b *request) copied(r *http.Request) (ok bool) {
	defer b.x.contain()
	if r.GetBody == nil {
		return false
	}
	body, err := r.GetBody()
	if err != nil {
		return false
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, int64(b.x.o.MaxBody)))
	if err != nil {
		return false
	}
	rest, err := io.Copy(io.Discard, body)
	if err != nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf, b.size, b.whole = data, int64(len(data))+rest, true
	b.record()
	return true
}

// received takes the response, or the error that came in its place.
func (x *exchange) received(resp *http.Response, err error, sent *request) {
	defer x.contain()
	if err != nil || resp == nil {
		sent.finish()
		x.finish(x.broken(err, "sending the request"))
		return
	}
	x.answered(resp.StatusCode, resp.Header, resp.ContentLength)
	if resp.Body == nil || resp.StatusCode == http.StatusSwitchingProtocols {
		sent.finish()
		x.finish(nil)
		return
	}
	resp.Body = &response{resp.Body, x, sent}
}

// broken is the failure of a call that err ended. What net/http returns after a cancellation does not always say so.
func (x *exchange) broken(err error, text string) *failure {
	if cause := x.over(); cause != nil {
		return ended(cause)
	}
	return classify(err, "transport", text)
}

// response passes the body of a response on and records it.
type response struct {
	under io.ReadCloser
	x     *exchange
	sent  *request
}

// Read implements io.Reader.
func (b *response) Read(p []byte) (int, error) {
	n, err := b.under.Read(p)
	b.x.wrote(p[:max(0, min(n, len(p)))], true)
	switch err {
	case nil:
	case io.EOF:
		b.finish(nil)
	default:
		b.finish(b.x.broken(err, "reading the answer"))
	}
	return n, err
}

// Close implements io.Closer.
func (b *response) Close() error {
	err := b.under.Close()
	b.finish(&failure{"closed", "the caller closed the answer before its end", nil})
	return err
}

func (b *response) finish(why *failure) {
	b.sent.finish()
	b.x.finish(why)
}
