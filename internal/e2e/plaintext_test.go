package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/sealhook"
	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/logpipe"
)

// TestNoPlaintext plants canaries in everything that is sealed and searches them in every byte that leaves the capturing
// process: none may be found. With a cipher that does nothing the same search must find all of them, wherever sealed
// records are, or it would prove nothing.
func TestNoPlaintext(t *testing.T) {
	t.Parallel()
	t.Run("kafka", func(t *testing.T) {
		broker, store := testbed.Kafka(t, testbed.Dedicated()), testbed.MinIO(t, testbed.Dedicated())
		for _, null := range []bool{false, true} {
			t.Run(cipherName(null), func(t *testing.T) { plaintextKafka(t, broker, store, null) })
		}
	})
	t.Run("file", func(t *testing.T) {
		for _, null := range []bool{false, true} {
			t.Run(cipherName(null), func(t *testing.T) { plaintextFile(t, null) })
		}
	})
}

func cipherName(null bool) string {
	if null {
		return "null"
	}
	return "real"
}

// plaintextKafka goes through a broker that is out for a while, so that the spool is used, into MinIO.
func plaintextKafka(t *testing.T, broker *testbed.Broker, server *testbed.S3, null bool) {
	store := bucket{server, server.Bucket(t)}
	s := newSite(t, store.url(""), "kafka://"+broker.Addr+"/"+testbed.Name(t), store.env(), "--partitions", "1")
	p := newPlanting(t, null, logpipe.Config{SpoolDir: t.TempDir()}, s)
	n := p.compactor()
	p.plant("first")
	p.flush()
	eventually(t, "a commit", time.Minute, func() bool { return len(n.commits()) > 0 })

	if err := broker.Kill(); err != nil {
		t.Fatal(err)
	}
	p.plant("outage")
	p.flush()
	if p.pipe.Stats().Spooled == 0 {
		t.Error("the outage did not fill the spool")
	}
	p.expect("the spool in an outage", p.search(p.spool), true)
	if err := broker.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.plant("after")
	p.finish(n)
	p.expect("Kafka's data", p.search(filepath.Join(broker.Dir, "data")), true)
	p.expect("Kafka's directory", p.search(broker.Dir), true)
	p.expect("the spool", p.search(p.spool), false)
	p.expect("MinIO's directory", p.search(server.Dir), true)
	objects := t.TempDir()
	if store.download(t, objects) == 0 {
		t.Error("no objects in the bucket")
	}
	p.expect("the objects", p.search(objects), true)
}

// plaintextFile goes through a spool into a directory.
func plaintextFile(t *testing.T, null bool) {
	archive, spool := fileURL(t, "archive"), fileURL(t, "spool")
	s := newSite(t, archive, spool, nil)
	p := newPlanting(t, null, logpipe.Config{Compression: "fast"}, s)
	p.plant("first")
	p.flush()
	p.expect("the spool", p.search(strings.TrimPrefix(spool, "file://")), true)
	n := p.compactor()
	eventually(t, "a commit", time.Minute, func() bool { return len(n.commits()) > 0 })
	p.plant("after")
	p.finish(n)
	p.expect("the spool at the end", p.search(strings.TrimPrefix(spool, "file://")), false)
	p.expect("the objects", p.search(strings.TrimPrefix(archive, "file://")), true)
}

// planting is one run: a pipe through which canaries go, and what it and others said meanwhile.
type planting struct {
	*site
	null     bool
	canaries map[string]string // what is planted, by place
	needles  []needle
	pipe     *logpipe.Pipe
	spool    string
	said     lockedBuffer // by the pipe
	metrics  string
}

// lockedBuffer is a buffer that several goroutines may write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

// places are what is sealed. The model and the error type are clear, but not with content like this.
var places = []string{"body", "part", "chunk", "tenant", "subject", "session", "caller id", "attribute", "attribute name",
	"model", "error type", "error text", "content type", "trace", "span", "parent", "withheld"}

