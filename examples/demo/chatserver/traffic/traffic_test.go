package traffic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/stelelog/stele/examples/demo/chatserver"
	"github.com/stelelog/stele/examples/demo/ngram"
)

var library = sync.OnceValues(func() ([]ngram.Passage, error) {
	root, err := ngram.FindGOROOT(context.Background())
	if err != nil {
		return nil, err
	}
	fsys := fstest.MapFS{}
	for _, file := range []string{"src/bufio/scan.go", "src/io/io.go", "src/sync/mutex.go", "src/sync/pool.go", "src/strings/strings.go"} {
		data, err := os.ReadFile(path.Join(root, file))
		if err != nil {
			return nil, err
		}
		fsys[file] = &fstest.MapFile{Data: data}
	}
	return ngram.ReadDocs(fsys)
})

func passages(t testing.TB) []ngram.Passage {
	t.Helper()
	all, err := library()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var mixed = Options{Seed: 3, Subjects: 10, Sessions: 2, PerMille: map[Kind]int{Malformed: 150, Cancelled: 100, TimedOut: 50}}

func mustPlan(t testing.TB, o Options) []Request {
	t.Helper()
	plan, err := Plan(passages(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestPlan(t *testing.T) {
	plan := mustPlan(t, mixed)
	if !reflect.DeepEqual(plan, mustPlan(t, mixed)) {
		t.Error("another plan from the same seed")
	}
	other := mixed
	other.Seed++
	if reflect.DeepEqual(plan, mustPlan(t, other)) {
		t.Error("the same plan from another seed")
	}
	subjects, sessions, kinds := map[string]bool{}, map[string]int{}, map[Kind]int{}
	for i, r := range plan {
		subjects[r.Subject] = true
		kinds[r.Kind]++
		if r.Number != i || r.Turn != sessions[r.Session] || r.Question == "" || r.MaxTokens < 20 || r.MaxTokens > 60 {
			t.Errorf("request %d: %+v", i, r)
		}
		sessions[r.Session]++
	}
	if len(subjects) != 10 || len(sessions) != 20 || len(kinds) != 4 {
		t.Errorf("%d subjects, %d sessions, kinds %v", len(subjects), len(sessions), kinds)
	}
	for s, turns := range sessions {
		if turns < 2 || turns > 6 {
			t.Errorf("%s has %d turns", s, turns)
		}
	}
	if n := len(mustPlan(t, Options{})); n < 3000 || n > 5000 {
		t.Errorf("the default plan has %d requests", n)
	}
	if _, err := Plan(nil, Options{}); !errors.Is(err, ngram.ErrNoDocs) {
		t.Errorf("no passages: %v, want ErrNoDocs", err)
	}
}

// wire keeps what the server received and sent, by the header that Prepare sets.
type wire struct {
	mu      sync.Mutex
	bodies  map[string][]byte
	answers map[string][]byte
	next    http.Handler
}

type teeWriter struct {
	http.ResponseWriter
	sent []byte
}

func (w *teeWriter) Write(b []byte) (int, error) {
	w.sent = append(w.sent, b...)
	return w.ResponseWriter.Write(b)
}

func (w *teeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (h *wire) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(data))
	tee := &teeWriter{ResponseWriter: w}
	h.next.ServeHTTP(tee, r)
	h.mu.Lock()
	defer h.mu.Unlock()
	key := r.Header.Get("Test-Session") + r.Header.Get("Test-Question")
	h.bodies[key], h.answers[key] = data, tee.sent
}

func prepare(r *http.Request, q Request) *http.Request {
	r.Header.Set("Test-Session", q.Session)
	r.Header.Set("Test-Question", string(rune('A'+q.Turn)))
	return r
}

func play(t *testing.T, plan []Request) (*Report, *wire) {
	t.Helper()
	model, err := ngram.Train(passages(t))
	if err != nil {
		t.Fatal(err)
	}
	s, err := chatserver.New(chatserver.Config{Model: model, Index: ngram.NewIndex(passages(t)), Name: "tiny"})
	if err != nil {
		t.Fatal(err)
	}
	h := &wire{bodies: map[string][]byte{}, answers: map[string][]byte{}, next: s}
	server := httptest.NewServer(h)
	p := &Player{Client: server.Client(), BaseURL: server.URL, Model: "tiny", Concurrency: 4, Prepare: prepare}
	report, err := p.Play(t.Context(), plan)
	server.Close() // waits for the handlers of cancelled requests
	if err != nil {
		t.Fatal(err)
	}
	return report, h
}

func TestPlay(t *testing.T) {
	plan := mustPlan(t, mixed)
	report, h := play(t, plan)
	for _, e := range report.Unexpected() {
		t.Errorf("%s %s %s: %s, status %d, %v, %.200s", e.Session, e.Kind, e.Fault, e.Outcome, e.Status, e.Err, e.Received)
	}
	want := map[Outcome]int{}
	for _, r := range plan {
		want[r.Kind.Outcome()]++
	}
	if !reflect.DeepEqual(report.Counts, want) || len(report.Exchanges) != len(plan) {
		t.Errorf("counts %v, want %v", report.Counts, want)
	}
	for i, e := range report.Exchanges {
		key := e.Session + string(rune('A'+e.Turn))
		if e.Number != i || !bytes.Equal(e.Sent, h.bodies[key]) {
			t.Errorf("request %d: sent %q, the server read %q", i, e.Sent, h.bodies[key])
		}
		if whole := bytes.Equal(e.Received, h.answers[key]); !whole && (e.Kind != Cancelled || !bytes.HasPrefix(h.answers[key], e.Received)) {
			t.Errorf("request %d (%s): received %d bytes that the server did not send", i, e.Kind, len(e.Received))
		}
	}
	checkHistories(t, report.Exchanges)

	again, _ := play(t, plan)
	for i, e := range again.Exchanges {
		if !bytes.Equal(e.Sent, report.Exchanges[i].Sent) {
			t.Errorf("request %d is not the same the second time", i)
		}
	}
}

// checkHistories wants each body to begin with the messages of the last answered
// turn, byte for byte, and the answer to it.
func checkHistories(t *testing.T, all []Exchange) {
	t.Helper()
	prefix := map[string][]byte{}
	for _, e := range all {
		if e.Outcome != Answered {
			continue
		}
		if !bytes.HasPrefix(e.Sent, prefix[e.Session]) {
			t.Errorf("%s turn %d does not repeat its history", e.Session, e.Turn)
		}
		head, _, ok := bytes.Cut(e.Sent, []byte(`],"user"`))
		said, err := json.Marshal(message{"assistant", e.Text})
		if !ok || err != nil || strings.TrimSpace(e.Text) == "" {
			t.Errorf("%s turn %d: %s, text %q", e.Session, e.Turn, e.Sent, e.Text)
		}
		prefix[e.Session] = slices.Concat(head, []byte{','}, said)
	}
}

func TestPlayStops(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { cancel(cause) }))
	defer server.Close()
	p := &Player{Client: server.Client(), BaseURL: server.URL, Concurrency: 1}
	report, err := p.Play(ctx, mustPlan(t, mixed))
	if !errors.Is(err, cause) || len(report.Exchanges) != 1 || report.Counts[Failed] != 1 {
		t.Errorf("%d exchanges, %v, %v", len(report.Exchanges), report.Counts, err)
	}
}

func TestPlayFailures(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"server error": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) },
		"not JSON":     func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"cut off": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "data: {}\n\n")
		},
	} {
		server := httptest.NewServer(handler)
		p := &Player{Client: server.Client(), BaseURL: server.URL}
		plan := mustPlan(t, mixed)
		report, err := p.Play(t.Context(), plan)
		if err != nil || report.Counts[Failed] != len(plan) || len(report.Unexpected()) != len(plan) {
			t.Errorf("%s: %v, %v", name, report.Counts, err)
		}
		server.Close()
	}
}
