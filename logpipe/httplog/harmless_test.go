package httplog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/httplog"
)

// Credentials stand in every place where clients put them; none may reach a record.
func TestSecretsAreNotRecorded(t *testing.T) {
	const canary = "canary-7f3a"
	secret := []string{"Authorization", "Cookie", "X-Api-Key", "Api-Key", "X-Auth-Token", "X-Goog-Api-Key", "X-Amz-Security-Token",
		"My-Secret", "Proxy-Authorization", "X-Session-Id", "X-Signature", "X-Password", "Ocp-Apim-Subscription-Key"}
	options := httplog.Options{Headers: append([]string{"X-Fine"}, secret...)}
	query := "?key=" + canary + "&" + canary + "&sig=" + canary + "=" + canary + "&" + canary + "=1&%6bey=" + canary
	set := func(h http.Header) {
		for _, name := range secret {
			h.Set(name, canary)
		}
		h.Set("X-Other", canary)
		h.Set("X-Fine", "fine")
		h.Set("Set-Cookie", canary)
	}
	server := new(archive)
	s := httptest.NewServer(httplog.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		set(w.Header())
		answer(500, refused)(w, r)
	}), server, options))
	defer s.Close()
	client := new(archive)
	fail := roundTrip(func(r *http.Request) (*http.Response, error) { return nil, fmt.Errorf("cannot reach %s", r.URL) })
	for _, base := range []http.RoundTripper{&http.Transport{DisableKeepAlives: true}, fail} {
		req, _ := http.NewRequest("POST", s.URL+path+query, strings.NewReader(question))
		set(req.Header)
		if resp, err := httplog.NewTransport(base, client, options).RoundTrip(req); err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	fine := 0
	for _, r := range append(server.all(t), client.all(t)...) {
		all := fmt.Sprintf("%+v %s %s", *r, body(r), r.Attributes)
		if strings.Contains(all, canary) {
			t.Errorf("%v: %s", r.Kind, all)
		}
		fine += strings.Count(all, `x-fine":["fine"]`)
	}
	if fine != 5 { // three inputs, two outputs
		t.Errorf("the allowed header was recorded %d times", fine)
	}
}

func TestTraceparent(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for header, ok := range map[string]bool{
		"00-" + trace + "-" + span + "-01":                    true,
		"01-" + trace + "-" + span + "-01-more":               true,
		"00-" + trace + "-" + span + "-01-more":               false,
		"ff-" + trace + "-" + span + "-01":                    false,
		"00-" + strings.ToUpper(trace) + "-" + span + "-01":   false,
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01":  false,
		"00-" + trace + "-" + strings.Repeat("0", 16) + "-01": false,
		"00-" + trace + "-" + span:                            false,
		"":                                                    false,
		strings.Repeat("-", 55):                               false,
		"00-" + trace + "-" + span + "-zz":                    false,
	} {
		a := new(archive)
		req := httptest.NewRequest("POST", path, strings.NewReader(question))
		req.Header.Set("Traceparent", header)
		httplog.Handler(answer(200, reply), a, httplog.Options{}).ServeHTTP(httptest.NewRecorder(), req)
		for _, r := range a.all(t) {
			if ok != (r.TraceID == trace && r.ParentID == span) || !ok && r.TraceID+r.ParentID != "" {
				t.Errorf("%q: trace %q parent %q", header, r.TraceID, r.ParentID)
			}
		}
	}
}

