package peers

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// burst is how many records are captured in a row before the peer may catch up. The queue of every peer holds as many,
// so that a call is never measured waiting for room, and none drops.
const burst = 8192

// some is how many calls are timed together, because reading the clock costs as much as one.
const some = 16

// peer is something that takes records.
type peer struct {
	name string
	open func(*testing.B) recorder
}

// recorder captures records one by one. settle waits until all of them have come out at the far end; drained says how
// many did.
type recorder interface {
	capture(e *event)
	settle()
	drained() int
}

// event is a record: a body of 1 KiB, which is JSON, and what is known about it, each in the form that a peer likes best.
type event struct {
	when                           time.Time
	tenant, subject, session, kind string
	model                          string
	body                           []byte
	text                           string // the body again
	attributes                     []byte // the model, for logpipe
}

// events makes records that differ, so that compressors have their work, with 100 in each session.
func events() []event {
	words := strings.Fields("the stele was set up so that what is written on it stays nobody can change and anybody may read a record of when where who asked answer model proof tree leaf hash key")
	rng := rand.New(rand.NewPCG(1, 2))
	out := make([]event, 4096)
	for i := range out {
		e := &out[i]
		*e = event{when: time.Unix(1_700_000_000, 0).UTC(), tenant: "acme", kind: "output", model: "gpt-1",
			attributes: []byte(`{"gen_ai.request.model":"gpt-1"}`)}
		e.subject, e.session = fmt.Sprintf("user-%d", i/100%17), fmt.Sprintf("c-%06d", i/100)
		content := []byte(`{"role":"assistant","content":"`)
		for len(content) < 1024 {
			content = append(append(content, words[rng.IntN(len(words))]...), ' ', byte('a'+rng.IntN(26)))
		}
		e.body = append(content[:1022], `"}`...)
		e.text = string(e.body)
	}
	return out
}

// BenchmarkPeers prints for a record: caller-ns, the mean time of the call while there is room, and caller-p50-ns, the median
// of some calls together, which leaves out when the caller had to share its core; cpu-ns, all CPU time of the
// process until the record has come out at the far end; allocs, of the whole process too. Nothing may be lost.
func BenchmarkPeers(b *testing.B) {
	for _, p := range peers() {
		b.Run(p.name, func(b *testing.B) { measure(b, p) })
	}
}

func peers() []peer {
	return []peer{
		{"logpipe/spool", openSpool},
		{"logpipe/kafka", openPipeKafka},
		{"logpipe-fast/kafka", openPipeKafkaFast},
		{"zerolog-raw", openZerolog},
		{"zap", openZap},
		{"slog", openSlog},
		{"otel", openOtel},
		{"kafka-go", openKafkaGo},
		{"kafka-go-zstd", openKafkaGoZstd},
	}
}

func measure(b *testing.B, p peer) {
	r, all := p.open(b), events()
	for i := range burst { // warm: pools, connections, the first buffers
		r.capture(&all[i%len(all)])
	}
	r.settle()
	before := r.drained()
	if before != burst {
		b.Fatalf("%d of %d records came out", before, burst)
	}
	var m0, m1 runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m0)
	cpu := cpuTime(b)
	var caller time.Duration
	took := make([]time.Duration, 0, b.N/some+1)
	b.ResetTimer()
	for left := b.N; left > 0; left -= burst {
		start := time.Now()
		for i := range min(left, burst) {
			r.capture(&all[i%len(all)])
			if i%some == some-1 {
				now := time.Now()
				took = append(took, now.Sub(start))
				caller, start = caller+now.Sub(start), now
			}
		}
		caller += time.Since(start)
		r.settle()
	}
	b.StopTimer()
	cpu = cpuTime(b) - cpu
	runtime.ReadMemStats(&m1)
	if got := r.drained() - before; got != b.N {
		b.Fatalf("captured %d, %d came out", b.N, got)
	}
	n := float64(b.N)
	slices.Sort(took)
	b.ReportMetric(float64(caller.Nanoseconds())/n, "caller-ns")
	if len(took) > 0 {
		b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/some, "caller-p50-ns")
	}
	b.ReportMetric(float64(cpu.Nanoseconds())/n, "cpu-ns")
	b.ReportMetric(float64(m1.Mallocs-m0.Mallocs)/n, "allocs/record")
	b.ReportMetric(0, "ns/op")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
