package httplog_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/httplog"
)

// nowhere takes records and keeps none, so that what is measured is this package and Call.
func nowhere(ctx context.Context, r logpipe.Record) *logpipe.Call {
	return logpipe.NewCall(ctx, func(context.Context, *logpipe.Record) error { return nil }, r)
}

// discard is a writer without a network.
type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}
func (d discard) Flush()                      {}

func chat(turns int) string {
	message := `{"role":"user","content":"` + strings.Repeat("some words of a turn, ", 20) + `"}`
	return `{"model":"m","messages":[` + strings.Repeat(message+",", turns-1) + message + `]}`
}

// BenchmarkHandler measures what capturing adds to a handler, without a network: compare plain with captured.
func BenchmarkHandler(b *testing.B) {
	long := make([]string, 100)
	for i := range long {
		long[i] = events[0]
	}
	for _, c := range []struct {
		name string
		h    http.HandlerFunc
		text string
	}{
		{"1KiB", answer(200, reply), chat(2)},
		{"400KiB", answer(200, reply), chat(850)},
		{"stream100", stream(append(long, events...)...), chat(2)},
	} {
		for name, h := range map[string]http.Handler{"plain": c.h, "captured": httplog.Handler(c.h, beginFunc(nowhere), httplog.Options{})} {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					h.ServeHTTP(discard{http.Header{}}, httptest.NewRequest("POST", path, strings.NewReader(c.text)))
				}
			})
		}
	}
}

// BenchmarkRoundTrip measures a whole call over the loopback, and the CPU time of both sides together.
func BenchmarkRoundTrip(b *testing.B) {
	text := chat(10)
	for _, captured := range []bool{false, true} {
		name := map[bool]string{false: "plain", true: "captured"}[captured]
		b.Run(name, func(b *testing.B) {
			var h http.Handler = stream(events...)
			if captured {
				h = httplog.Handler(h, beginFunc(nowhere), httplog.Options{})
			}
			s := httptest.NewServer(h)
			defer s.Close()
			defer s.Client().CloseIdleConnections()
			before := cpu()
			for b.Loop() {
				resp, err := s.Client().Post(s.URL+path, "application/json", strings.NewReader(text))
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpu is the CPU time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What capturing allocates must not grow with the number of events of a stream, beyond the copy of its bytes.
func TestAllocationsOfAStreamDoNotGrowWithEvents(t *testing.T) {
	run := func(n int) float64 {
		list := make([]string, n)
		for i := range list {
			list[i] = events[0]
		}
		h := httplog.Handler(stream(append(list, events[3])...), beginFunc(nowhere), httplog.Options{})
		return testing.AllocsPerRun(20, func() {
			h.ServeHTTP(discard{http.Header{}}, httptest.NewRequest("POST", path, strings.NewReader(question)))
		})
	}
	// io.WriteString allocates once an event in the handler itself.
	if few, many := run(10), run(1010); many-few > 1000+100 {
		t.Errorf("%.0f allocations for 10 events, %.0f for 1010", few, many)
	}
}