// Whoever sends or answers can choose names of any length and any bytes. None may make a record that the pipe refuses.
func TestHostileMetadata(t *testing.T) {
	long := "\xff" + strings.Repeat("\x01", 300<<10)
	quoted := "\xff" + strings.Repeat(`\u0001`, 300<<10)
	many := strings.Repeat(`{"finish_reason":"`+strings.Repeat("r", 5000)+`","index":%},`, 300)
	for i := range 300 {
		many = strings.Replace(many, "%", fmt.Sprint(i), 1)
	}
	hostile := `{"id":"` + quoted + `","model":"` + quoted + `","choices":[` + many + `{}],"messages":[` + strings.Repeat("{},", 9000) +
		`{}],"error":{"type":"` + quoted + `","message":"` + quoted + `"}}`
	for name, text := range map[string]string{"body": hostile, "stream": "data: " + hostile[:900<<10] + "\n\n"} {
		t.Run(name, func(t *testing.T) {
			a := new(archive)
			req := httptest.NewRequest("POST", path, strings.NewReader(hostile))
			req.URL.Path = "/" + long + path
			req.URL.RawQuery = strings.Repeat("a&", 100<<10)
			req.Host = "[::1]:99999999999" + long
			for i := range 100 {
				req.Header.Add("X-Fine", long)
				req.Header.Add(fmt.Sprintf("X-%d", i%10), long)
			}
			for _, name := range []string{"Content-Type", "Content-Encoding", "Traceparent", "X-Stainless-Retry-Count"} {
				req.Header.Set(name, long)
			}
			if name == "body" {
				req.Header.Del("Content-Encoding")
			}
			httplog.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", "text/event-stream; x="+long)
				if name == "body" {
					w.Header().Set("Content-Type", long)
				}
				w.Header().Set("X-Fine", long)
				io.WriteString(w, text)
			}), a, httplog.Options{
				Headers:  []string{"x-fine", "x-0", "x-1", "x-2", "x-3", "x-4", "x-5", "x-6", "x-7", "x-8", "x-9"},
				Identify: func(*http.Request) (string, string, string) { return long, long, long },
				OnError:  func(err error) { t.Error(err) },
				MaxBody:  16 << 20,
			}).ServeHTTP(httptest.NewRecorder(), req)
			if t.Failed() {
				return
			}
			if in, out := a.one(t, logpipe.Input), a.one(t, logpipe.Output); body(in) != hostile || body(out) != text {
				t.Error("a body was changed")
			}
		})
	}
}

type beginFunc func(context.Context, logpipe.Record) *logpipe.Call

func (f beginFunc) Begin(ctx context.Context, r logpipe.Record) *logpipe.Call { return f(ctx, r) }

// Whatever goes wrong in capturing, the service does not notice, and the application is told.
func TestCapturingCannotHurt(t *testing.T) {
	sink := func(s logpipe.Sink) beginFunc {
		return func(ctx context.Context, r logpipe.Record) *logpipe.Call { return logpipe.NewCall(ctx, s, r) }
	}
	fine := sink(func(context.Context, *logpipe.Record) error { return nil })
	for _, c := range []struct {
		name  string
		pipe  httplog.Beginner
		o     httplog.Options
		quiet bool
	}{
		{"refusing", sink(func(context.Context, *logpipe.Record) error { return errors.New("full") }), httplog.Options{}, false},
		{"panicking sink", sink(func(context.Context, *logpipe.Record) error { panic("sink") }), httplog.Options{}, false},
		{"panicking pipe", beginFunc(func(context.Context, logpipe.Record) *logpipe.Call { panic("begin") }), httplog.Options{}, false},
		{"no pipe", nil, httplog.Options{}, false},
		{"no call", beginFunc(func(context.Context, logpipe.Record) *logpipe.Call { return nil }), httplog.Options{}, true},
		{"panicking hooks", fine, httplog.Options{
			Identify: func(*http.Request) (string, string, string) { panic("who") },
			Class:    func(*http.Request, logpipe.Kind) string { panic("class") }}, false},
		{"attributes that are none", fine, httplog.Options{Attributes: []byte("[]")}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			told := 0
			c.o.OnError = func(error) {
				mu.Lock()
				defer mu.Unlock()
				told++
				panic("the hook too")
			}
			s := httptest.NewServer(httplog.Handler(stream(events...), c.pipe, c.o))
			defer s.Close()
			client := &http.Client{Transport: httplog.NewTransport(&http.Transport{DisableKeepAlives: true}, c.pipe, c.o)}
			if resp, got := post(t, client, s.URL+path, question); resp.StatusCode != 200 || got != strings.Join(events, "") {
				t.Errorf("%d %q", resp.StatusCode, got)
			}
			mu.Lock()
			defer mu.Unlock()
			if (told == 0) != c.quiet {
				t.Errorf("told %d times", told)
			}
		})
	}
}

