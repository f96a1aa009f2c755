package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/dirstore"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/local"
	"github.com/stelelog/stele/examples/demo/chatserver"
	"github.com/stelelog/stele/examples/demo/chatserver/traffic"
	"github.com/stelelog/stele/examples/demo/ngram"
	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/event"
	"github.com/stelelog/stele/logpipe/httplog"
)

// demo is what the steps hand to each other.
type demo struct {
	dir   string
	begun time.Time

	model *ngram.Model
	index *ngram.Index
	plan  []traffic.Request

	local *local.Local
	keys  *keys.Service
	seen  sent // what went through the server, to compare with what comes back
	kinds map[logpipe.Kind]int
	bytes int64
}

// sent counts bodies by what they are and whose: kind, subject, session, content.
type sent struct {
	mu     sync.Mutex
	bodies map[string]int
	n      int
}

func key(kind logpipe.Kind, subject, session string, body []byte) string {
	return fmt.Sprintf("%s\x00%s\x00%s\x00%s", kind, subject, session, body)
}

func (d *demo) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if d.local != nil {
		d.local.Close(ctx)
	}
	if d.keys != nil {
		d.keys.Close()
	}
}

func (d *demo) train(ctx context.Context) (string, error) {
	root, err := ngram.FindGOROOT(ctx)
	if err != nil {
		return "", err
	}
	passages, err := ngram.ReadDocs(os.DirFS(root))
	if err != nil {
		return "", err
	}
	if d.model, err = ngram.Train(passages); err != nil {
		return "", err
	}
	d.index = ngram.NewIndex(passages)
	d.plan, err = traffic.Plan(passages, traffic.Options{Seed: 1, Subjects: 150})
	return fmt.Sprintf("4-gram model over %d passages of the Go documentation", len(passages)), err
}

