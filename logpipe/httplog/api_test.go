package httplog_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/httplog"
)

// What the APIs of today send and answer: the bytes are kept, and the attributes say what they mean.
func TestAPIs(t *testing.T) {
	sse := func(list ...string) string { return "data: " + strings.Join(list, "\n\ndata: ") + "\n\n" }
	named := func(list ...string) (text string) {
		for i := 0; i < len(list); i += 2 {
			text += "event: " + list[i] + "\ndata: {\"type\":\"" + list[i] + "\"," + list[i+1] + "}\n\n"
		}
		return text
	}
	for _, c := range []struct {
		name, path, in, form, out, errorType string
		asked, said                          map[string]string
	}{
		{
			name: "usage at the end of the stream", path: "/v1/chat/completions",
			in:   `{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}}`,
			form: "text/event-stream",
			out: sse(`{"id":"c1","object":"chat.completion.chunk","model":"m-x","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}`,
				`{"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hey"},"finish_reason":null}],"usage":null}`,
				`{"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}`,
				`{"id":"c1","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":1}}}`,
				`[DONE]`),
			asked: map[string]string{"gen_ai.request.stream": "true", "gen_ai.request.model": `"m"`, "gen_ai.operation.name": `"chat"`},
			said: map[string]string{"gen_ai.usage.input_tokens": "9", "gen_ai.usage.output_tokens": "2", "gen_ai.usage.cache_read.input_tokens": "4",
				"gen_ai.usage.reasoning.output_tokens": "1", "gen_ai.response.finish_reasons": `["stop"]`, "stele.stream.events": "4"},
		},
		{
			name: "tool calls in a stream", path: "/v1/chat/completions",
			in: `{"model":"m","stream":true,"tools":[{"type":"function","function":{"name":"weather","parameters":{}}}],"messages":[{"role":"user","content":"hi"},` +
				`{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{}"}}]},` +
				`{"role":"tool","tool_call_id":"call_1","content":"rain"}]}`,
			form: "text/event-stream",
			out: sse(`{"id":"c2","choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_2","type":"function","function":{"name":"weather","arguments":""}}]}}]}`,
				`{"id":"c2","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}}]}}]}`,
				`{"id":"c2","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_3","function":{"name":"time","arguments":"{}"}}]}}]}`,
				`{"id":"c2","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`, `[DONE]`),
			said: map[string]string{"gen_ai.response.tool_calls": "2", "gen_ai.response.finish_reasons": `["tool_calls"]`},
		},
		{
			name: "responses", path: "/v1/responses",
			in:   `{"model":"m","instructions":"be brief","input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]}],"max_output_tokens":50}`,
			form: "application/json",
			out: `{"id":"resp_1","object":"response","status":"completed","error":null,"model":"m-x","output":[{"type":"message","content":[{"type":"output_text","text":"hey"}]},` +
				`{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}],"usage":{"input_tokens":3,"output_tokens":5,"output_tokens_details":{"reasoning_tokens":2}}}`,
			asked: map[string]string{"gen_ai.operation.name": `"chat"`, "gen_ai.request.model": `"m"`, "gen_ai.request.max_tokens": "50"},
			said: map[string]string{"gen_ai.response.id": `"resp_1"`, "gen_ai.response.model": `"m-x"`, "gen_ai.usage.input_tokens": "3",
				"gen_ai.usage.output_tokens": "5", "gen_ai.usage.reasoning.output_tokens": "2", "gen_ai.response.tool_calls": "1"},
		},
		{
			name: "responses, streamed", path: "/v1/responses", in: `{"model":"m","input":"hi","stream":true}`, form: "text/event-stream; charset=utf-8",
			out: named("response.created", `"response":{"id":"resp_2","status":"in_progress","model":"m-x","error":null,"usage":null}`,
				"response.output_text.delta", `"delta":"hey"`,
				"response.completed", `"response":{"id":"resp_2","status":"completed","error":null,"usage":{"input_tokens":3,"output_tokens":1}}`),
			said: map[string]string{"gen_ai.response.id": `"resp_2"`, "gen_ai.usage.output_tokens": "1", "stele.stream.events": "3"},
		},
		{
			name: "responses, streamed and cut", path: "/v1/responses", in: `{"model":"m","input":"hi","stream":true}`, form: "text/event-stream",
			out:       named("response.created", `"response":{"id":"resp_3","status":"in_progress"}`, "response.output_text.delta", `"delta":"hey"`),
			errorType: "cut", said: map[string]string{"gen_ai.response.id": `"resp_3"`},
		},
		{
			name: "responses, streamed and failed", path: "/v1/responses", in: `{"model":"m","input":"hi","stream":true}`, form: "text/event-stream",
			out: named("response.created", `"response":{"id":"resp_4","status":"in_progress","error":null}`,
				"response.failed", `"response":{"id":"resp_4","status":"failed","error":{"code":"server_error","message":"no"}}`),
			errorType: "server_error", said: map[string]string{"gen_ai.response.id": `"resp_4"`},
		},
		{
			name: "form of tomorrow", path: "/v3/responses", in: "\x00\x01 no JSON", form: "application/x-new", out: "\xff\xfe neither",
			said: map[string]string{"gen_ai.response.id": ""},
		},
		{
			name: "slash at the end", path: "/v1/chat/completions/", in: question, form: "application/json", out: reply,
			asked: map[string]string{"gen_ai.operation.name": `"chat"`}, said: map[string]string{"gen_ai.response.id": `"c-9"`},
		},
		{
			name: "deployment in the path", path: "/openai/deployments/d/chat/completions", in: `{"messages":[]}`, form: "application/json", out: reply,
			asked: map[string]string{"gen_ai.operation.name": `"chat"`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				got, _ := io.ReadAll(r.Body)
				if string(got) != c.in {
					t.Errorf("the handler got %q", got)
				}
				w.Header().Set("Content-Type", c.form)
				for i := 0; i < len(c.out); i += 97 { // in pieces that are cut anywhere
					io.WriteString(w, c.out[i:min(i+97, len(c.out))])
					w.(http.Flusher).Flush()
				}
			}, httplog.Options{})
			if _, got := post(t, s.Client(), s.URL+c.path, c.in); got != c.out {
				t.Errorf("the client got %q", got)
			}
			kinds := "input output"
			if c.errorType != "" {
				kinds += " error"
			}
			a.want(t, kinds, c.errorType)
			in, out := a.one(t, logpipe.Input), a.one(t, logpipe.Output)
			if body(in) != c.in || body(out) != c.out || out.ContentType != c.form {
				t.Errorf("input %q\noutput %s %q", body(in), out.ContentType, body(out))
			}
			wantAttrs(t, in, c.asked)
			wantAttrs(t, out, c.said)
		})
	}
}

