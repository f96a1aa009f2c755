package chatserver

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelelog/stele/examples/demo/ngram"
)

// passages is enough to train on: the tests are about the wire.
var passages = []ngram.Passage{
	{Source: "demo/reader", Text: "A Reader reads bytes from a file. The zero value of a Reader is empty.", Doc: true},
	{Source: "demo/writer", Text: "A Writer writes bytes to a file. The zero value of a Writer discards <all> of them.", Doc: true},
	{Source: "demo/lock", Text: "A Lock keeps a file from two writers. The zero value of a Lock is unlocked.", Doc: true},
	{Source: "demo/reader", Text: "A Reader of bytes is not a Writer of bytes. A file is both.", Doc: true},
}

// newTest starts a server with a fixed clock and fixed ids.
func newTest(t testing.TB, change func(*Config)) *httptest.Server {
	t.Helper()
	model, err := ngram.Train(passages)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Model:    model,
		Index:    ngram.NewIndex(passages),
		Name:     "tiny",
		Passages: 2,
		Now:      func() time.Time { return time.Unix(1_750_000_000, 0) },
		NewID:    func() string { return "chatcmpl-1" },
	}
	if change != nil {
		change(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server
}

// send posts a body and returns the response, its body read.
func send(t testing.TB, ctx context.Context, server *httptest.Server, method, path, body string, header ...string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, got
}

func ask(t testing.TB, server *httptest.Server, body string, header ...string) (*http.Response, []byte) {
	t.Helper()
	return send(t, t.Context(), server, http.MethodPost, "/v1/chat/completions", body, header...)
}

// events returns the data of each server-sent event, and fails on anything else
// in the stream.
func events(t testing.TB, stream []byte) []string {
	t.Helper()
	var all []string
	for block := range bytes.SplitSeq(bytes.TrimSuffix(stream, []byte("\n\n")), []byte("\n\n")) {
		data, ok := strings.CutPrefix(string(block), "data: ")
		if !ok || strings.Contains(data, "\n") {
			t.Fatalf("not an event: %q", block)
		}
		all = append(all, data)
	}
	return all
}

func decodeJSON[T any](t testing.TB, data []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}

// recorder is an Observer.
type recorder struct {
	mu      sync.Mutex
	queries []string
	hits    []ngram.Hit
	tokens  []ngram.Token
	calls   int
	key     any // looked up in the contexts
	values  []any
	sampled func() // called for each call of Sampled, unless nil
}

func (r *recorder) Retrieved(ctx context.Context, query string, hits []ngram.Hit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queries = append(r.queries, query)
	r.hits = append(r.hits, hits...)
	r.values = append(r.values, ctx.Value(r.key))
}

func (r *recorder) Sampled(ctx context.Context, tokens []ngram.Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if r.sampled != nil {
		r.sampled()
	}
	r.tokens = append(r.tokens, tokens...)
	r.values = append(r.values, ctx.Value(r.key))
}
