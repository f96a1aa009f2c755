package e2e_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/event"
)

// exchange is one line of the real input: what a model was asked, and what it answered.
type exchange struct{ Model, Dataset, Instruction, Output string }

// realInput reads the first n lines of the real input, all if n is 0. A machine without it skips the test.
func realInput(t *testing.T, n int) (all []exchange) {
	t.Helper()
	dir, why := dataDir()
	if dir == "" {
		if os.Getenv("CI") == "true" && os.Getenv("STELE_DATA") != "none" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	f, err := os.Open(filepath.Join(dir, "alpaca_eval", "inference.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	scan := bufio.NewScanner(z)
	scan.Buffer(nil, 16<<20)
	for scan.Scan() && (n == 0 || len(all) < n) {
		var x exchange
		if err := json.Unmarshal(scan.Bytes(), &x); err != nil {
			t.Fatal(err)
		}
		all = append(all, x)
	}
	if err := scan.Err(); err != nil || len(all) == 0 {
		t.Fatalf("real input: %d lines, %v", len(all), err)
	}
	return all
}

// dataDir finds the folder of the real input: $STELE_DATA, or shared/data beside the repository or above it.
func dataDir() (dir, why string) {
	if dir := os.Getenv("STELE_DATA"); dir != "" {
		if _, err := os.Stat(filepath.Join(dir, "alpaca_eval")); err != nil {
			return "", "real input: STELE_DATA=" + dir + " has no folder alpaca_eval"
		}
		return dir, ""
	}
	at, err := os.Getwd()
	for err == nil && at != filepath.Dir(at) {
		at = filepath.Dir(at)
		dir := filepath.Join(at, "shared", "data")
		if _, err := os.Stat(filepath.Join(dir, "alpaca_eval")); err == nil {
			return dir, ""
		}
	}
	return "", "real input: neither STELE_DATA nor a folder shared/data beside the repository has it"
}

const (
	subjects = 200
	turns    = 5 // of one session
)

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// converse turns exchanges into sessions of several turns with one model, each of which resends its history as chat
// clients do. Every exchange makes an input and an output record.
func converse(all []exchange) (sessions [][]logpipe.Record) {
	var history []message
	for i, x := range all {
		if i == 0 || len(history) == 2*turns || x.Model != all[i-1].Model {
			history = nil
			sessions = append(sessions, nil)
		}
		n := len(sessions) - 1
		in, out := turn(i, n, len(history)/2, &history, x)
		sessions[n] = append(sessions[n], in, out)
	}
	return sessions
}

// turn makes the two records of exchange i, which is turn k of session n.
func turn(i, n, k int, history *[]message, x exchange) (in, out logpipe.Record) {
	*history = append(*history, message{"user", x.Instruction})
	zone := time.FixedZone("", []int{0, 3600, -12600, 20700}[n%4])
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(i) * 1_000_000_007).In(zone)
	common := logpipe.Record{Tenant: x.Dataset, Subject: subjectOf(n), Session: fmt.Sprintf("session-%d", n),
		TraceID: fmt.Sprintf("%032x", i+1), SpanID: fmt.Sprintf("%016x", i+1), ContentType: "application/json"}
	if n%10 == 0 {
		common.Class = "audit"
	}
	in, out = common, common
	in.Kind, in.Time, in.CallerID = logpipe.Input, at, fmt.Sprintf("%d/%d/in", n, k)
	in.Attributes = attributes(x.Model, `"gen_ai.request.temperature":0.70`)
	in.Body = marshal(map[string]any{"model": x.Model, "messages": *history, "user": common.Subject})
	out.Kind, out.Time, out.CallerID = logpipe.Output, at.Add(1234567*time.Nanosecond), fmt.Sprintf("%d/%d/out", n, k)
	out.ParentID = in.SpanID
	out.Attributes = attributes(x.Model, `"gen_ai.usage.output_tokens":`+strconv.Itoa(len(x.Output)/4))
	answer := message{"assistant", x.Output}
	out.Body = marshal(map[string]any{"object": "chat.completion", "model": x.Model,
		"choices": []any{map[string]any{"index": 0, "message": answer, "finish_reason": "stop"}}})
	*history = append(*history, answer)
	return in, out
}

func subjectOf(session int) string {
	h := fnv.New32a()
	fmt.Fprint(h, session)
	return fmt.Sprintf("subject-%d", h.Sum32()%subjects)
}

// attributes keeps number literals that no float has, and the order of names.
func attributes(model, more string) []byte {
	name, _ := json.Marshal(model)
	return fmt.Appendf(nil, `{"gen_ai.operation.name":"chat","gen_ai.request.model":%s,%s,"x.exact":12345678901234567890.10}`, name, more)
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and maps always marshal
	}
	return b
}

// flat lists the records of sessions.
func flat(sessions [][]logpipe.Record) []logpipe.Record { return slices.Concat(sessions...) }

// open opens a pipe as a service of the site does.
func (s *site) open(cfg logpipe.Config) *logpipe.Pipe {
	s.t.Helper()
	cfg.Credential = filepath.Join(s.dir, "writer", "default.stele")
	pipe, err := logpipe.Open(s.t.Context(), cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return pipe
}

// service opens a pipe with streams in each of so many partitions.
func (s *site) service(partitions int, cfg logpipe.Config) *logpipe.Pipe {
	s.t.Helper()
	cfg.Streams = 3 * partitions
	for {
		pipe := s.open(cfg)
		got := map[uint32]bool{}
		for _, st := range pipe.Stats().Streams {
			got[st.Partition] = true
		}
		if len(got) == partitions {
			return pipe
		}
		s.close(pipe) // chance left a partition without a stream
	}
}

// fleet opens one pipe for each partition, so that all partitions can be kept busy.
func (s *site) fleet(partitions int, cfg logpipe.Config) []*logpipe.Pipe {
	s.t.Helper()
	cfg.Streams = 1
	fleet := make([]*logpipe.Pipe, partitions)
	for slices.Contains(fleet, nil) {
		pipe := s.open(cfg)
		if at := pipe.Stats().Streams[0].Partition; fleet[at] == nil {
			fleet[at] = pipe
			continue
		}
		s.close(pipe)
	}
	return fleet
}

// close closes a pipe, which must not take long nor leave anything behind.
func (s *site) close(pipe *logpipe.Pipe) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := pipe.Close(ctx); err != nil {
		s.t.Errorf("closing the pipe: %v", err)
	}
}

// feed captures sessions, several at a time and each in order, so that it takes about as long as said, or no longer than
// hurry, once that is closed.
func feed(t *testing.T, pipe *logpipe.Pipe, sessions [][]logpipe.Record, last time.Duration, hurry <-chan struct{}) {
	const users = 12
	pause := last * users / time.Duration(max(1, len(flat(sessions))))
	next := make(chan []logpipe.Record)
	var all sync.WaitGroup
	for range users {
		all.Go(func() {
			for session := range next {
				for i := range session {
					if err := pipe.Capture(context.Background(), &session[i]); err != nil {
						t.Errorf("capture %s: %v", session[i].CallerID, err)
					}
					select {
					case <-hurry:
					case <-time.After(rand.N(2*pause + 1)): // users do not act at the same moment
					}
				}
			}
		})
	}
	for _, session := range sessions {
		next <- session
	}
	close(next)
	all.Wait()
}

// flush hands over all that was captured.
func flush(t *testing.T, pipe *logpipe.Pipe) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := pipe.Flush(ctx); err != nil {
		t.Errorf("flush: %v", err)
	}
}