// image is a message with a picture as a data URL.
func image(bytes int) string {
	return `{"role":"user","content":[{"type":"text","text":"what is this?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,` +
		base64.StdEncoding.EncodeToString([]byte(noise(bytes))) + `"}}]}`
}

// A picture goes through and into the record whole, and is the same part when the next turn sends it again.
func TestImagesInMessages(t *testing.T) {
	picture := image(1 << 20)
	a, s := serve(t, answer(200, reply), httplog.Options{})
	turns := []string{`{"messages":[` + picture + `],"model":"m"}`,
		`{"messages":[` + picture + `,{"role":"assistant","content":"a cat"},{"role":"user","content":"sure?"}],"model":"m"}`}
	for _, turn := range turns {
		post(t, s.Client(), s.URL+path, turn)
	}
	seen, found := map[string]bool{}, 0
	for _, r := range a.all(t) {
		if r.Kind != logpipe.Input {
			continue
		}
		if body(r) != turns[found] {
			t.Errorf("turn %d is not as it was sent", found)
		}
		wantAttrs(t, r, map[string]string{"gen_ai.request.model": `"m"`, "stele.body.truncated": ""})
		for _, p := range r.Parts {
			if len(p.Data) > 1<<20 && found == 1 && !seen[string(p.Data)] {
				t.Error("the picture is another part in the second turn")
			}
			seen[string(p.Data)] = true
		}
		found++
	}
	if found != 2 {
		t.Errorf("%d inputs", found)
	}
}

// Over the limit the handler has all of a request and the record as much as it may, and says so.
func TestImagesOverTheLimit(t *testing.T) {
	turn := `{"model":"m-big","temperature":0.5,"messages":[` + image(5<<20) + `]}`
	a, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if string(got) != turn || err != nil {
			t.Errorf("the handler got %d of %d bytes, %v", len(got), len(turn), err)
		}
		io.WriteString(w, reply)
	}, httplog.Options{})
	if _, got := post(t, s.Client(), s.URL+path, turn); got != reply {
		t.Errorf("the client got %q", got)
	}
	a.want(t, "input output", "")
	in := a.one(t, logpipe.Input)
	if body(in) != turn[:4<<20] {
		t.Errorf("%d bytes are kept", len(body(in)))
	}
	wantAttrs(t, in, map[string]string{"stele.body.truncated": "true", "http.request.body.size": fmt.Sprint(len(turn)),
		"gen_ai.operation.name": `"chat"`, "gen_ai.request.model": `"m-big"`, "gen_ai.request.temperature": "0.5"})
	wantAttrs(t, a.one(t, logpipe.Output), map[string]string{"gen_ai.request.model": `"m-big"`})
}

