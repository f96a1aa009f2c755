package peers

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/benchtext"
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

// source makes records of which no two are alike and which compress as real answers do, 100 in each session.
type source struct {
	text *benchtext.Text
	made int
	all  [burst]event
}

func newSource() *source { return &source{text: benchtext.New(9)} }

// next makes the next burst. The one before is no longer valid.
func (s *source) next() []event {
	for i := range s.all {
		e := &s.all[i]
		if e.body == nil {
			*e = event{when: time.Unix(1_700_000_000, 0).UTC(), tenant: "acme", kind: "output", model: "gpt-1",
				attributes: []byte(`{"gen_ai.request.model":"gpt-1"}`), body: []byte(`{"role":"assistant","content":"` + strings.Repeat(" ", 1024-33) + `"}`)}
		}
		e.subject, e.session = fmt.Sprintf("user-%d", s.made/100%17), fmt.Sprintf("c-%06d", s.made/100)
		content := e.body[31:1022]
		s.text.Fill(content)
		for i, c := range content {
			if c < ' ' { // a line end has to be escaped in JSON
				content[i] = ' '
			}
		}
		e.text = string(e.body)
		s.made++
	}
	return s.all[:]
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
	r, from := p.open(b), newSource()
	for _, e := range from.next() { // warm: pools, connections, the first buffers
		r.capture(&e)
	}
	r.settle()
	before := r.drained()
	if before != burst {
		b.Fatalf("%d of %d records came out", before, burst)
	}
	var caller, cpu time.Duration
	var allocs uint64
	took := make([]time.Duration, 0, b.N/some+1)
	b.ResetTimer()
	for left := b.N; left > 0; left -= burst {
		all := from.next()[:min(left, burst)]
		var m0, m1 runtime.MemStats
		runtime.ReadMemStats(&m0)
		used := cpuTime(b)
		start := time.Now()
		for i := range all {
			r.capture(&all[i])
			if i%some == some-1 {
				now := time.Now()
				took = append(took, now.Sub(start))
				caller, start = caller+now.Sub(start), now
			}
		}
		caller += time.Since(start)
		r.settle()
		cpu += cpuTime(b) - used
		runtime.ReadMemStats(&m1)
		allocs += m1.Mallocs - m0.Mallocs
	}
	b.StopTimer()
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
	b.ReportMetric(float64(allocs)/n, "allocs/record")
	b.ReportMetric(0, "ns/op")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
