package chatserver

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/examples/demo/ngram"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden compares whole responses with files: they are the wire format.
func TestGolden(t *testing.T) {
	server := newTest(t, nil)
	const question = `"model":"tiny","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"What is a Reader?"}]}],"seed":4,"max_tokens":8`
	for name, c := range map[string]struct{ method, path, body string }{
		"completion":      {"POST", "/v1/chat/completions", `{` + question + `}`},
		"logprobs":        {"POST", "/v1/chat/completions", `{` + question + `,"max_completion_tokens":2,"logprobs":true,"top_logprobs":2}`},
		"stream":          {"POST", "/v1/chat/completions", `{` + question + `,"stream":true}`},
		"stream-usage":    {"POST", "/v1/chat/completions", `{` + question + `,"max_completion_tokens":2,"stream":true,"stream_options":{"include_usage":true}}`},
		"stream-logprobs": {"POST", "/v1/chat/completions", `{` + question + `,"max_completion_tokens":2,"stream":true,"logprobs":true,"top_logprobs":1}`},
		"models":          {"GET", "/v1/models", ""},
		"model":           {"GET", "/v1/models/tiny", ""},
	} {
		resp, got := send(t, t.Context(), server, c.method, c.path, c.body)
		wantType := "application/json"
		if strings.HasPrefix(name, "stream") {
			wantType = "text/event-stream"
		}
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != wantType {
			t.Errorf("%s: %s %s", name, resp.Status, resp.Header.Get("Content-Type"))
		}
		golden(t, name, got)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// TestStreamEqualsCompletion: the two ways of delivery give one text.
func TestStreamEqualsCompletion(t *testing.T) {
	server := newTest(t, nil)
	for seed := range 10 {
		body := fmt.Sprintf(`{"model":"tiny","messages":[{"role":"user","content":"A file?"}],"seed":%d,"stop":["of them","unlocked"]`, seed)
		_, whole := ask(t, server, body+`}`)
		want := decodeJSON[completion](t, whole)
		_, stream := ask(t, server, body+`,"stream":true,"stream_options":{"include_usage":true}}`)

		var text strings.Builder
		var finish ngram.Finish
		all := events(t, stream)
		for _, data := range all[:len(all)-1] {
			c := decodeJSON[chunk](t, []byte(data))
			for _, choice := range c.Choices {
				if choice.Delta.Content != nil {
					text.WriteString(*choice.Delta.Content)
				}
				if choice.FinishReason != nil {
					finish = *choice.FinishReason
				}
			}
			if len(c.Choices) == 0 {
				if got := decodeJSON[usage](t, c.Usage); got != want.Usage {
					t.Errorf("seed %d: usage %+v, want %+v", seed, got, want.Usage)
				}
			}
		}
		if all[len(all)-1] != "[DONE]" {
			t.Errorf("seed %d: the stream ends with %s", seed, all[len(all)-1])
		}
		if c := want.Choices[0]; text.String() != c.Message.Content || finish != c.FinishReason {
			t.Errorf("seed %d: stream %q (%s), completion %q (%s)", seed, text.String(), finish, c.Message.Content, c.FinishReason)
		}
	}
}

func TestDefaultSeedFollowsMessages(t *testing.T) {
	server := newTest(t, nil)
	body := func(content string) string {
		return `{"model":"tiny","max_tokens":40,"min_tokens":40,"messages":[{"role":"user","content":"` + content + `"}]}`
	}
	_, first := ask(t, server, body("A Lock?"))
	_, again := ask(t, server, body("A Lock?"))
	_, other := ask(t, server, body("A Lock!"))
	if !bytes.Equal(first, again) {
		t.Errorf("equal requests, different answers")
	}
	if bytes.Equal(first, other) {
		t.Errorf("different requests, equal answers")
	}
}

func TestErrors(t *testing.T) {
	server := newTest(t, func(c *Config) { c.MaxContext = 100; c.MaxBody = 2000 })
	chat := func(fields string) string {
		return `{"model":"tiny","messages":[{"role":"user","content":"A file?"}],` + fields + `}`
	}
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		param, code              string
	}{
		{"cut JSON", "POST", "/v1/chat/completions", `{"model":"tiny","mess`, 400, "", "invalid_json"},
		{"empty body", "POST", "/v1/chat/completions", ``, 400, "", "invalid_json"},
		{"wrong type", "POST", "/v1/chat/completions", chat(`"stream":"yes"`), 400, "stream", "invalid_type"},
		{"no model", "POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"A file?"}]}`, 400, "model", "missing_required_parameter"},
		{"unknown model", "POST", "/v1/chat/completions", `{"model":"huge","messages":[{"role":"user","content":"A file?"}]}`, 404, "model", "model_not_found"},
		{"no messages", "POST", "/v1/chat/completions", `{"model":"tiny","messages":[]}`, 400, "messages", "empty_array"},
		{"role", "POST", "/v1/chat/completions", `{"model":"tiny","messages":[{"role":"root","content":"A file?"}]}`, 400, "messages", "invalid_value"},
		{"image", "POST", "/v1/chat/completions", `{"model":"tiny","messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, 400, "messages", "unsupported_content"},
		{"long prompt", "POST", "/v1/chat/completions", `{"model":"tiny","messages":[{"role":"user","content":"` + strings.Repeat("file ", 101) + `"}]}`, 400, "messages", "context_length_exceeded"},
		{"long answer", "POST", "/v1/chat/completions", chat(`"max_tokens":99`), 400, "messages", "context_length_exceeded"},
		{"no answer", "POST", "/v1/chat/completions", chat(`"max_tokens":0`), 400, "max_tokens", "invalid_value"},
		{"temperature", "POST", "/v1/chat/completions", chat(`"temperature":2.5`), 400, "temperature", "invalid_value"},
		{"top_p", "POST", "/v1/chat/completions", chat(`"top_p":0`), 400, "top_p", "invalid_value"},
		{"top_k", "POST", "/v1/chat/completions", chat(`"top_k":-1`), 400, "top_k", "invalid_value"},
		{"top_logprobs", "POST", "/v1/chat/completions", chat(`"logprobs":true,"top_logprobs":21`), 400, "top_logprobs", "invalid_value"},
		{"top_logprobs alone", "POST", "/v1/chat/completions", chat(`"top_logprobs":2`), 400, "top_logprobs", "invalid_value"},
		{"stream_options", "POST", "/v1/chat/completions", chat(`"stream_options":{"include_usage":true}`), 400, "stream_options", "invalid_value"},
		{"stops", "POST", "/v1/chat/completions", chat(`"stop":["a","b","c","d","e"]`), 400, "stop", "invalid_value"},
		{"n", "POST", "/v1/chat/completions", chat(`"n":2`), 400, "n", "unsupported_value"},
		{"large body", "POST", "/v1/chat/completions", strings.Repeat(" ", 2001), 413, "", "request_too_large"},
		{"method", "GET", "/v1/chat/completions", "", 405, "", "method_not_allowed"},
		{"models method", "POST", "/v1/models", "", 405, "", "method_not_allowed"},
		{"models unknown", "GET", "/v1/models/huge", "", 404, "model", "model_not_found"},
		{"path", "GET", "/v1/embeddings", "", 404, "", "unknown_url"},
	} {
		resp, body := send(t, t.Context(), server, c.method, c.path, c.body)
		if resp.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d", c.name, resp.StatusCode, c.status)
		}
		if c.status == 405 && resp.Header.Get("Allow") == "" {
			t.Errorf("%s: no Allow header", c.name)
		}
		checkError(t, c.name, body, typeRequest, c.param, c.code)
	}
}

// checkError wants exactly the four fields, param null where it is empty.
func checkError(t *testing.T, name string, body []byte, kind, param, code string) {
	t.Helper()
	got := decodeJSON[map[string]map[string]any](t, body)
	fields := got["error"]
	message, _ := fields["message"].(string)
	want := map[string]any{"message": message, "type": kind, "param": any(param), "code": code}
	if param == "" {
		want["param"] = nil
	}
	if len(got) != 1 || message == "" || !reflect.DeepEqual(fields, want) {
		t.Errorf("%s: got %s, want %v", name, body, want)
	}
}

// endless asks for far more tokens than fit into the time of a test.
const endless = `{"model":"tiny","messages":[{"role":"user","content":"A file?"}],"max_tokens":1000000000,"min_tokens":1000000000`

func endlessContext(c *Config) { c.MaxContext = 1<<31 - 1 }

func TestTimeout(t *testing.T) {
	server := newTest(t, func(c *Config) { endlessContext(c); c.Timeout = 100 * time.Millisecond })
	resp, body := ask(t, server, endless+`}`)
	if resp.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("status %d, want 504", resp.StatusCode)
	}
	checkError(t, "completion", body, typeServer, "", "timeout")

	resp, body = ask(t, server, endless+`,"stream":true}`)
	all := events(t, body)
	if resp.StatusCode != http.StatusOK || len(all) < 2 {
		t.Fatalf("status %d, %d events", resp.StatusCode, len(all))
	}
	checkError(t, "stream", []byte(all[len(all)-1]), typeServer, "", "timeout")
}

func TestTimeoutOfTheClient(t *testing.T) {
	server := newTest(t, func(c *Config) { endlessContext(c); c.Timeout = time.Hour })
	resp, body := ask(t, server, endless+`}`, "X-Stainless-Timeout", "0.01")
	if resp.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("status %d, want 504", resp.StatusCode)
	}
	checkError(t, "completion", body, typeServer, "", "timeout")

	s, err := New(Config{Model: &ngram.Model{}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"", "soon", "0", "-1", "NaN", "61", "Inf"} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("X-Stainless-Timeout", value)
		if got := s.timeout(r); got != time.Minute {
			t.Errorf("%q: %v, want the server's own", value, got)
		}
	}
}

// TestClientCancel: the handler returns soon after the client has gone, and has
// told the observer of the tokens until then.
func TestClientCancel(t *testing.T) {
	for _, stream := range []string{"false", "true"} {
		ctx, cancel := context.WithCancel(t.Context())
		seen, done := &recorder{sampled: cancel}, make(chan int, 1)
		model, err := ngram.Train(passages)
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(Config{Model: model, Name: "tiny", MaxContext: 1<<31 - 1, Timeout: time.Hour, Observer: seen})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			status := &statusWriter{ResponseWriter: w}
			s.ServeHTTP(status, r)
			done <- status.code
		}))
		r, err := http.NewRequestWithContext(ctx, "POST", server.URL+"/v1/chat/completions", strings.NewReader(endless+`,"stream":`+stream+`}`))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.Client().Do(r)
		if err == nil {
			<-ctx.Done()
			resp.Body.Close()
		}
		select {
		case code := <-done:
			if want := map[string]int{"false": statusClientGone, "true": 200}[stream]; code != want {
				t.Errorf("stream %s: status %d, want %d", stream, code, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("stream %s: the handler goes on without its client", stream)
		}
		if len(seen.tokens) == 0 || seen.calls < len(seen.tokens)/ObservedTokens {
			t.Errorf("stream %s: %d tokens in %d calls", stream, len(seen.tokens), seen.calls)
		}
		server.Close()
	}
}

type statusWriter struct {
	http.ResponseWriter
	code int
}

func (w *statusWriter) WriteHeader(code int)        { w.code = code; w.ResponseWriter.WriteHeader(code) }
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestObserver(t *testing.T) {
	type key struct{}
	seen := &recorder{key: key{}}
	model, err := ngram.Train(passages)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Model: model, Index: ngram.NewIndex(passages), Name: "tiny", Observer: seen})
	if err != nil {
		t.Fatal(err)
	}
	body := `{"model":"tiny","max_tokens":300,"min_tokens":300,"messages":[{"role":"user","content":"What is a Lock?"},{"role":"assistant","content":"A Lock"},{"role":"user","content":"And its zero value?"}]}`
	r := httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(body))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, "of this request")))

	if want := []string{"What is a Lock?\nAnd its zero value?"}; !reflect.DeepEqual(seen.queries, want) {
		t.Errorf("queries %q, want %q", seen.queries, want)
	}
	if len(seen.hits) != 3 || seen.hits[0].Source != "demo/lock" {
		t.Errorf("hits %+v", seen.hits)
	}
	if len(seen.tokens) != 300 || seen.calls != 2 {
		t.Errorf("%d tokens in %d calls, want 300 in 2", len(seen.tokens), seen.calls)
	}
	var text strings.Builder
	for _, token := range seen.tokens {
		text.WriteString(token.Text)
		if len(token.Alternatives) != observedAlternatives || token.LogProb > 0 || math.IsInf(token.LogProb, 0) {
			t.Fatalf("token %+v", token)
		}
	}
	if got := decodeJSON[completion](t, w.Body.Bytes()).Choices[0].Message.Content; got != text.String() {
		t.Errorf("observed %q, answered %q", text.String(), got)
	}
	for _, v := range seen.values {
		if v != "of this request" {
			t.Errorf("context without the request's values")
		}
	}
}

func TestNewNeedsModel(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("no error")
	}
}
