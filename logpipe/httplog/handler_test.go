package httplog_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/httplog"
)

func TestCallIsRecordedExactly(t *testing.T) {
	a, s := serve(t, answer(200, reply), httplog.Options{
		Provider:   "openai",
		Identify:   func(*http.Request) (string, string, string) { return "acme", "ann", "s1" },
		Class:      func(_ *http.Request, k logpipe.Kind) string { return k.String() + "s" },
		Headers:    []string{"x-request-id"},
		Attributes: []byte(`{"service.version":"r7"}`),
	})
	req, _ := http.NewRequest("POST", s.URL+path+"?api-version=3", strings.NewReader(question))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Request-Id", "q1")
	req.Header.Set("X-Stainless-Retry-Count", "2")
	req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(got) != reply || resp.StatusCode != 200 || resp.ContentLength != int64(len(reply)) {
		t.Errorf("%d %d %s", resp.StatusCode, resp.ContentLength, got)
	}

	a.want(t, "input output", "")
	in, out := a.one(t, logpipe.Input), a.one(t, logpipe.Output)
	if body(in) != question || body(out) != reply {
		t.Errorf("input %s\noutput %s", body(in), body(out))
	}
	if len(in.Parts) != 4 || string(in.Parts[2].Data) != `,{"role":"user","content":"hi\u00e9"}` {
		t.Errorf("parts: %v", in.Parts)
	}
	for _, r := range []*logpipe.Record{in, out} {
		if r.Tenant != "acme" || r.Subject != "ann" || r.Session != "s1" || r.Class != r.Kind.String()+"s" ||
			r.TraceID != "0af7651916cd43dd8448eb211c80319c" || r.ParentID != "b7ad6b7169203331" || r.SpanID != "" ||
			r.ContentType != "application/json" {
			t.Errorf("%+v", r)
		}
		wantAttrs(t, r, map[string]string{"gen_ai.operation.name": `"chat"`, "gen_ai.provider.name": `"openai"`,
			"gen_ai.request.model": `"m-1"`, "service.version": `"r7"`})
	}
	wantAttrs(t, in, map[string]string{"gen_ai.request.temperature": "0.10", "http.request.method": `"POST"`,
		"url.path": `"` + path + `"`, "url.query": `"api-version=REDACTED"`, "server.address": `"127.0.0.1"`,
		"http.request.resend_count": "2", "http.request.header.x-request-id": `["q1"]`, "stele.body.truncated": ""})
	wantAttrs(t, out, map[string]string{"gen_ai.response.id": `"c-9"`, "gen_ai.response.model": `"m-1-x"`,
		"gen_ai.response.finish_reasons": `["stop"]`, "gen_ai.usage.input_tokens": "3", "gen_ai.usage.output_tokens": "1",
		"http.response.status_code": "200"})
}

func TestOtherRequestsPassUntouched(t *testing.T) {
	a := new(archive)
	var inner http.ResponseWriter
	var innerReq *http.Request
	h := httplog.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { inner, innerReq = w, r }), a, httplog.Options{})
	for _, r := range []*http.Request{
		httptest.NewRequest("GET", path, nil),
		httptest.NewRequest("POST", "/v1/models", strings.NewReader("x")),
		httptest.NewRequest("POST", "/", nil),
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if inner != http.ResponseWriter(w) || innerReq != r {
			t.Errorf("%s %s was wrapped", r.Method, r.URL)
		}
	}
	if a.begun != 0 {
		t.Errorf("%d calls", a.begun)
	}
	if c := httplog.CallFrom(innerReq.Context()); c.State(t.Context(), logpipe.Record{}) != nil {
		t.Error("a call that leads nowhere must take records")
	}
}

func TestPathsAreConfigurable(t *testing.T) {
	a, s := serve(t, answer(200, `{"scores":[1]}`), httplog.Options{Paths: []string{"/rank"}})
	post(t, s.Client(), s.URL+"/v2/rank", `{"query":"q"}`)
	post(t, s.Client(), s.URL+path, question)
	a.want(t, "input output", "")
	if in := a.one(t, logpipe.Input); body(in) != `{"query":"q"}` || len(in.Parts) != 0 {
		t.Errorf("%s", body(in))
	}
}