func newPlanting(t *testing.T, null bool, cfg logpipe.Config, s *site) *planting {
	t.Helper()
	p := &planting{site: s, null: null, canaries: map[string]string{}, spool: cfg.SpoolDir}
	for _, place := range places {
		p.canaries[place] = newCanary()
		p.needles = append(p.needles, needlesOf(place, p.canaries[place])...)
	}
	cfg.Credential = filepath.Join(s.dir, "writer", "default.stele")
	cfg.Logger = slog.New(slog.NewTextHandler(&p.said, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.Default = logpipe.ClassConfig{Wait: 30 * time.Second}
	cfg.Redact = func(r *logpipe.Record) error {
		if bytes.Contains(r.Body, []byte(p.canaries["withheld"])) {
			return errors.New("cannot redact " + string(r.Body))
		}
		return nil
	}
	ctx := t.Context()
	if null {
		ctx = sealhook.With(ctx, sealhook.Null)
	}
	var err error
	if p.pipe, err = logpipe.Open(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	return p
}

// plant captures each canary at its place, in each class.
func (p *planting) plant(when string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	c := p.canaries
	for _, class := range []string{"default", "state", "audit"} {
		base := logpipe.Record{Tenant: c["tenant"], Subject: c["subject"], Session: c["session"] + when, Class: class,
			TraceID: c["trace"], SpanID: c["span"], ParentID: c["parent"],
			Attributes: marshal(map[string]any{c["attribute name"]: 1, "x.secret": c["attribute"], "gen_ai.request.model": c["model"]})}
		call := p.pipe.Begin(ctx, base)
		errs := []error{
			call.Input(ctx, logpipe.Record{CallerID: c["caller id"], ContentType: c["content type"], Body: []byte(filler() + c["body"])}),
			call.State(ctx, logpipe.Record{Parts: []logpipe.Part{{Data: []byte(c["part"])}, {URI: "s3://x/" + c["part"], Size: 1}}}),
			call.State(ctx, logpipe.Record{Body: []byte(c["withheld"])}),
		}
		call.Set("error.type", c["error type"])
		call.Chunk([]byte("it is "))
		call.Chunk([]byte(c["chunk"]))
		errs = append(errs, call.End(ctx, errors.New("upstream: "+c["error text"])))
		if err := errors.Join(errs...); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := p.pipe.Session(c["tenant"], c["subject"], c["session"]+when).End(ctx); err != nil {
		p.t.Fatal(err)
	}
}

func (p *planting) flush() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	if err := p.pipe.Flush(ctx); err != nil {
		p.t.Fatal(err)
	}
}

// compactor starts one that tells all it can.
func (p *planting) compactor() *node {
	p.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	p.metrics = l.Addr().String()
	l.Close()
	n := p.node("talkative", nil, "--log-level", "debug", "--metrics", p.metrics)
	n.start()
	return n
}

// finish commits everything, checks that the canaries really went the whole way, and searches what was said on it.
func (p *planting) finish(n *node) {
	p.t.Helper()
	p.close(p.pipe)
	answer, err := http.Get("http://" + p.metrics + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	metrics, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || !bytes.Contains(metrics, []byte("stele_commits_total")) {
		p.t.Errorf("metrics: %v\n%s", err, metrics)
	}
	n.stop()
	_, last, code := p.run(p.command("compactor", "--once", "--log-level", "debug"))
	if code != 0 {
		p.t.Fatalf("compactor --once: %s", last)
	}
	log, err := os.ReadFile(n.log)
	if err != nil || len(log) == 0 {
		p.t.Errorf("the compactor's log has %d bytes, %v", len(log), err)
	}
	var said []byte
	for _, verb := range [][]string{{"audit"}, {"segments"}, {"verify"}} {
		stdout, stderr, _ := p.stele(verb...)
		said = append(said, stdout+stderr...)
	}
	p.expect("the log of the pipe", p.find(p.said.bytes()), false)
	p.expect("logs, metrics and reports", p.find(bytes.Join([][]byte{log, metrics, []byte(last), said}, nil)), false)
	p.expect("the site: key store and settings", p.search(p.dir), false)
	if !p.null {
		p.arrived()
	}
}

// arrived checks that those who may read find every canary in the archive, but for what was withheld.
func (p *planting) arrived() {
	p.t.Helper()
	stdout, stderr, code := p.stele("restore", "--out", "-")
	if code != 0 {
		p.t.Fatalf("stele restore: exit code %d\n%s", code, stderr)
	}
	for place, canary := range p.canaries {
		if found := strings.Contains(stdout, canary); found == (place == "withheld") {
			p.t.Errorf("canary %q in the restored records: %v", place, found)
		}
	}
}

// expect judges what a search found: nothing with a real cipher. With one that does nothing every canary must be where
// sealed records are.
func (p *planting) expect(where string, found map[string][]string, sealed bool) {
	p.t.Helper()
	if !p.null {
		for place, hits := range found {
			p.t.Errorf("%s: the canary of %q is in %s", where, place, lines(hits))
		}
		return
	}
	for _, place := range places {
		if sealed && place != "withheld" && len(found[place]) == 0 {
			p.t.Errorf("%s: the null cipher leaves the canary of %q in the open, but it was not found", where, place)
		}
		if place == "withheld" && len(found[place]) > 0 {
			p.t.Errorf("%s: what was withheld is in %s", where, lines(found[place]))
		}
	}
	p.t.Logf("%s: %s", where, formsOf(found))
}

// formsOf counts hits by form, for the log.
func formsOf(found map[string][]string) string {
	count := map[string]int{}
	for _, hits := range found {
		for _, h := range hits {
			_, form, _ := strings.Cut(h, " as ")
			count[form]++
		}
	}
	return fmt.Sprint(count)
}