// restore runs 'stele restore' and returns the records in the order in which they come.
func (s *site) restore(flags ...string) (all []logpipe.Record) {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), "restored")
	if _, stderr, code := s.stele(append([]string{"restore", "--out", dir}, flags...)...); code != 0 {
		s.t.Fatalf("stele restore: exit code %d\n%s", code, stderr)
	}
	f, err := os.Open(filepath.Join(dir, "records.jsonl"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	for r, err := range event.NewReader(f).All() {
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// compare wants each record sent exactly once among those restored, equal field by field, and each session in the order
// of capture. Caller ids must be unique.
func compare(t *testing.T, sent, restored []logpipe.Record) {
	t.Helper()
	want := make(map[string]*logpipe.Record, len(sent))
	order := map[string][]string{}
	for i := range sent {
		want[sent[i].CallerID] = &sent[i]
		order[sent[i].Session] = append(order[sent[i].Session], sent[i].CallerID)
	}
	seen := map[string]bool{}
	got := map[string][]string{}
	var wrong []string
	for i := range restored {
		r := &restored[i]
		switch w := want[r.CallerID]; {
		case w == nil:
			wrong = append(wrong, r.CallerID+" was never sent")
		case seen[r.CallerID]:
			wrong = append(wrong, r.CallerID+" came twice")
		default:
			if err := differ(w, r); err != nil {
				wrong = append(wrong, fmt.Sprintf("%s: %v", r.CallerID, err))
			}
		}
		seen[r.CallerID] = true
		got[r.Session] = append(got[r.Session], r.CallerID)
	}
	for id := range want {
		if !seen[id] {
			wrong = append(wrong, id+" is missing")
		}
	}
	for session, ids := range order {
		if !slices.Equal(got[session], ids) {
			wrong = append(wrong, session+" is not in the order of capture")
		}
	}
	if len(wrong) > 0 {
		t.Errorf("sent %d, restored %d records; %d differences:\n%s", len(sent), len(restored), len(wrong), lines(wrong))
	}
}

// differ names the first field in which two records differ.
func differ(a, b *logpipe.Record) error {
	for _, f := range []struct{ name, a, b string }{
		{"kind", a.Kind.String(), b.Kind.String()}, {"tenant", a.Tenant, b.Tenant}, {"subject", a.Subject, b.Subject},
		{"session", a.Session, b.Session}, {"class", a.Class, b.Class}, {"trace_id", a.TraceID, b.TraceID},
		{"span_id", a.SpanID, b.SpanID}, {"parent_id", a.ParentID, b.ParentID}, {"content_type", a.ContentType, b.ContentType},
		{"attributes", string(a.Attributes), string(b.Attributes)},
		{"time", a.Time.Format(time.RFC3339Nano), b.Time.Format(time.RFC3339Nano)},
	} {
		if f.a != f.b {
			return fmt.Errorf("%s is %q, sent was %q", f.name, f.b, f.a)
		}
	}
	if !bytes.Equal(a.Body, bodyOf(b)) {
		return errors.New("bodies differ")
	}
	return nil
}

// bodyOf joins the literal parts of a body.
func bodyOf(r *logpipe.Record) []byte {
	body := r.Body
	for _, p := range r.Parts {
		body = append(body, p.Data...)
	}
	return body
}

// synthetic makes sessions of small records that need no input.
func synthetic(sessions, records int) (all [][]logpipe.Record) {
	for s := range sessions {
		var one []logpipe.Record
		for r := range records {
			one = append(one, logpipe.Record{Kind: logpipe.Input + logpipe.Kind(r%2), Subject: subjectOf(s),
				Session: fmt.Sprintf("session-%d", s), CallerID: fmt.Sprintf("%d/%d", s, r), Time: time.Unix(1_700_000_000, int64(r)).UTC(),
				Body: []byte(strings.Repeat(fmt.Sprintf("record %d of session %d. ", r, s), 10))})
		}
		all = append(all, one)
	}
	return all
}