// h2 starts a captured server that speaks HTTP/2.
func h2(t *testing.T, h http.HandlerFunc) (*archive, *httptest.Server) {
	t.Helper()
	a := new(archive)
	s := httptest.NewUnstartedServer(httplog.Handler(h, a, httplog.Options{}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(func() {
		s.Client().CloseIdleConnections()
		s.Close()
	})
	return a, s
}

func TestStreamOverHTTP2(t *testing.T) {
	next := make(chan struct{})
	a, s := h2(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		for _, e := range events {
			io.WriteString(w, e)
			w.(http.Flusher).Flush()
			<-next
		}
	})
	resp, err := s.Client().Post(s.URL+path, "application/json", strings.NewReader(question))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Error(resp.Proto)
	}
	r := bufio.NewReader(resp.Body)
	for i, e := range events { // each is here before the next one is made
		got := make([]byte, len(e))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != e {
			t.Fatalf("piece %d: %q %v", i, got, err)
		}
		next <- struct{}{}
	}
	a.want(t, "input output", "")
	if out := a.one(t, logpipe.Output); body(out) != strings.Join(events, "") {
		t.Errorf("%q", body(out))
	}
}

// A client that gives up over HTTP/2 resets its stream only; the connection goes on.
func TestCancelOverHTTP2(t *testing.T) {
	a, s := h2(t, func(w http.ResponseWriter, r *http.Request) {
		stream(events[:2]...)(w, r)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "POST", s.URL+path, strings.NewReader(question))
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	io.ReadFull(resp.Body, make([]byte, len(events[0])+len(events[1])))
	cancel()
	a.want(t, "input output error", "canceled")
	if out := a.one(t, logpipe.Output); body(out) != events[0]+events[1] {
		t.Errorf("%q", body(out))
	}
}

// A gateway is a handler too, and its stream must not wait in a buffer of ours.
func TestReverseProxy(t *testing.T) {
	next := make(chan struct{})
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		for _, e := range events {
			io.WriteString(w, e)
			w.(http.Flusher).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
			}
		}
	}))
	defer back.Close()
	target, err := url.Parse(back.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = &http.Transport{DisableKeepAlives: true}
	a, s := serve(t, proxy.ServeHTTP, httplog.Options{})
	resp, err := s.Client().Post(s.URL+path, "application/json", strings.NewReader(question))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for i, e := range events {
		got := make([]byte, len(e))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != e {
			t.Fatalf("piece %d: %q %v", i, got, err)
		}
		next <- struct{}{}
	}
	a.want(t, "input output", "")
}

// A transport looks for the end of a body that it has sent whole; by then net/http may have closed it.
func TestEndOfBodyAfterAnswerBegan(t *testing.T) {
	a, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadFull(r.Body, make([]byte, r.ContentLength)); err != nil {
			t.Error(err)
		}
		stream(events[0])(w, r)
		if n, err := r.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("behind the end of the body: %d, %v", n, err)
		}
		stream(events[1:]...)(w, r)
	}, httplog.Options{})
	resp, err := s.Client().Post(s.URL+path, "application/json", strings.NewReader(question))
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	a.want(t, "input output", "")
}

// A server behind a gateway that dies leaves what came, at both ends.
func TestGatewayDies(t *testing.T) {
	server, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		stream(events[:2]...)(w, r)
		panic(http.ErrAbortHandler)
	}, httplog.Options{})
	client := new(archive)
	c := &http.Client{Transport: httplog.NewTransport(&http.Transport{DisableKeepAlives: true}, client, httplog.Options{})}
	resp, err := c.Post(s.URL+path, "application/json", strings.NewReader(question))
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the caller met %v", err)
	}
	server.want(t, "input output error", "aborted")
	client.want(t, "input output error", "cut")
	for _, a := range []*archive{server, client} {
		if out := a.one(t, logpipe.Output); body(out) != events[0]+events[1] {
			t.Errorf("%q", body(out))
		}
	}
}