func TestHistorySharesParts(t *testing.T) {
	a, s := serve(t, answer(200, reply), httplog.Options{})
	messages := []string{`{"role":"user","content":"one"}`}
	for range 3 {
		post(t, s.Client(), s.URL+path, `{"model":"m","messages":[`+strings.Join(messages, ",")+`]}`)
		messages = append(messages, `{"role":"assistant","content":"x"}`, `{"role":"user","content":"y"}`)
	}
	var before []logpipe.Part
	for _, r := range a.all(t) {
		if r.Kind != logpipe.Input {
			continue
		}
		if n := len(before); n > 0 {
			same := slices.EqualFunc(before[:n-1], r.Parts[:n-1], func(x, y logpipe.Part) bool { return bytes.Equal(x.Data, y.Data) })
			if !same || len(r.Parts) != n+2 {
				t.Errorf("turn of %d parts after one of %d, shared: %v", len(r.Parts), n, same)
			}
		}
		before = r.Parts
	}
}

func TestStatesOfTheHandlerJoinTheCall(t *testing.T) {
	a, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		httplog.CallFrom(r.Context()).State(r.Context(), logpipe.Record{Body: []byte("context")})
		io.WriteString(w, reply)
	}, httplog.Options{})
	post(t, s.Client(), s.URL+path, question)
	a.want(t, "input state output", "")
	ids := map[any]bool{}
	for _, r := range a.all(t) {
		ids[attrs(t, r)["stele.call.id"]] = true
	}
	if len(ids) != 1 {
		t.Errorf("ids %v", ids)
	}
}

// A handler that does not read the body to its end must not cost the record its body.
func TestUnreadRequestIsCompleteAllTheSame(t *testing.T) {
	text := `{"messages":[{"content":"` + strings.Repeat("x", 100<<10) + `"}]}`
	for name, h := range map[string]http.HandlerFunc{
		"not at all":   func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, reply) },
		"nor answered": func(http.ResponseWriter, *http.Request) {},
		"in part": func(w http.ResponseWriter, r *http.Request) {
			r.Body.Read(make([]byte, 10))
			w.WriteHeader(200)
		},
		"closed early": func(w http.ResponseWriter, r *http.Request) {
			r.Body.Close()
			io.WriteString(w, reply)
		},
		"read after the answer began": func(w http.ResponseWriter, r *http.Request) {
			first := make([]byte, 10)
			io.ReadFull(r.Body, first)
			w.(http.Flusher).Flush()
			rest, err := io.ReadAll(r.Body)
			if string(first)+string(rest) != text || err != nil {
				t.Errorf("the handler read %d bytes, %v", len(rest), err)
			}
		},
		"decoder": func(w http.ResponseWriter, r *http.Request) {
			json.NewDecoder(r.Body).Decode(new(any))
			io.WriteString(w, reply)
		},
	} {
		for _, length := range []string{"known", "chunked"} {
			t.Run(name+" "+length, func(t *testing.T) {
				a, s := serve(t, h, httplog.Options{})
				var send io.Reader = strings.NewReader(text)
				if length == "chunked" {
					send = io.MultiReader(send)
				}
				resp, err := s.Client().Post(s.URL+path, "application/json", send)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				in := a.one(t, logpipe.Input)
				if body(in) != text {
					t.Errorf("%d of %d bytes", len(body(in)), len(text))
				}
				wantAttrs(t, in, map[string]string{"stele.body.truncated": ""})
			})
		}
	}
}

func TestUnreadRequestOverTheLimitIsMarked(t *testing.T) {
	a, s := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) }, httplog.Options{})
	size := 3 << 20
	req, _ := http.NewRequest("POST", s.URL+path, io.MultiReader(strings.NewReader(strings.Repeat("x", size))))
	req.ContentLength = int64(size)
	resp, err := s.Client().Do(req)
	if err == nil {
		resp.Body.Close()
	}
	a.want(t, "input output error", "413")
	wantAttrs(t, a.one(t, logpipe.Input), map[string]string{"stele.body.truncated": "true", "http.request.body.size": fmt.Sprint(size)})
}

// A client that asks for permission to send must not get it because of the log.
func TestExpectContinueIsLeftToTheHandler(t *testing.T) {
	a, s := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }, httplog.Options{})
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n", path)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(line, "401") {
		t.Fatalf("%q %v", line, err)
	}
	a.want(t, "input output error", "401")
	wantAttrs(t, a.one(t, logpipe.Input), map[string]string{"stele.body.truncated": "true", "http.request.body.size": "100"})
}

func TestBodiesOverTheLimit(t *testing.T) {
	big := strings.Repeat("0123456789", 1000)
	var seen atomic.Int64
	a, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		seen.Store(n)
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, big)
	}, httplog.Options{MaxBody: 1001})
	if _, got := post(t, s.Client(), s.URL+path, big); got != big || seen.Load() != int64(len(big)) {
		t.Errorf("the handler saw %d bytes, the client %d", seen.Load(), len(got))
	}
	in, out := a.one(t, logpipe.Input), a.one(t, logpipe.Output)
	if body(in) != big[:1001] || body(out) != big[:1001] {
		t.Errorf("kept %d and %d bytes", len(body(in)), len(body(out)))
	}
	wantAttrs(t, in, map[string]string{"stele.body.truncated": "true", "http.request.body.size": "10000"})
	wantAttrs(t, out, map[string]string{"stele.body.truncated": "true", "http.response.body.size": "10000"})
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, text)
	w.Close()
	return b.String()
}

