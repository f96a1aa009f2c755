package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/logpipe"
)

const (
	outageRate = 5000 // records a second
	outageWait = 100 * time.Millisecond
	callers    = 8
)

// TestBrokerOutage stops the only broker while a service captures at a steady rate.
func TestBrokerOutage(t *testing.T) {
	before, outage, after := 2*time.Second, 8*time.Second, 2*time.Second // and what the broker takes to come back
	if testbed.Long() {
		before, outage, after = 5*time.Second, 30*time.Second, 10*time.Second
	}
	broker := testbed.Kafka(t, testbed.Dedicated())
	const partitions = 3
	s := newSite(t, fileURL(t, "archive"), "kafka://"+broker.Addr+"/"+testbed.Name(t), nil)
	pipe := s.service(partitions, logpipe.Config{SpoolDir: filepath.Join(s.dir, "spool"),
		Default: logpipe.ClassConfig{OnFull: logpipe.Spill, Wait: outageWait}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	var machine time.Duration // how long it kept a goroutine waiting that asked for nothing but a moment of CPU
	all.Go(func() { machine = oversleep(ctx) })
	callersOf := make([]caller, callers)
	for i := range callersOf {
		c := &callersOf[i]
		c.name = fmt.Sprintf("session-%d", i)
		all.Go(func() { c.capture(ctx, pipe) })
	}

	time.Sleep(before)
	if err := broker.Stop(); err != nil {
		t.Fatal(err)
	}
	down := time.Now()
	time.Sleep(outage)
	spooled := pipe.Stats().Spooled
	if err := broker.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(down)
	time.Sleep(after)
	cancel()
	all.Wait()
	flushing := time.Now()
	last, done := context.WithTimeout(t.Context(), 2*time.Minute)
	defer done()
	if err := pipe.Flush(last); err != nil {
		t.Errorf("flush after the outage: %v", err)
	}
	eventually(t, "the spool drained", time.Minute, func() bool { return pipe.Stats().Spooled == 0 })
	drained := time.Since(flushing)
	stats := pipe.Stats()
	s.close(pipe)

	var longest time.Duration
	sent := 0
	for i := range callersOf {
		c := &callersOf[i]
		longest, sent = max(longest, c.longest), sent+c.sent
		if c.err != nil {
			t.Errorf("%s: %v", c.name, c.err)
		}
	}
	if spooled == 0 || sent < outageRate*int((before+outage+after)/time.Second)/2 {
		t.Errorf("%d records, %d bytes spooled: this was no outage under load", sent, spooled)
	}
	// A machine that is busy with other things delays everybody, and no more than that is forgiven.
	if longest > outageWait+5*time.Millisecond+machine {
		t.Errorf("the longest Capture took %v, its wait is %v, and the machine's own delay %v", longest, outageWait, machine)
	}
	s.compactOnce()
	r := s.verify(0, "--unlock")
	if r.Records != uint64(sent) || len(stats.Lost) > 0 {
		t.Errorf("%d records captured, %d in the archive, declared lost %v", sent, r.Records, stats.Lost)
	}
	checkOrder(t, s, callersOf)
	t.Logf("%d records, broker away %v, %d bytes spooled at its end, %d calls waited, longest Capture %v (the machine's own delay: %v), "+
		"drained %v after the last", sent, took.Round(time.Millisecond), spooled, stats.Waits, longest, machine, drained.Round(time.Millisecond))
}

// oversleep returns by how much the longest of many short sleeps was too long.
func oversleep(ctx context.Context) (longest time.Duration) {
	const nap = time.Millisecond
	for ctx.Err() == nil {
		at := time.Now()
		time.Sleep(nap)
		longest = max(longest, time.Since(at)-nap)
	}
	return longest
}

// caller captures records of one session at a steady rate.
type caller struct {
	name    string
	sent    int
	longest time.Duration
	err     error
}

func (c *caller) capture(ctx context.Context, pipe *logpipe.Pipe) {
	const tick = 4 * time.Millisecond
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	begun := time.Now()
	body := bytes.Repeat([]byte("state "), 50)
	for c.err == nil {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		for due := int(time.Since(begun).Seconds() * outageRate / callers); c.sent < due && c.err == nil; c.sent++ {
			r := logpipe.Record{Kind: logpipe.State, Session: c.name, CallerID: fmt.Sprintf("%s/%d", c.name, c.sent), Body: body}
			at := time.Now()
			c.err = pipe.Capture(ctx, &r)
			c.longest = max(c.longest, time.Since(at))
		}
	}
}

// checkOrder wants each session complete and in order, and each stream in the order of its sequence: nothing that was
// captured live overtook what lay in the spool.
func checkOrder(t *testing.T, s *site, sent []caller) {
	t.Helper()
	stdout, stderr, code := s.stele("search", "--limit", "0", "--json")
	var answer struct {
		Found []struct {
			Log, Stream string
			Index, Seq  uint64
			Event       struct{ ID, Session string }
		}
	}
	if err := json.Unmarshal([]byte(stdout), &answer); code != 0 || err != nil {
		t.Fatalf("stele search: exit code %d, %v\n%s", code, err, stderr)
	}
	type place struct{ index, seq uint64 }
	last, got := map[string]place{}, map[string]int{}
	for _, f := range answer.Found {
		if want := fmt.Sprintf("%s/%d", f.Event.Session, got[f.Event.Session]); f.Event.ID != want {
			t.Fatalf("found %s where %s was due", f.Event.ID, want)
		}
		got[f.Event.Session]++
		if p, ok := last[f.Stream]; ok && (f.Seq <= p.seq || f.Index <= p.index) {
			t.Fatalf("stream %s: seq %d at leaf %d comes after seq %d at leaf %d", f.Stream, f.Seq, f.Index, p.seq, p.index)
		}
		last[f.Stream] = place{f.Index, f.Seq}
	}
	for _, c := range sent {
		if got[c.name] != c.sent {
			t.Errorf("%s: %d records captured, %d in the archive", c.name, c.sent, got[c.name])
		}
	}
}
