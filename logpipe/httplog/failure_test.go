package httplog_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/httplog"
)

func TestFailuresAtTheServer(t *testing.T) {
	whole := strings.Join(events, "")
	for _, c := range []struct {
		name             string
		h                http.HandlerFunc
		kinds, errorType string
		output, text     string
	}{
		{"refused", answer(429, refused), "input output error", "rate_limit_exceeded", refused, "HTTP 429 Too Many Requests: slow down"},
		{"refused without a word", answer(503, ""), "input output error", "503", "", "HTTP 503 Service Unavailable"},
		{"refused in plain text", answer(502, "bad gateway"), "input output error", "502", "bad gateway", "HTTP 502 Bad Gateway"},
		{"type that is a sentence", answer(400, `{"error":{"type":"no good at all","message":"m"}}`), "input output error", "400",
			`{"error":{"type":"no good at all","message":"m"}}`, "HTTP 400 Bad Request: m"},
		{"error under 200", answer(200, `{"error":{"message":"gpu"}}`), "input output error", "_OTHER", `{"error":{"message":"gpu"}}`,
			"the answer holds an error: gpu"},
		{"stream cut", stream(events[:3]...), "input output error", "cut", strings.Join(events[:3], ""), "the stream ended without its last event"},
		{"stream without events", stream(), "input output error", "cut", "", "the stream ended before its first event"},
		{"error in the stream", stream(events[0], "data: "+refused+"\n\n", events[3]), "input output error", "rate_limit_exceeded",
			events[0] + "data: " + refused + "\n\n" + events[3], "the answer holds an error: slow down"},
		{"redirect is none", answer(307, ""), "input output", "", "", ""},
		{"nothing written", func(http.ResponseWriter, *http.Request) {}, "input output", "", "", ""},
		{"panic", func(http.ResponseWriter, *http.Request) { panic("kaboom") }, "input error", "panic", "", "panic: kaboom"},
		{"panic with bytes", func(http.ResponseWriter, *http.Request) { panic("\xff" + strings.Repeat("x", 1<<20)) }, "input error", "panic", "",
			"panic: \uFFFD" + strings.Repeat("x", 8<<10-8)},
		{"panic in the stream", func(w http.ResponseWriter, r *http.Request) {
			stream(events[:2]...)(w, r)
			panic(errors.New("kaboom"))
		}, "input output error", "panic", strings.Join(events[:2], ""), "panic: kaboom"},
		{"panic after all", func(w http.ResponseWriter, r *http.Request) {
			stream(events...)(w, r)
			panic("kaboom")
		}, "input output error", "panic", whole, "panic: kaboom"},
		{"abort", func(w http.ResponseWriter, r *http.Request) {
			stream(events[0])(w, r)
			panic(http.ErrAbortHandler)
		}, "input output error", "aborted", events[0], "the handler aborted the answer"},
		{"exit", func(http.ResponseWriter, *http.Request) { runtime.Goexit() }, "input error", "aborted", "", "the handler's goroutine exited"},
		{"short answer", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "{")
		}, "input output error", "cut", "{", "the answer is shorter than its content length"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := new(archive)
			s := httptest.NewUnstartedServer(httplog.Handler(c.h, a, httplog.Options{}))
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.Start()
			defer s.Close()
			tr := &http.Transport{DisableKeepAlives: true}
			client := &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
				Timeout: time.Minute}
			if c.name == "exit" { // net/http leaves such a connection open
				client.Timeout = 2 * time.Second
			}
			if resp, err := client.Post(s.URL+path, "application/json", strings.NewReader(question)); err == nil {
				got, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if string(got) != c.output {
					t.Errorf("the client got %q", got)
				}
			}
			a.want(t, c.kinds, c.errorType)
			if in := a.one(t, logpipe.Input); body(in) != question {
				t.Errorf("input %q", body(in))
			}
			if out := a.one(t, logpipe.Output); out != nil && body(out) != c.output {
				t.Errorf("output %q", body(out))
			}
			if e := a.one(t, logpipe.Error); e != nil && string(e.Body) != c.text {
				t.Errorf("error %q, want %q", e.Body, c.text)
			}
		})
	}
}

func TestPanicGoesOnUnchanged(t *testing.T) {
	value := &struct{}{}
	h := httplog.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(value) }), new(archive), httplog.Options{})
	defer func() {
		if v := recover(); v != any(value) {
			t.Errorf("recovered %v", v)
		}
	}()
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", path, strings.NewReader(question)))
}

// The client hangs up at different moments.
func TestClientCancels(t *testing.T) {
	for _, c := range []struct {
		name, kinds, errorType string
		before                 int // events before the client hangs up
		after                  int // events that the handler writes then all the same
		watches                bool
	}{
		{"before the answer", "input error", "canceled", 0, 0, true},
		{"in the stream", "input output error", "canceled", 2, 0, true},
		{"in the stream, unnoticed", "input output error", "canceled", 2, 2, true},
		{"after the last event", "input output", "", 4, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			a, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", "text/event-stream")
				for _, e := range events[:c.before] {
					io.WriteString(w, e)
					w.(http.Flusher).Flush()
				}
				if c.before == 0 {
					hangUp()
				}
				<-r.Context().Done()
				for _, e := range events[c.before : c.before+c.after] {
					io.WriteString(w, e)
					w.(http.Flusher).Flush()
				}
			}, httplog.Options{})
			req, _ := http.NewRequestWithContext(ctx, "POST", s.URL+path, strings.NewReader(question))
			if resp, err := s.Client().Do(req); err == nil {
				io.ReadFull(resp.Body, make([]byte, len(strings.Join(events[:c.before], ""))))
				hangUp()
				resp.Body.Close()
			}
			a.want(t, c.kinds, c.errorType)
		})
	}
}

