package httplog_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/httplog"
)

// A server captures what its chat endpoint is asked and answers. A *logpipe.Pipe stands where the example prints.
func ExampleHandler() {
	chat := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"id":"c-1"}`) })
	h := httplog.Handler(chat, printing(), httplog.Options{
		Identify: func(r *http.Request) (tenant, subject, session string) { return "acme", "ann", "s-1" },
	})

	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(`{"messages":[]}`)))
	// Output:
	// input: {"messages":[]}
	// output: {"id":"c-1"}
}

// A client captures the calls that it makes to others.
func ExampleNewTransport() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(503)
		io.WriteString(w, "busy")
	}))
	defer server.Close()
	client := &http.Client{Transport: httplog.NewTransport(server.Client().Transport, printing(), httplog.Options{})}

	resp, err := client.Post(server.URL+"/v1/embeddings", "application/json", strings.NewReader(`{"input":"x"}`))
	if err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	client.CloseIdleConnections()
	// Output:
	// input: {"input":"x"}
	// output: busy
	// error: HTTP 503 Service Unavailable
}

// The SDKs of OpenAI and Anthropic take the middleware as an option of their client:
//
//	openai.NewClient(option.WithMiddleware(httplog.Middleware(pipe, httplog.Options{})))
func ExampleMiddleware() {
	capture := httplog.Middleware(printing(), httplog.Options{Provider: "openai"})
	req, _ := http.NewRequest("POST", "http://127.0.0.1/v1/responses", strings.NewReader(`{"input":"x"}`))
	resp, err := capture(req, func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"status":"completed"}`))}, nil
	})
	if err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	// Output:
	// input: {"input":"x"}
	// output: {"status":"completed"}
}

// A handler adds to the call what happened between question and answer.
func ExampleCallFrom() {
	chat := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		httplog.CallFrom(r.Context()).State(r.Context(), logpipe.Record{Body: []byte("found 3 documents")})
		io.WriteString(w, "{}")
	})
	h := httplog.Handler(chat, printing(), httplog.Options{})
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader("{}")))
	// Output:
	// input: {}
	// state: found 3 documents
	// output: {}
}

func printing() beginFunc {
	return func(ctx context.Context, base logpipe.Record) *logpipe.Call {
		return logpipe.NewCall(ctx, func(_ context.Context, r *logpipe.Record) error {
			fmt.Printf("%v: %s\n", r.Kind, body(r))
			return nil
		}, base)
	}
}
