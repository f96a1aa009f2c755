package peers

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/dirstore"
	"github.com/stelelog/stele/logpipe"
)

// broker is a Kafka in this process; its CPU time is in the figures of all that write to it.
func broker(b *testing.B) (addr string) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "events"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(cluster.Close)
	return cluster.ListenAddrs()[0]
}

// pipe is logpipe as a service would open it.
type pipe struct {
	b *testing.B
	*logpipe.Pipe
	record logpipe.Record
}

func openPipe(b *testing.B, to, compression string) recorder {
	dir := shared(b)
	store, err := dirstore.Open(filepath.Join(dir, "archive"), dirstore.Options{Create: true})
	if err == nil {
		_, err = admin.Init(b.Context(), admin.InitConfig{Store: store, Name: "peers", To: to, Dir: filepath.Join(dir, "roles"), Lock: worm.LockAdvisory})
	}
	if err != nil {
		b.Fatal(err)
	}
	p, err := logpipe.Open(b.Context(), logpipe.Config{Credential: filepath.Join(dir, "roles", "writer", "default.stele"), To: to,
		Compression: compression, SpoolBytes: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return &pipe{b, p, logpipe.Record{Kind: logpipe.Output}}
}

// shared is a directory in memory where the system has one, so that no disk is measured.
func shared(b *testing.B) string {
	dir, err := os.MkdirTemp("/dev/shm", "stele-peers-")
	if err != nil {
		return b.TempDir()
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func openSpool(b *testing.B) recorder { return openPipe(b, "file://"+shared(b), "small") }

func openPipeKafka(b *testing.B) recorder { return pipeKafka(b, "small") }

func openPipeKafkaFast(b *testing.B) recorder { return pipeKafka(b, "fast") }

func pipeKafka(b *testing.B, compression string) recorder {
	to := "kafka://" + broker(b) + "/stele"
	if err := (admin.Topics{URL: to}).Create(b.Context(), 1, 1); err != nil {
		b.Fatal(err)
	}
	return openPipe(b, to, compression)
}

func (p *pipe) capture(e *event) {
	p.record.Time, p.record.Tenant, p.record.Subject, p.record.Session = e.when, e.tenant, e.subject, e.session
	p.record.Attributes, p.record.Body = e.attributes, e.body
	if err := p.Capture(context.Background(), &p.record); err != nil {
		p.b.Fatal(err)
	}
}

func (p *pipe) settle() {
	if err := p.Flush(context.Background()); err != nil {
		p.b.Fatal(err)
	}
}

func (p *pipe) drained() int { return int(p.Stats().Acked) }

// writer is the asynchronous Writer of kafka-go, with batches as large as a frame.
type writer struct {
	b *testing.B
	*kafkago.Writer
	mu   sync.Mutex
	done *sync.Cond
	sent int
	n    int // acknowledged
}

func openKafkaGo(b *testing.B) recorder     { return openWriter(b, 0) }
func openKafkaGoZstd(b *testing.B) recorder { return openWriter(b, kafkago.Zstd) }

func openWriter(b *testing.B, c kafkago.Compression) recorder {
	w := &writer{b: b}
	w.done = sync.NewCond(&w.mu)
	w.Writer = &kafkago.Writer{Addr: kafkago.TCP(broker(b)), Topic: "events", Async: true, Compression: c, RequiredAcks: kafkago.RequireAll,
		BatchSize: 256, BatchBytes: 1 << 20, BatchTimeout: 5 * time.Millisecond, Completion: w.acked}
	b.Cleanup(func() { w.Close() })
	return w
}

func (w *writer) acked(messages []kafkago.Message, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.b.Error(err)
	}
	w.n += len(messages)
	w.done.Broadcast()
}

func (w *writer) capture(e *event) {
	err := w.WriteMessages(context.Background(), kafkago.Message{Key: []byte(e.session), Value: e.body, Time: e.when,
		Headers: []kafkago.Header{{Key: "tenant", Value: []byte(e.tenant)}, {Key: "subject", Value: []byte(e.subject)},
			{Key: "kind", Value: []byte(e.kind)}, {Key: "model", Value: []byte(e.model)}}})
	if err != nil {
		w.b.Fatal(err)
	}
	w.sent++
}

func (w *writer) settle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.n < w.sent {
		w.done.Wait()
	}
}

func (w *writer) drained() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}