// Every call of many at once has its own bytes, and one input and one end.
func TestManyAtOnce(t *testing.T) {
	server, client := new(archive), new(archive)
	s := httptest.NewServer(httplog.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		for i := 0; i < len(b); i += 7 {
			fmt.Fprintf(w, "data: %s\n\n", b[i:min(i+7, len(b))])
			w.(http.Flusher).Flush()
		}
		io.WriteString(w, "data: [DONE]\n\n")
	}), server, httplog.Options{}))
	defer s.Close()
	c := &http.Client{Transport: httplog.NewTransport(&http.Transport{}, client, httplog.Options{})}
	defer c.CloseIdleConnections()
	const callers, each = 8, 20
	var wg sync.WaitGroup
	var mu sync.Mutex
	want := map[string]string{}
	for n := range callers {
		wg.Go(func() {
			for i := range each {
				text := fmt.Sprintf(`{"messages":[{"content":"%d of %d"}]}`, i, n)
				_, got := post(t, c, s.URL+path, text)
				mu.Lock()
				want[text] = got
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, a := range []*archive{server, client} {
		inputs, outputs := map[any]string{}, map[any]string{}
		for _, r := range a.all(t) {
			id := attrs(t, r)["stele.call.id"]
			switch r.Kind {
			case logpipe.Input:
				inputs[id] = body(r)
			case logpipe.Output:
				outputs[id] = body(r)
			default:
				t.Errorf("%v: %s", r.Kind, r.Body)
			}
		}
		if len(inputs) != callers*each || len(outputs) != callers*each || len(a.all(t)) != 2*callers*each {
			t.Fatalf("%d inputs, %d outputs, %d records", len(inputs), len(outputs), len(a.all(t)))
		}
		for id, in := range inputs {
			if outputs[id] != want[in] {
				t.Errorf("%q: %q, want %q", in, outputs[id], want[in])
			}
		}
	}
}

// A handler may read and answer from two goroutines.
func TestReadingBesideWriting(t *testing.T) {
	a, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		done := make(chan []byte)
		go func() {
			b, _ := io.ReadAll(r.Body)
			done <- b
		}()
		io.WriteString(w, reply)
		if got := <-done; string(got) != question {
			t.Errorf("%q", got)
		}
	}, httplog.Options{})
	for range 20 {
		post(t, s.Client(), s.URL+path, question)
	}
	for _, r := range a.all(t) {
		if r.Kind == logpipe.Input && body(r) != question {
			t.Errorf("%q", body(r))
		}
	}
}

// announced tells of each Read before it waits.
type announced struct {
	io.ReadCloser
	reading chan<- struct{}
}

func (r announced) Read(p []byte) (int, error) {
	r.reading <- struct{}{}
	return r.ReadCloser.Read(p)
}

// An answer that is given while another goroutine waits for the request must not wait with it.
func TestAnswerDoesNotWaitForAReader(t *testing.T) {
	a := new(archive)
	send, feed := io.Pipe()
	reading := make(chan struct{}, 1<<10)
	h := httplog.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			io.Copy(io.Discard, r.Body)
		}()
		<-reading
		feed.Write([]byte(question[:1]))
		<-reading // the goroutine is in Read again, and nothing comes before the answer
		io.WriteString(w, reply)
		feed.Write([]byte(question[1:]))
		feed.Close()
		<-done
	}), a, httplog.Options{})
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", path, announced{send, reading}))
	a.want(t, "input output", "")
	if in := a.one(t, logpipe.Input); body(in) != question {
		t.Errorf("%q", body(in))
	}
}