func TestContentCodingsAreKeptAsTheyAre(t *testing.T) {
	for _, c := range []struct{ coding, in, out, model, id string }{
		{"gzip", zipped(question), zipped(reply), `"m-1"`, `"c-9"`},
		{"br", "\x01\x02\xff", "\x03\xfe", "", ""},
		{"gzip", "no gzip", "no gzip", "", ""},
		{"gzip", zipped(strings.Repeat(" ", 4<<20) + question), zipped(strings.Repeat(" ", 4<<20) + reply), "", ""},
	} {
		a, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Encoding", c.coding)
			io.WriteString(w, c.out)
		}, httplog.Options{})
		req, _ := http.NewRequest("POST", s.URL+path, strings.NewReader(c.in))
		req.Header.Set("Content-Encoding", c.coding)
		req.Header.Set("Accept-Encoding", c.coding)
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		a.want(t, "input output", "")
		in, out := a.one(t, logpipe.Input), a.one(t, logpipe.Output)
		if string(got) != c.out || body(in) != c.in || body(out) != c.out {
			t.Errorf("%s: bodies differ", c.coding)
		}
		wantAttrs(t, in, map[string]string{"gen_ai.request.model": c.model, "stele.body.encoding": `"` + c.coding + `"`})
		wantAttrs(t, out, map[string]string{"gen_ai.response.id": c.id, "stele.body.encoding": `"` + c.coding + `"`})
	}
}

func TestWriterKeepsItsAbilities(t *testing.T) {
	_, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		rc := http.NewResponseController(w)
		if err := errors.Join(rc.SetReadDeadline(time.Now().Add(time.Minute)), rc.SetWriteDeadline(time.Now().Add(time.Minute)),
			rc.EnableFullDuplex(), rc.Flush()); err != nil {
			t.Error(err)
		}
		if _, _, err := rc.Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("hijack: %v", err)
		}
	}, httplog.Options{})
	post(t, s.Client(), s.URL+path, question)

	// A writer that cannot flush does not pretend to.
	h := httplog.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, ok := w.(http.Flusher); ok {
			t.Error("Flusher out of nothing")
		}
		if err := http.NewResponseController(w).Flush(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("flush: %v", err)
		}
	}), new(archive), httplog.Options{})
	h.ServeHTTP(struct{ http.ResponseWriter }{httptest.NewRecorder()}, httptest.NewRequest("POST", path, strings.NewReader("{}")))
}

func TestInformationalStatusIsNotTheAnswer(t *testing.T) {
	a, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		answer(201, reply)(w, r)
	}, httplog.Options{})
	if resp, _ := post(t, s.Client(), s.URL+path, question); resp.StatusCode != 201 {
		t.Errorf("status %d", resp.StatusCode)
	}
	wantAttrs(t, a.one(t, logpipe.Output), map[string]string{"http.response.status_code": "201"})
}

func TestHTTP2(t *testing.T) {
	a := new(archive)
	s := httptest.NewUnstartedServer(httplog.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("%s", r.Proto)
		}
		r.Body.Read(make([]byte, 1))
		io.WriteString(w, reply)
	}), a, httplog.Options{}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	defer s.Client().CloseIdleConnections()
	if _, got := post(t, s.Client(), s.URL+path, question); got != reply {
		t.Errorf("%s", got)
	}
	a.want(t, "input output", "")
	if in := a.one(t, logpipe.Input); body(in) != question {
		t.Errorf("%s", body(in))
	}
}

// A client that never ends its side must not keep the answer from ending.
func TestOpenRequestDoesNotHoldTheAnswerUp(t *testing.T) {
	a := new(archive)
	s := httptest.NewUnstartedServer(httplog.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		r.Body.Read(make([]byte, 1))
		io.WriteString(w, reply)
	}), a, httplog.Options{}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	defer s.Client().CloseIdleConnections()
	send, feed := io.Pipe()
	defer feed.Close()
	go feed.Write([]byte("{"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "POST", s.URL+path, send)
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); string(got) != reply || err != nil {
		t.Errorf("%s %v", got, err)
	}
	wantAttrs(t, a.one(t, logpipe.Input), map[string]string{"stele.body.truncated": "true"})
}
