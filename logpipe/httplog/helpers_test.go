package httplog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/httplog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ httplog.Beginner = (*logpipe.Pipe)(nil)

// archive is a pipe that keeps records in memory.
type archive struct {
	mu      sync.Mutex
	records []*logpipe.Record
	begun   int
	hold    chan struct{} // if set, capturing waits for it to be closed
	refuse  error
}

func (a *archive) Begin(ctx context.Context, r logpipe.Record) *logpipe.Call {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.begun++
	return logpipe.NewCall(ctx, a.Capture, r)
}

func (a *archive) Capture(ctx context.Context, r *logpipe.Record) error {
	if ctx.Err() != nil {
		return ctx.Err() // a pipe need not take what comes with a dead context
	}
	if n := len(r.Attributes) + len(r.ContentType) + 32*len(r.Parts); n > 100<<10 || len(r.Subject) > 4096 ||
		!utf8.Valid(r.Attributes) || !utf8.ValidString(r.ContentType+r.Subject) {
		return fmt.Errorf("a pipe would refuse this record: %d bytes beside the body", n)
	}
	if a.hold != nil {
		<-a.hold
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refuse != nil {
		return a.refuse
	}
	kept := *r
	kept.Body = bytes.Clone(r.Body)
	kept.Parts = slices.Clone(r.Parts)
	for i := range kept.Parts {
		kept.Parts[i].Data = bytes.Clone(kept.Parts[i].Data)
	}
	a.records = append(a.records, &kept)
	return nil
}

// all waits until every call that was begun has its closing record, and returns the records.
func (a *archive) all(t testing.TB) []*logpipe.Record {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		a.mu.Lock()
		ended := map[any]bool{}
		for _, r := range a.records {
			// What came of an answer that failed is an output with the failure's type, and the error follows.
			at := attrs(t, r)
			if r.Kind == logpipe.Error || r.Kind == logpipe.Output && at["error.type"] == nil {
				ended[at["stele.call.id"]] = true
			}
		}
		done, records := len(ended) >= a.begun, slices.Clone(a.records)
		a.mu.Unlock()
		if done {
			return records
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d calls begun, %d ended", a.begun, len(ended))
		}
	}
}

// one returns the only record of a kind, or nil.
func (a *archive) one(t testing.TB, k logpipe.Kind) (found *logpipe.Record) {
	t.Helper()
	for _, r := range a.all(t) {
		if r.Kind == k {
			if found != nil {
				t.Fatalf("two records of kind %v", k)
			}
			found = r
		}
	}
	return found
}

func (a *archive) kinds(t testing.TB) string {
	t.Helper()
	var names []string
	for _, r := range a.all(t) {
		names = append(names, r.Kind.String())
	}
	return strings.Join(names, " ")
}

// want checks the kinds of the records and, if there is an error record, its type.
func (a *archive) want(t testing.TB, kinds, errorType string) {
	t.Helper()
	if got := a.kinds(t); got != kinds {
		t.Fatalf("records: %s, want %s", got, kinds)
	}
	if e := a.one(t, logpipe.Error); e != nil {
		if got := attrs(t, e)["error.type"]; got != errorType {
			t.Errorf("error.type %v (%s), want %s", got, e.Body, errorType)
		}
	}
	if o := a.one(t, logpipe.Output); o != nil {
		if got, _ := attrs(t, o)["error.type"].(string); got != errorType {
			t.Errorf("error.type of the output %q, want %q", got, errorType)
		}
	}
}

func attrs(t testing.TB, r *logpipe.Record) map[string]any {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal(r.Attributes, &m); err != nil {
		t.Fatalf("attributes %s: %v", r.Attributes, err)
	}
	return m
}

// wantAttrs checks some attributes by their JSON; "" means absent.
func wantAttrs(t testing.TB, r *logpipe.Record, want map[string]string) {
	t.Helper()
	got := map[string]json.RawMessage{}
	if err := json.Unmarshal(r.Attributes, &got); err != nil {
		t.Fatalf("attributes %s: %v", r.Attributes, err)
	}
	for name, value := range want {
		if string(got[name]) != value {
			t.Errorf("%v: %s = %s, want %s", r.Kind, name, got[name], value)
		}
	}
}

func body(r *logpipe.Record) string {
	if len(r.Parts) == 0 {
		return string(r.Body)
	}
	var b []byte
	for _, p := range r.Parts {
		b = append(b, p.Data...)
	}
	return string(b)
}

const path = "/v1/chat/completions"

// serve starts a captured server.
func serve(t testing.TB, h http.HandlerFunc, o httplog.Options) (*archive, *httptest.Server) {
	t.Helper()
	a := new(archive)
	s := httptest.NewServer(httplog.Handler(h, a, o))
	s.Config.ErrorLog = nil
	t.Cleanup(func() {
		s.Client().CloseIdleConnections()
		s.Close()
	})
	return a, s
}

// post sends text and returns the answer.
func post(t testing.TB, c *http.Client, url, text string) (*http.Response, string) {
	t.Helper()
	resp, err := c.Post(url, "application/json", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(got)
}

const (
	question = `{"model":"m-1","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi\u00e9"}], "temperature":0.10}`
	reply    = `{"id":"c-9","model":"m-1-x","choices":[{"index":0,"message":{"content":"hey"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`
	refused  = `{"error":{"message":"slow down","type":"rate_limit","code":"rate_limit_exceeded"}}`
)

var events = []string{
	"data: {\"id\":\"c-1\",\"model\":\"m-1-x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n",
	"data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"},\"finish_reason\":\"stop\"}]}\n\n",
	"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n",
	"data: [DONE]\n\n",
}

// stream answers with the given events, each flushed.
func stream(list ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		for _, e := range list {
			io.WriteString(w, e)
			w.(http.Flusher).Flush()
		}
	}
}

func answer(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, text)
	}
}
