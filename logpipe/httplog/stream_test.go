package httplog_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/httplog"
)

// Piece k reaches the client before the handler makes piece k+1, and while the pipe records nothing at all.
func TestPiecesOfAStreamAreNotDelayed(t *testing.T) {
	a := &archive{}
	proceed := make(chan struct{})
	h := func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		for _, e := range events {
			io.WriteString(w, e[:10])
			io.WriteString(w, e[10:])
			w.(http.Flusher).Flush()
			<-proceed
		}
		a.mu.Lock() // from here on the pipe is stuck, until the client has everything
		a.hold = make(chan struct{})
		a.mu.Unlock()
	}
	s := httptest.NewServer(httplog.Handler(http.HandlerFunc(h), a, httplog.Options{}))
	defer s.Close()
	client := &http.Client{Transport: httplog.NewTransport(s.Client().Transport, new(archive), httplog.Options{})}
	defer client.CloseIdleConnections()
	resp, err := client.Post(s.URL+path, "application/json", strings.NewReader(question))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r := bufio.NewReader(resp.Body)
	for i, e := range events {
		got := make([]byte, len(e))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != e {
			t.Fatalf("piece %d: %q %v", i, got, err)
		}
		a.mu.Lock()
		if n := len(a.records); n != 1 {
			t.Errorf("%d records while the stream runs", n)
		}
		a.mu.Unlock()
		proceed <- struct{}{}
	}
	for held := false; !held; time.Sleep(time.Millisecond) {
		a.mu.Lock()
		if held = a.hold != nil; held {
			close(a.hold)
		}
		a.mu.Unlock()
	}
	a.want(t, "input output", "")
	out := a.one(t, logpipe.Output)
	if body(out) != strings.Join(events, "") || out.ContentType != "text/event-stream" {
		t.Errorf("%s %q", out.ContentType, body(out))
	}
	wantAttrs(t, out, map[string]string{"gen_ai.response.id": `"c-1"`, "gen_ai.response.finish_reasons": `["stop"]`,
		"gen_ai.usage.output_tokens": "2", "stele.stream.events": "3"})
	var offsets [][2]int64
	json.Unmarshal([]byte(mustRaw(t, out, "stele.stream.offsets")), &offsets)
	if len(offsets) != len(events) || offsets[3][1] != int64(len(body(out))) {
		t.Errorf("offsets %v", offsets)
	}
}

func mustRaw(t *testing.T, r *logpipe.Record, name string) string {
	t.Helper()
	m := map[string]json.RawMessage{}
	if err := json.Unmarshal(r.Attributes, &m); err != nil || m[name] == nil {
		t.Fatalf("no %s in %s", name, r.Attributes)
	}
	return string(m[name])
}

// With a clock of its own: the recorded times are those at which the pieces went out.
func TestTimesOfPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(archive)
		h := httplog.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "text/event-stream")
			for i, e := range events {
				time.Sleep(time.Duration(i+1) * 100 * time.Millisecond)
				io.WriteString(w, e)
				w.(http.Flusher).Flush()
			}
		}), a, httplog.Options{})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader(question)))
		out := a.one(t, logpipe.Output)
		if w.Body.String() != body(out) || !w.Flushed {
			t.Error("the stream was changed")
		}
		at, want := 0, []string{"100", "300", "600", "1000"}
		var offsets [][2]json.Number
		json.Unmarshal([]byte(mustRaw(t, out, "stele.stream.offsets")), &offsets)
		for ; at < len(offsets) && at < len(want) && offsets[at][0].String() == want[at]; at++ {
		}
		if at != len(want) || mustRaw(t, out, "gen_ai.response.time_to_first_chunk") != "0.100000" {
			t.Errorf("offsets %v", offsets)
		}
	})
}

// Bytes that are written without a flush are recorded too, in bounded portions, and exactly.
func TestStreamWithoutFlushes(t *testing.T) {
	sent := strings.Repeat(events[0], 2000) + events[3]
	a, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		for range 2000 {
			io.WriteString(w, events[0])
		}
		io.WriteString(w, events[3])
	}, httplog.Options{})
	_, got := post(t, s.Client(), s.URL+path, question)
	a.want(t, "input output", "")
	out := a.one(t, logpipe.Output)
	if got != sent || body(out) != got {
		t.Errorf("sent %d, received %d, recorded %d", len(sent), len(got), len(body(out)))
	}
	wantAttrs(t, out, map[string]string{"stele.stream.events": "2000"})
}

func TestStreamOverTheLimitIsStillRead(t *testing.T) {
	long := "data: {\"choices\":[{\"delta\":{\"content\":\"" + strings.Repeat("x", 5000) + "\"}}]}\n\n"
	list := append([]string{long}, events...)
	a, s := serve(t, stream(list...), httplog.Options{MaxBody: 1000})
	_, got := post(t, s.Client(), s.URL+path, "{}")
	a.want(t, "input output", "")
	out := a.one(t, logpipe.Output)
	if body(out) != got[:1000] {
		t.Errorf("%d bytes", len(body(out)))
	}
	wantAttrs(t, out, map[string]string{"stele.body.truncated": "true", "gen_ai.usage.output_tokens": "2"})
}

func TestOtherStreams(t *testing.T) {
	for _, c := range []struct{ name, form, coding, text, errorType string }{
		{"lines", "application/x-ndjson", "", "{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"done\":true,\"done_reason\":\"stop\"}\n", ""},
		{"lines cut", "application/x-ndjson", "", "{\"message\":{\"content\":\"a\"},\"done\":false}\n", "cut"},
		{"foreign events", "text/event-stream", "", "data: tick\n\n", ""},
		{"zipped", "text/event-stream", "gzip", zipped(strings.Join(events, "")), ""},
		{"zipped and cut", "text/event-stream", "gzip", zipped(strings.Join(events[:2], "")), "cut"},
		{"zipped, over the limit", "text/event-stream", "gzip", zipped(strings.Join(events[:2], "") + ": " + noise(128<<10) + "\n\n" +
			events[3]), ""},
		{"unknown coding", "text/event-stream", "br", "\x00\x01", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", c.form)
				if c.coding != "" {
					w.Header().Set("Content-Encoding", c.coding)
				}
				io.WriteString(w, c.text)
			}, httplog.Options{MaxBody: 32 << 10})
			req, _ := http.NewRequestWithContext(context.Background(), "POST", s.URL+path, strings.NewReader(question))
			req.Header.Set("Accept-Encoding", c.coding)
			resp, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			out := a.one(t, logpipe.Output)
			if string(got) != c.text || body(out) != c.text[:min(len(c.text), 32<<10)] {
				t.Errorf("%q", body(out))
			}
			kinds := "input output"
			if c.errorType != "" {
				kinds += " error"
			}
			a.want(t, kinds, c.errorType)
		})
	}
}

// noise is text that does not shrink much.
func noise(n int) string {
	b := make([]byte, n/2)
	rand.NewChaCha8([32]byte{}).Read(b)
	return hex.EncodeToString(b)
}
