package httplog_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/httplog"
)

// capture returns a capturing client of a plain server.
func capture(t *testing.T, h http.HandlerFunc, o httplog.Options) (*archive, *http.Client, string) {
	t.Helper()
	s := httptest.NewServer(h)
	a := new(archive)
	c := &http.Client{Transport: httplog.NewTransport(&http.Transport{}, a, o)}
	t.Cleanup(func() {
		c.CloseIdleConnections()
		s.Close()
	})
	return a, c, s.URL + path
}

func TestTransportRecordsExactly(t *testing.T) {
	for name, send := range map[string]func() io.Reader{
		"in memory": func() io.Reader { return strings.NewReader(question) },
		"as a flow": func() io.Reader {
			return io.MultiReader(strings.NewReader(question[:7]), strings.NewReader(question[7:]))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got atomic.Pointer[[]byte]
			a, c, url := capture(t, func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				got.Store(&b)
				w.Header().Set("X-Request-Id", "r1")
				io.WriteString(w, reply)
			}, httplog.Options{Headers: []string{"X-Request-ID"}})
			resp, err := c.Post(url+"?key=abc", "application/json", send())
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(resp.Body)
			a.want(t, "input output", "") // at the end of the body already
			resp.Body.Close()
			in, out := a.one(t, logpipe.Input), a.one(t, logpipe.Output)
			if string(text) != reply || string(*got.Load()) != question || body(in) != question || body(out) != reply {
				t.Errorf("server got %q\ninput %q\noutput %q", *got.Load(), body(in), body(out))
			}
			wantAttrs(t, in, map[string]string{"server.address": `"127.0.0.1"`, "url.query": `"key=REDACTED"`, "stele.body.truncated": ""})
			wantAttrs(t, out, map[string]string{"http.response.header.x-request-id": `["r1"]`, "gen_ai.response.id": `"c-9"`})
		})
	}
}

func TestTransportReceivesPiecesAtOnce(t *testing.T) {
	next := make(chan string)
	a, c, url := capture(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for e := range next {
			io.WriteString(w, e)
			w.(http.Flusher).Flush()
		}
	}, httplog.Options{})
	go func() { next <- events[0] }()
	resp, err := c.Post(url, "application/json", strings.NewReader(question))
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range events {
		got := make([]byte, len(e))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != e {
			t.Fatalf("%q %v", got, err)
		}
		if i+1 < len(events) {
			next <- events[i+1]
		}
	}
	close(next)
	resp.Body.Close() // after [DONE], without reading to the end
	a.want(t, "input output", "")
	if out := a.one(t, logpipe.Output); body(out) != strings.Join(events, "") {
		t.Errorf("%q", body(out))
	}
}

func TestFailuresAtTheClient(t *testing.T) {
	read := func(resp *http.Response) { io.Copy(io.Discard, resp.Body) }
	two := func(resp *http.Response) { io.ReadFull(resp.Body, make([]byte, len(events[0])+len(events[1]))) }
	hang := func(list ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			stream(list...)(w, r)
			<-r.Context().Done()
		}
	}
	for _, c := range []struct {
		name             string
		h                http.HandlerFunc
		use              func(*http.Response)
		timeout          time.Duration
		kinds, errorType string
	}{
		{"refused", answer(429, refused), read, 0, "input output error", "rate_limit_exceeded"},
		{"refused, not read", answer(500, refused), func(*http.Response) {}, 0, "input output error", "500"},
		{"stream cut", stream(events[:2]...), read, 0, "input output error", "cut"},
		{"connection broken", func(w http.ResponseWriter, r *http.Request) {
			stream(events[:2]...)(w, r)
			panic(http.ErrAbortHandler)
		}, read, 0, "input output error", "cut"},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, read, 0, "input error", "transport"},
		{"closed early", hang(events[:2]...), two, 0, "input output error", "closed"},
		{"time out in the stream", hang(events[:2]...), read, 2 * time.Second, "input output error", "timeout"},
		{"time out before the answer", func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, read, 50 * time.Millisecond, "input error", "timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, client, url := capture(t, c.h, httplog.Options{})
			client.Timeout = c.timeout
			resp, err := client.Post(url, "application/json", strings.NewReader(question))
			if err == nil {
				c.use(resp)
				resp.Body.Close()
			}
			a.want(t, c.kinds, c.errorType)
			if in := a.one(t, logpipe.Input); body(in) != question {
				t.Errorf("%q", body(in))
			}
		})
	}
}

func TestCancelAtTheClient(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a, c, url := capture(t, func(w http.ResponseWriter, r *http.Request) {
		stream(events[:2]...)(w, r)
		<-r.Context().Done()
	}, httplog.Options{})
	req, _ := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader(question))
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the caller met %v", err)
	}
	a.want(t, "input output error", "canceled")
}

