package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/dirstore"
	"github.com/stelelog/stele/backup/s3store"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/logpipe"
)

// setting is how often a compactor commits, and puts heads into the control log. Zero is the default: 60 s and 10 s.
type setting struct {
	name       string
	age, heads time.Duration
	run        time.Duration // how long records are captured
}

func settings() []setting {
	return []setting{
		{"1s", time.Second, time.Second, 15 * time.Second},
		{"default", 0, 0, 130 * time.Second},
	}
}

// rate is how many records are captured in a second, evenly.
const rate = 200

// BenchmarkLatency is the time from the return of Capture to the commit that holds the record (the store has confirmed
// it), and to the entry in the control log that makes it provable. Run it with -benchtime 1x: one operation is one run.
func BenchmarkLatency(b *testing.B) {
	for _, s := range settings() {
		b.Run("embedded/"+s.name, func(b *testing.B) {
			for range b.N {
				embedded(b).run(b, s)
			}
		})
		b.Run("kafka+minio/"+s.name, func(b *testing.B) {
			for range b.N {
				services(b).run(b, s)
			}
		})
	}
}

// course is what records go through.
type course struct {
	store worm.Store
	roles string
	to    string
}

// embedded is a spool and a directory on the disk.
func embedded(b *testing.B) *course {
	store, err := dirstore.Open(filepath.Join(b.TempDir(), "archive"), dirstore.Options{Create: true})
	if err != nil {
		b.Fatal(err)
	}
	c := &course{store, filepath.Join(b.TempDir(), "roles"), "file://" + b.TempDir()}
	c.init(b, worm.LockAdvisory)
	return c
}

// services are one Kafka node and MinIO with object lock on this machine.
func services(b *testing.B) *course {
	broker, s3 := testbed.Kafka(b), testbed.MinIO(b)
	store, err := s3store.Open(b.Context(), s3store.Config{Endpoint: s3.Addr, Region: s3.Region, Bucket: s3.Bucket(b),
		Credentials: s3store.Credentials{AccessKey: s3.AccessKey, SecretKey: s3.SecretKey}})
	if err != nil {
		b.Fatal(err)
	}
	c := &course{store, filepath.Join(b.TempDir(), "roles"), "kafka://" + broker.Addr + "/" + testbed.Name(b)}
	if err := (admin.Topics{URL: c.to}).Create(b.Context(), 1, 1); err != nil {
		b.Fatal(err)
	}
	c.init(b, worm.LockGovernance)
	return c
}

func (c *course) init(b *testing.B, lock worm.LockMode) {
	b.Helper()
	_, err := admin.Init(b.Context(), admin.InitConfig{Store: c.store, Name: "latency", To: c.to, Dir: c.roles, Lock: lock})
	if err != nil {
		b.Fatal(err)
	}
}

// run captures at the rate while a compactor works, and reports the quantiles.
func (c *course) run(b *testing.B, s setting) {
	site := &site{t: b, roles: c.roles}
	w := &watcher{}
	compactor, err := compact.Open(b.Context(), compact.Config{Store: c.store, Trust: site.role("trust.stele"),
		Identity: site.role("compactor/compactor.stele"), From: c.to, SegmentAge: s.age, HeadsEvery: s.heads, Partitions: []int{0},
		Logger: slog.New(w)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- compactor.Run(ctx) }()
	pipe, err := logpipe.Open(b.Context(), logpipe.Config{Credential: filepath.Join(c.roles, "writer", "default.stele"), To: c.to})
	if err != nil {
		b.Fatal(err)
	}
	defer pipe.Close(context.Background())
	captured := make(chan []time.Time, 1)
	go func() { captured <- capture(b, pipe, s.run) }()
	at, provable, err := w.follow(compactor, captured, ended)
	if err != nil {
		b.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		b.Fatal(err)
	}
	report(b, "committed", at, w.all())
	report(b, "provable", at, provable)
}

// capture returns when each record was captured, in the order of their leaves.
func capture(b *testing.B, p *logpipe.Pipe, d time.Duration) (at []time.Time) {
	body := []byte(strings.Repeat("what was asked, and what was answered ", 1024/38))
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		r := logpipe.Record{Kind: logpipe.Output, Subject: "subject", Session: "session", Body: body}
		if err := p.Capture(b.Context(), &r); err != nil {
			b.Error(err)
			break
		}
		at = append(at, time.Now())
	}
	return at
}

// watcher is a log handler that notes when the compactor says that it has committed.
type watcher struct {
	mu      sync.Mutex
	commits []progress
}

// progress is that a log had a size at a time.
type progress struct {
	size int
	at   time.Time
}

// Enabled implements [slog.Handler].
func (w *watcher) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs implements [slog.Handler].
func (w *watcher) WithAttrs([]slog.Attr) slog.Handler { return w }

// WithGroup implements [slog.Handler].
func (w *watcher) WithGroup(string) slog.Handler { return w }

// Handle implements [slog.Handler].
func (w *watcher) Handle(_ context.Context, r slog.Record) error {
	now := time.Now()
	if r.Message != "committed" {
		return nil
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "size" {
			return true
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.commits = append(w.commits, progress{int(a.Value.Uint64()), now})
		return false
	})
	return nil
}

// all are the commits so far.
func (w *watcher) all() []progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.commits)
}

// follow waits until all that was captured is provable, and returns when it was and when which size was. Heads are in the control log when the compactor has none pending.
func (w *watcher) follow(c *compact.Compactor, captured <-chan []time.Time, ended <-chan error) (at []time.Time, provable []progress, err error) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for size := 0; at == nil || size < len(at)+1; <-tick.C {
		commits := w.all()
		pending := c.Stats().Pending
		if n := len(commits); n > 0 && pending == 0 && commits[n-1].size > size {
			size = commits[n-1].size
			provable = append(provable, progress{size, time.Now()})
		}
		select {
		case at = <-captured:
		case err := <-ended:
			return nil, nil, fmt.Errorf("the compactor ended: %w", err)
		default:
		}
	}
	return at, provable, nil
}

// report gives the quantiles of how long records took. Record i is leaf i+1: before it comes the opening of its stream.
func report(b *testing.B, what string, captured []time.Time, reached []progress) {
	var took []time.Duration
	for i, at := range captured {
		k := slices.IndexFunc(reached, func(p progress) bool { return p.size > i+1 })
		if k < 0 {
			b.Fatalf("record %d of %d was not %s", i, len(captured), what)
		}
		took = append(took, reached[k].at.Sub(at))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds(), what+"-p50-s")
	b.ReportMetric(took[len(took)*99/100].Seconds(), what+"-p99-s")
	b.ReportMetric(float64(len(took)), "records")
}