func TestTimeouts(t *testing.T) {
	slow := func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	t.Run("deadline of the request", func(t *testing.T) {
		a := new(archive)
		inner := httplog.Handler(http.HandlerFunc(slow), a, httplog.Options{})
		s := httptest.NewServer(http.TimeoutHandler(inner, 20*time.Millisecond, "late"))
		defer s.Close()
		defer s.Client().CloseIdleConnections()
		if resp, got := post(t, s.Client(), s.URL+path, question); resp.StatusCode != 503 || got != "late" {
			t.Errorf("%d %s", resp.StatusCode, got)
		}
		a.want(t, "input error", "timeout")
	})
	t.Run("cause", func(t *testing.T) {
		a := new(archive)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("shutting down"))
		req := httptest.NewRequest("POST", path, strings.NewReader(question)).WithContext(ctx)
		httplog.Handler(http.HandlerFunc(slow), a, httplog.Options{}).ServeHTTP(httptest.NewRecorder(), req)
		a.want(t, "input error", "canceled")
		if e := a.one(t, logpipe.Error); !strings.Contains(string(e.Body), "shutting down") {
			t.Errorf("%s", e.Body)
		}
	})
	t.Run("writing", func(t *testing.T) {
		a, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			http.NewResponseController(w).SetWriteDeadline(time.Now().Add(-time.Second))
			stream(events...)(w, r)
		}, httplog.Options{})
		if resp, err := s.Client().Post(s.URL+path, "", strings.NewReader(question)); err == nil {
			resp.Body.Close()
		}
		// Depending on who is faster, net/http has cancelled the request over the broken connection already.
		if e := a.one(t, logpipe.Error); e == nil {
			t.Error("no error record")
		} else if kind := attrs(t, e)["error.type"]; kind != "timeout" && kind != "canceled" {
			t.Errorf("%v: %s", kind, e.Body)
		}
	})
}

// brokenWriter fails after some bytes.
type brokenWriter struct {
	*httptest.ResponseRecorder
	left int
}

func (w *brokenWriter) Write(p []byte) (int, error) {
	n := min(w.left, len(p))
	w.left -= n
	w.ResponseRecorder.Write(p[:n])
	if n < len(p) {
		return n, errors.New("pipe broken")
	}
	return n, nil
}

func TestOnlyWhatWasWrittenIsTheOutput(t *testing.T) {
	a := new(archive)
	w := &brokenWriter{httptest.NewRecorder(), 10}
	httplog.Handler(answer(200, reply), a, httplog.Options{}).
		ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader(question)))
	a.want(t, "input output error", "write")
	if out := a.one(t, logpipe.Output); body(out) != reply[:10] {
		t.Errorf("%q", body(out))
	}
}

func TestRequestBreaksOff(t *testing.T) {
	a, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			http.Error(w, "unreadable", 400)
		}
	}, httplog.Options{})
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n%s", path, question)
	conn.(*net.TCPConn).CloseWrite()
	line, _ := bufio.NewReader(conn).ReadString('\n')
	conn.Close()
	if !strings.Contains(line, "400") {
		t.Errorf("%q", line)
	}
	// A client that closes its side looks like one that has gone.
	e, in := a.one(t, logpipe.Error), a.one(t, logpipe.Input)
	if kind := attrs(t, e)["error.type"]; kind != "request_body" && kind != "canceled" {
		t.Errorf("%v: %s", kind, e.Body)
	}
	if body(in) != question {
		t.Errorf("%q", body(in))
	}
	wantAttrs(t, in, map[string]string{"stele.body.truncated": "true", "http.request.body.size": "1000"})
}

func TestUnreadableRequest(t *testing.T) {
	a := new(archive)
	req := httptest.NewRequest("POST", path, io.MultiReader(strings.NewReader(question[:20]), failing{}))
	httplog.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); !errors.Is(err, errBroken) {
			t.Errorf("the handler met %v", err)
		}
		http.Error(w, "unreadable", 400)
	}), a, httplog.Options{}).ServeHTTP(httptest.NewRecorder(), req)
	a.want(t, "input output error", "request_body")
	if in := a.one(t, logpipe.Input); body(in) != question[:20] {
		t.Errorf("%q", body(in))
	}
}

// What the handler did not ask for cannot fail its answer.
func TestUnreadBrokenRequestIsNoFailure(t *testing.T) {
	a := new(archive)
	req := httptest.NewRequest("POST", path, io.MultiReader(strings.NewReader(question[:20]), failing{}))
	httplog.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "plain text")
	}), a, httplog.Options{}).ServeHTTP(httptest.NewRecorder(), req)
	a.want(t, "input output", "")
	in := a.one(t, logpipe.Input)
	if body(in) != question[:20] {
		t.Errorf("%q", body(in))
	}
	wantAttrs(t, in, map[string]string{"stele.body.truncated": "true"})
}

var errBroken = errors.New("connection reset")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errBroken }