func TestNobodyListens(t *testing.T) {
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	l.Close()
	for _, send := range []io.Reader{strings.NewReader(question), io.MultiReader(strings.NewReader(question)), nil} {
		a := new(archive)
		c := &http.Client{Transport: httplog.NewTransport(nil, a, httplog.Options{})}
		if resp, err := c.Post("http://"+l.Addr().String()+path+"?sig=canary-query", "", send); err == nil {
			resp.Body.Close()
			t.Error("somebody listens")
		}
		a.want(t, "input error", "transport")
		if _, ok := send.(*strings.Reader); ok && body(a.one(t, logpipe.Input)) != question {
			t.Error("the input is not whole")
		}
		if e := a.one(t, logpipe.Error); !strings.Contains(string(e.Body), "connection refused") {
			t.Errorf("%s", e.Body)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// net/http acts on a deadline by a timer of its own, with an error that does not tell why.
func TestVagueErrorsAfterTheEnd(t *testing.T) {
	vague := roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("request canceled") })
	for kind, make := range map[string]func() (context.Context, context.CancelFunc){
		"timeout": func() (context.Context, context.CancelFunc) {
			return context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		},
		"canceled": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx, cancel
		},
		"transport": func() (context.Context, context.CancelFunc) { return context.WithCancel(t.Context()) },
	} {
		a := new(archive)
		ctx, cancel := make()
		req, _ := http.NewRequestWithContext(ctx, "POST", "http://127.0.0.1"+path, strings.NewReader(question))
		httplog.NewTransport(vague, a, httplog.Options{}).RoundTrip(req)
		a.want(t, "input error", kind)
		cancel()
	}
}

func TestTransportLeavesTheRequestAlone(t *testing.T) {
	a := new(archive)
	req, _ := http.NewRequest("POST", "http://127.0.0.1"+path, io.NopCloser(strings.NewReader(question)))
	before := *req
	var sent *http.Request
	tr := httplog.NewTransport(roundTrip(func(r *http.Request) (*http.Response, error) {
		sent = r
		return &http.Response{StatusCode: 204, Body: http.NoBody, ContentLength: 0}, r.Body.Close()
	}), a, httplog.Options{})
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if req.Body != before.Body || req.Context() != before.Context() {
		t.Error("the caller's request was changed")
	}
	if sent.Header == nil || sent.URL != req.URL {
		t.Error("the sent request lacks something")
	}
	a.want(t, "input output", "")
}

func TestPanicInTheBaseGoesOn(t *testing.T) {
	a := new(archive)
	tr := httplog.NewTransport(roundTrip(func(*http.Request) (*http.Response, error) { panic("base") }), a, httplog.Options{})
	req, _ := http.NewRequest("POST", "http://127.0.0.1"+path, strings.NewReader(question))
	func() {
		defer func() {
			if v := recover(); v != "base" {
				t.Errorf("recovered %v", v)
			}
		}()
		tr.RoundTrip(req)
	}()
	a.want(t, "input error", "panic")
}

func TestTransparentGzipIsRecordedAsTheCallerSeesIt(t *testing.T) {
	a, c, url := capture(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, zipped(reply))
	}, httplog.Options{})
	if _, got := post(t, c, url, question); got != reply {
		t.Errorf("%q", got)
	}
	out := a.one(t, logpipe.Output)
	if body(out) != reply {
		t.Errorf("%q", body(out))
	}
	wantAttrs(t, out, map[string]string{"stele.body.encoding": "", "gen_ai.response.id": `"c-9"`})
}

func TestMiddlewareOfTheSDKs(t *testing.T) {
	a := new(archive)
	mw := httplog.Middleware(a, httplog.Options{})
	attempts := 0
	send := func(r *http.Request) (*http.Response, error) {
		attempts++
		if attempts == 1 {
			return nil, errors.New("network down")
		}
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(reply)), ContentLength: -1}, nil
	}
	for n := range 2 {
		req, _ := http.NewRequest("POST", "https://api.openai.com"+path, bytes.NewReader([]byte(question)))
		req.Header.Set("X-Stainless-Retry-Count", string(rune('0'+n)))
		if resp, err := mw(req, send); err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	if got := a.kinds(t); got != "input error input output" {
		t.Fatal(got)
	}
	wantAttrs(t, a.all(t)[2], map[string]string{"http.request.resend_count": "1", "gen_ai.provider.name": `"openai"`,
		"server.address": `"api.openai.com"`})
}

// A service that serves one call by making another leaves a link between the two.
func TestCallInsideACall(t *testing.T) {
	back := httptest.NewServer(answer(200, reply))
	defer back.Close()
	a := new(archive)
	c := &http.Client{Transport: httplog.NewTransport(&http.Transport{DisableKeepAlives: true}, a, httplog.Options{})}
	front := httptest.NewServer(httplog.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, _ := http.NewRequestWithContext(r.Context(), "POST", back.URL+path, r.Body)
		resp, err := c.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		io.Copy(w, resp.Body)
	}), a, httplog.Options{}))
	defer front.Close()
	defer front.Client().CloseIdleConnections()
	post(t, front.Client(), front.URL+path, question)
	parents := map[any]int{}
	for _, r := range a.all(t) {
		if r.Kind == logpipe.Input {
			if body(r) != question {
				t.Errorf("%q", body(r))
			}
			parents[attrs(t, r)["stele.call.parent"]]++
		}
	}
	if len(parents) != 2 || parents[nil] != 1 {
		t.Errorf("parents %v", parents)
	}
}
