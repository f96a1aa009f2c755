//go:build unix

package logpipe

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/benchtext"
	"github.com/stelelog/stele/internal/kafka"
	"github.com/stelelog/stele/internal/testbed"
)

// fiveAttributes are those of an answer, as a service writes them.
const fiveAttributes = `{"gen_ai.operation.name":"chat","gen_ai.provider.name":"openai","gen_ai.request.model":"m-1",` +
	`"gen_ai.usage.input_tokens":120,"gen_ai.usage.output_tokens":340}`

// benchText is text that is long enough for no block to see any of it twice.
var benchText = sync.OnceValue(func() []byte {
	text := make([]byte, 32<<20)
	benchtext.New(5).Fill(text)
	return text
})

// bodyOf returns the body of record n: no two are alike, and they compress as real answers do.
func bodyOf(text []byte, n int64, size int) []byte {
	at := n * int64(size+13) % int64(len(text)-size)
	return text[at : at+int64(size)]
}

// load is what a benchmark captures.
type load struct {
	size, perScope, callers int
	attributes              string
}

// capture captures records 1 to n.
func (l load) capture(p *Pipe, n int) error {
	text := benchText()
	var next atomic.Int64
	done := make(chan error, l.callers)
	for range l.callers {
		go func() {
			r := Record{Kind: Output, Tenant: "t", Subject: "s", Attributes: []byte(l.attributes)}
			for left := 0; ; left-- {
				i := next.Add(1)
				if i > int64(n) {
					done <- nil
					return
				}
				if left == 0 {
					left, r.Session = l.perScope, fmt.Sprint(i)
				}
				r.Body = bodyOf(text, i, l.size)
				if err := p.Capture(context.Background(), &r); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for range l.callers {
		if err := <-done; err != nil {
			return err
		}
	}
	return nil
}

// run captures b.N records, until all of them have arrived, and reports all CPU of the process for each.
func (l load) run(b *testing.B, p *Pipe) {
	benchText()
	b.SetBytes(int64(l.size))
	b.ReportAllocs()
	before := cpuTime(b)
	b.ResetTimer()
	err := l.capture(p, b.N)
	if err == nil {
		err = p.Close(context.Background())
	}
	b.StopTimer()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/rec")
	if st := p.Stats(); st.Acked != uint64(b.N) || len(st.Lost) > 0 {
		b.Fatalf("%d of %d records have arrived, lost %v", st.Acked, b.N, st.Lost)
	}
}

// BenchmarkCapture measures capture, sealing and framing, drained to a transport that goes nowhere. ns/op is time on the
// wall with all goroutines capturing as fast as they can, so the sealing goroutine bounds it.
func BenchmarkCapture(b *testing.B) {
	for _, packing := range []string{"fast", "small"} {
		for _, size := range []int{1 << 10, 4600, 400 << 10} {
			for _, perScope := range []int{1, 100} {
				for _, callers := range []int{1, 2, 4} {
					b.Run(fmt.Sprintf("%s/body=%d/scope=%d/callers=%d", packing, size, perScope, callers), func(b *testing.B) {
						benchCapture(b, packing, load{size, perScope, callers, ""})
					})
				}
			}
		}
		b.Run(packing+"/body=1024/scope=100/callers=1/attributes=5", func(b *testing.B) {
			benchCapture(b, packing, load{1 << 10, 100, 1, fiveAttributes})
		})
	}
}

func benchCapture(b *testing.B, packing string, l load) {
	_, _, cfg := fileArchive(b)
	cfg.Compression = packing
	cfg.Default = ClassConfig{OnFull: Wait, Wait: time.Minute}
	p, nulls := openNull(b, cfg, nil)
	l.run(b, p)
	records, bytes := uint64(0), uint64(0)
	for _, n := range nulls {
		records += n.records.Load()
		bytes += n.bytes.Load()
	}
	if records != uint64(b.N) {
		b.Fatalf("%d of %d records were drained", records, b.N)
	}
	b.ReportMetric(float64(bytes)/float64(b.N)/float64(l.size), "sealed/raw")
}

// BenchmarkAcked measures the way from capture to the acknowledgement of a real broker, whose own CPU is not in the figure.
func BenchmarkAcked(b *testing.B) {
	broker := testbed.Kafka(b)
	for _, packing := range []string{"fast", "small"} {
		for _, l := range []load{{1 << 10, 100, 1, ""}, {1 << 10, 100, 1, fiveAttributes}, {1 << 10, 1, 1, ""}, {4600, 100, 1, ""}, {400 << 10, 100, 1, ""}} {
			b.Run(fmt.Sprintf("%s/body=%d/scope=%d/attributes=%v", packing, l.size, l.perScope, l.attributes != ""), func(b *testing.B) {
				topic := testbed.Name(b)
				for name, partitions := range map[string]int{topic: 3, topic + grantsSuffix: 1} {
					makeTopic(b, kafka.Config{Brokers: []string{broker.Addr}, Topic: name}, partitions)
				}
				a := newArchive(b, "kafka://"+broker.Addr+"/"+topic)
				l.run(b, mustOpen(b, Config{Credential: a.credential, Compression: packing, Default: ClassConfig{OnFull: Wait, Wait: time.Minute}}))
			})
		}
	}
}

// BenchmarkCaptureCaller measures the caller's path alone: nothing else runs, and memory is there. cpu-ns/rec is the CPU
// that it costs in the mean, best-ns/rec the time on the wall of the thousand that was disturbed least.
func BenchmarkCaptureCaller(b *testing.B) {
	for _, size := range []int{1 << 10, 4600} {
		for _, kind := range []string{"plain", "now", "attributes"} {
			b.Run(fmt.Sprintf("body=%d/%s", size, kind), func(b *testing.B) {
				r := Record{Kind: Output, Tenant: "t", Subject: "s", Session: "1", Time: time.Unix(1_700_000_000, 0).UTC()}
				switch kind {
				case "now":
					r.Time = time.Time{}
				case "attributes":
					r.Attributes = []byte(fiveAttributes)
				}
				benchCaller(b, &r, size)
			})
		}
	}
}

func benchCaller(b *testing.B, r *Record, size int) {
	const some = 1000 // fit into the arenas
	p, drop := stillPipe(b)
	text, spent, best := benchText(), time.Duration(0), math.Inf(1)
	var bodies [some][]byte // made beforehand: a division takes as long here as a tenth of Capture
	for i := range bodies {
		bodies[i] = bodyOf(text, int64(i), size)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += some {
		b.StopTimer()
		drop()
		n := min(some, b.N-done)
		b.StartTimer()
		cpu, start := cpuTime(b), time.Now()
		for i := range n {
			r.Body = bodies[i]
			if err := p.Capture(context.Background(), r); err != nil {
				b.Fatal(err)
			}
		}
		if took := time.Since(start); n == some {
			best = min(best, float64(took)/some)
		}
		spent += cpuTime(b) - cpu
	}
	b.ReportMetric(float64(spent)/float64(b.N), "cpu-ns/rec")
	if !math.IsInf(best, 1) {
		b.ReportMetric(best, "best-ns/rec")
	}
}