// capture serves the planned requests over HTTP; httplog captures them on the way.
func (d *demo) capture(ctx context.Context) (string, error) {
	var err error
	if d.local, err = local.Open(ctx, d.dir, local.Options{Name: "demo"}); err != nil {
		return "", err
	}
	server, err := chatserver.New(chatserver.Config{Model: d.model, Index: d.index, Observer: states{}})
	if err != nil {
		return "", err
	}
	d.seen.bodies = map[string]int{}
	handler := httplog.Handler(server, watch{d.local.Pipe, &d.seen}, httplog.Options{
		Provider: "demo",
		Identify: func(r *http.Request) (tenant, subject, session string) {
			return "demo", r.Header.Get("X-Demo-Subject"), r.Header.Get("X-Demo-Session")
		},
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	web := &http.Server{Handler: handler}
	go web.Serve(listener)
	player := traffic.Player{BaseURL: "http://" + listener.Addr().String(), Model: "go-doc-4gram",
		Prepare: func(h *http.Request, r traffic.Request) *http.Request {
			h.Header.Set("X-Demo-Subject", r.Subject)
			h.Header.Set("X-Demo-Session", r.Session)
			return h
		}}
	report, err := player.Play(ctx, d.plan)
	if err := errors.Join(err, web.Shutdown(ctx)); err != nil {
		return "", err
	}
	if u := report.Unexpected(); len(u) > 0 {
		return "", fmt.Errorf("%d requests ended as they should not, the first: %v", len(u), u[0].Err)
	}
	return fmt.Sprintf("%d requests (%d answered, %d refused, %d left by the client, %d timed out) → %d records",
		len(report.Exchanges), report.Counts[traffic.Answered], report.Counts[traffic.Refused],
		report.Counts[traffic.Left], report.Counts[traffic.OutOfTime], d.seen.n), nil
}

// watch notes what is captured, so that the demo can compare it with what comes back.
type watch struct {
	pipe *logpipe.Pipe
	seen *sent
}

// Begin implements httplog.Beginner.
func (w watch) Begin(ctx context.Context, r logpipe.Record) *logpipe.Call {
	return logpipe.NewCall(ctx, func(ctx context.Context, r *logpipe.Record) error {
		body := r.Body
		for _, p := range r.Parts {
			body = append(body[:len(body):len(body)], p.Data...)
		}
		w.seen.mu.Lock()
		w.seen.bodies[key(r.Kind, r.Subject, r.Session, body)]++
		w.seen.n++
		w.seen.mu.Unlock()
		return w.pipe.Capture(ctx, r)
	}, r)
}

func (d *demo) commit(ctx context.Context) (string, error) {
	var err error
	if d.keys, err = d.local.Keys(ctx); err != nil {
		return "", err
	}
	if err := d.local.Close(ctx); err != nil {
		return "", err
	}
	d.local.Pipe.Stats()
	if err := d.local.Once(ctx, d.keys); err != nil {
		return "", err
	}
	a, err := d.local.Archive(ctx)
	if err != nil {
		return "", err
	}
	var leaves uint64
	segments := a.Segments()
	for _, s := range segments {
		d.bytes += s.Bytes
		leaves += s.Size - s.First
	}
	return fmt.Sprintf("%d leaves in %s, %.1f MB of objects", leaves, count(len(segments), "segment"), float64(d.bytes)/1e6), nil
}

func (d *demo) verify(ctx context.Context) (string, error) {
	a, err := d.local.Archive(ctx)
	if err != nil {
		return "", err
	}
	r, err := a.Verify(ctx, backup.VerifyOptions{})
	if err != nil {
		return "", err
	}
	if code := r.ExitCode("integrity", "completeness"); code != 0 {
		return "", fmt.Errorf("verification ended in %d: %v", code, r.Faults)
	}
	return fmt.Sprintf("integrity %s, completeness %s: %d leaves, %s, %.1f MB hashed", r.Verdicts["integrity"].State,
		r.Verdicts["completeness"].State, r.Leaves, count(len(r.Streams), "stream"), float64(r.Bytes)/1e6), nil
}

// tamper flips one bit of one object in a copy and lets verify find it.
func (d *demo) tamper(ctx context.Context) (string, error) {
	copied := filepath.Join(d.dir, "tampered")
	if err := os.CopyFS(copied, os.DirFS(filepath.Join(d.dir, "archive"))); err != nil {
		return "", err
	}
	var objects []string
	err := filepath.WalkDir(filepath.Join(copied, "logs"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			objects = append(objects, path)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	victim := objects[rand.IntN(len(objects))]
	data, err := os.ReadFile(victim)
	if err != nil {
		return "", err
	}
	bit := rand.IntN(8 * len(data))
	data[bit/8] ^= 1 << (bit % 8)
	if err := errors.Join(os.Chmod(victim, 0o600), os.WriteFile(victim, data, 0o600)); err != nil {
		return "", err
	}
	store, err := dirstore.Open(copied, dirstore.Options{})
	if err != nil {
		return "", err
	}
	trust, err := os.ReadFile(filepath.Join(d.dir, "trust.stele"))
	if err != nil {
		return "", err
	}
	a, err := backup.OpenArchive(ctx, store, trust)
	if err != nil {
		return "", err
	}
	r, err := a.Verify(ctx, backup.VerifyOptions{})
	if err != nil {
		return "", err
	}
	name := filepath.ToSlash(strings.TrimPrefix(victim, copied+string(filepath.Separator)))
	for _, f := range r.Faults {
		if f.Key == name && r.ExitCode() == 10 {
			return fmt.Sprintf("bit %d of %s: found, exit code 10, the object is named", bit, short(name)), nil
		}
	}
	return "", fmt.Errorf("bit %d of %s was flipped, and verify says %v", bit, name, r.Faults)
}

func short(name string) string {
	dir, base := filepath.Split(name)
	if len(base) > 30 {
		base = base[:8] + "…" + base[64:]
	}
	return dir + base
}

// restore reads everything back and compares it with what went in.
func (d *demo) restore(ctx context.Context) (string, error) {
	r, err := d.local.Reader(ctx, d.keys)
	if err != nil {
		return "", err
	}
	out, err := os.Create(filepath.Join(d.dir, "restored.jsonl"))
	if err != nil {
		return "", err
	}
	defer out.Close()
	back, n := map[string]int{}, 0
	d.kinds = map[logpipe.Kind]int{}
	var line []byte
	for f, err := range r.Records(ctx, backup.Query{}) {
		if err != nil {
			return "", err
		}
		back[key(f.Kind, f.Subject, f.Session, f.Body)]++
		d.kinds[f.Kind]++
		n++
		if line, err = event.Append(line[:0], &f.Record); err != nil {
			return "", err
		}
		if _, err := out.Write(append(bytes.TrimRight(line, "\n"), '\n')); err != nil {
			return "", err
		}
	}
	if n != d.seen.n {
		return "", fmt.Errorf("%d records came back, %d were captured", n, d.seen.n)
	}
	for k, times := range d.seen.bodies {
		if back[k] != times {
			return "", fmt.Errorf("a record was captured %d× and came back %d×: %.80q", times, back[k], k)
		}
	}
	return fmt.Sprintf("%d records, equal to what was captured", n), nil
}

// count writes "1 stream", "2 streams".
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
