package logpipe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/kafka"
	"github.com/stelelog/stele/internal/spool"
	"github.com/stelelog/stele/internal/testbed"
)

// brokerArchive starts a cluster with the topics of an archive.
func brokerArchive(t *testing.T, opts ...kfake.Opt) (*archive, *testbed.Gate, Config) {
	t.Helper()
	g := new(testbed.Gate)
	opts = append(opts, kfake.NumBrokers(1), kfake.SeedTopics(3, "frames"), kfake.SeedTopics(1, "frames.grants"), kfake.ListenFn(g.Listen))
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	a := newArchive(t, "kafka://"+cluster.ListenAddrs()[0]+"/frames")
	return a, g, Config{Credential: a.credential}
}

// topics reads everything that brokers hold, by stream, the grants of each stream before its frames. Copies of a frame
// that came before are left out, as the archive does.
func (a *archive) topics(t *testing.T) map[[16]byte]*opened {
	t.Helper()
	streams := map[[16]byte][]message{}
	for _, kind := range []spool.Kind{spool.Grants, spool.Frames} {
		cfg, err := kafka.ParseURL(a.writer.To)
		if err != nil {
			t.Fatal(err)
		}
		if kind == spool.Grants {
			cfg.Topic += grantsSuffix
		}
		c, err := kafka.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ends, err := c.EndOffsets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for p, end := range ends {
			for from := int64(0); from < end; {
				b, err := c.Fetch(t.Context(), p, from, 4<<20, time.Second)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range b.Messages {
					sortInto(t, streams, kind, p, bytes.Clone(m.Value))
				}
				from = b.Next
			}
		}
		c.Close()
	}
	out := map[[16]byte]*opened{}
	for id, messages := range streams {
		o, err := a.open(messages)
		if err != nil {
			t.Fatalf("stream %x: %v", id, err)
		}
		out[id] = o
	}
	return out
}

// sortInto sorts a message to its stream.
func sortInto(t *testing.T, streams map[[16]byte][]message, kind spool.Kind, partition int, data []byte) {
	t.Helper()
	id := [16]byte{}
	if kind == spool.Grants {
		copy(id[:], data[24:])
	} else if b, err := frame.ParseBeat(data); err == nil {
		id = b.Stream
	} else {
		h, err := frame.ParseHeader(data)
		if err != nil || int(h.Partition) != partition {
			t.Fatalf("partition %d holds what is no frame of it: %v", partition, err)
		}
		id = h.Stream
		for _, m := range streams[id] {
			if bytes.Equal(m.data, data) {
				return
			}
		}
	}
	streams[id] = append(streams[id], message{kind, data})
}

func one(t *testing.T, streams map[[16]byte]*opened) *opened {
	t.Helper()
	if len(streams) != 1 {
		t.Fatalf("%d streams, want 1", len(streams))
	}
	for _, o := range streams {
		return o
	}
	return nil
}

func TestKafka(t *testing.T) {
	t.Parallel()
	a, _, cfg := brokerArchive(t)
	cfg.Classes = map[string]ClassConfig{"acked": {Durability: Acked}}
	p := mustOpen(t, cfg)
	for i := range 200 {
		if err := p.Capture(t.Context(), &Record{Kind: Input, Session: fmt.Sprint(i % 7), CallerID: fmt.Sprint(i), Body: prose(i * 50)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Capture(t.Context(), &Record{Kind: Input, Class: "acked", CallerID: "200", Session: "x"}); err != nil {
		t.Fatal(err)
	}
	acked := one(t, a.topics(t))
	found := false
	for _, l := range acked.records() {
		found = found || l.caller == "200"
	}
	if !found {
		t.Error("an acknowledged record is not in the topic")
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := p.Stats(); st.Acked != 201 || st.Spooled != 0 || st.Linked {
		t.Errorf("stats: %+v", st)
	}
	if n := len(one(t, a.topics(t)).records()); n != 201 {
		t.Errorf("%d records after Flush, want 201", n)
	}
	mustClose(t, p)
	if !one(t, a.topics(t)).closed() {
		t.Error("the stream is not closed")
	}
}

// outage captures at a steady rate while the brokers are away for a time. longest is the longest Capture, less what the
// machine kept a goroutine waiting that only slept.
func outage(t *testing.T, p *Pipe, g *testbed.Gate, class string, away time.Duration) (captured int, longest time.Duration) {
	t.Helper()
	down, up := time.Now().Add(300*time.Millisecond), time.Now().Add(300*time.Millisecond+away)
	stop := up.Add(300 * time.Millisecond)
	state := 0
	var machine time.Duration
	for now := time.Now(); now.Before(stop); now = time.Now() {
		if state == 0 && now.After(down) {
			g.Shut(true)
			state = 1
		} else if state == 1 && now.After(up) {
			g.Shut(false)
			state = 2
		}
		r := Record{Kind: Input, Class: class, Session: fmt.Sprint(captured % 5), CallerID: fmt.Sprint(captured), Body: prose(1000)}
		start := time.Now()
		if err := p.Capture(t.Context(), &r); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, time.Since(start))
		captured++
		start = time.Now()
		time.Sleep(time.Millisecond)
		machine = max(machine, time.Since(start)-time.Millisecond)
	}
	return captured, longest - machine
}

func TestOutage(t *testing.T) {
	t.Parallel()
	for name, withSpool := range map[string]bool{"memory": false, "spool": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, g, cfg := brokerArchive(t)
			if withSpool {
				cfg.SpoolDir = t.TempDir()
			}
			p := mustOpen(t, cfg)
			captured, longest := outage(t, p, g, "", 3*time.Second)
			if limit := defaultWait + 200*time.Millisecond; longest > limit {
				t.Errorf("the longest Capture took %v", longest)
			}
			if err := p.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustClose(t, p)
			checkOutage(t, a, captured)
			if !withSpool {
				return
			}
			if st := p.Stats(); st.Acked != uint64(captured) {
				t.Errorf("%d of %d acknowledged", st.Acked, captured)
			}
			if left, _ := filepath.Glob(filepath.Join(cfg.SpoolDir, "lanes", "*")); len(left) != 0 {
				t.Errorf("left in the spool after all was acknowledged: %v", left)
			}
		})
	}
}

func checkOutage(t *testing.T, a *archive, captured int) {
	t.Helper()
	o := one(t, a.topics(t))
	last := map[string]int{}
	for _, l := range o.records() {
		var i int
		fmt.Sscan(l.caller, &i)
		if before, ok := last[l.session]; ok && i <= before {
			t.Fatalf("session %s: %d after %d", l.session, i, before)
		}
		last[l.session] = i
	}
	if len(o.records()) != captured || o.lost(t) != 0 || !o.closed() {
		t.Errorf("%d of %d records, %d lost, closed %v", len(o.records()), captured, o.lost(t), o.closed())
	}
}

// With durability Spooled a Capture returns during an outage, and what it acknowledged is in the lane.
func TestSpooledDuringAnOutage(t *testing.T) {
	t.Parallel()
	a, g, cfg := brokerArchive(t)
	cfg.SpoolDir = t.TempDir()
	cfg.Default.Durability = Spooled
	p := mustOpen(t, cfg)
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.Shut(true)
	for i := range 5 {
		if err := p.Capture(t.Context(), &Record{Kind: Input, Session: "s", CallerID: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if st := p.Stats(); st.Spooled == 0 || st.Acked != 0 {
		t.Errorf("stats in the outage: %+v", st)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // so long it tries the brokers; the disk may be slow
	defer cancel()
	if err := p.Close(ctx); err != nil {
		t.Errorf("Close with everything in the spool: %v", err)
	}
	g.Shut(false)
	if n := len(a.spooled(t, cfg.SpoolDir)); n != 1 {
		t.Fatalf("%d lanes, want 1", n)
	}

	// The successor sends what its predecessor left, and links to it.
	q := mustOpen(t, cfg)
	if err := q.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		lanes, _ := filepath.Glob(filepath.Join(cfg.SpoolDir, "lanes", "*"))
		return len(lanes) <= 1
	})
	mustClose(t, q)
	streams := a.topics(t)
	if len(streams) != 2 {
		t.Fatalf("%d streams, want 2", len(streams))
	}
	for _, o := range streams {
		if prev := o.cert.Prev.Stream; prev != ([16]byte{}) && len(streams[prev].records()) != 5 {
			t.Errorf("%d of 5 records of the predecessor arrived", len(streams[prev].records()))
		}
		if !o.closed() {
			t.Error("a stream is not closed")
		}
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatal("waited in vain")
}

func TestStartWithoutBrokers(t *testing.T) {
	t.Parallel()
	a, g, cfg := brokerArchive(t)
	g.Shut(true)
	start := time.Now()
	p := mustOpen(t, cfg)
	if d := time.Since(start); d > signTime+6*time.Second {
		t.Errorf("Open took %v without any sign of life", d)
	}
	if err := p.Capture(t.Context(), &Record{Kind: Input}); err != nil {
		t.Fatal(err)
	}
	g.Shut(false)
	mustClose(t, p)
	if n := len(one(t, a.topics(t)).records()); n != 1 {
		t.Errorf("%d records, want 1", n)
	}
}

func TestCloseInAnOutageWithoutASpool(t *testing.T) {
	t.Parallel()
	_, g, cfg := brokerArchive(t)
	p := mustOpen(t, cfg)
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.Shut(true)
	if err := p.Capture(t.Context(), &Record{Kind: Input}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "not acknowledged") {
		t.Errorf("Close: %v", err)
	}
}

func TestDrainSpool(t *testing.T) {
	t.Parallel()
	a, g, cfg := brokerArchive(t)
	cfg.SpoolDir = t.TempDir()
	for range 2 {
		p := mustOpen(t, cfg)
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.Shut(true)
		for range 3 {
			if err := p.Capture(t.Context(), &Record{Kind: Input, Session: "s", Body: prose(1000)}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		p.Close(ctx)
		cancel()
		g.Shut(false)
		os.RemoveAll(filepath.Join(cfg.SpoolDir, "state"))
		if p.Stats().Spooled == 0 {
			t.Error("nothing is in the spool")
		}
		cfg.SpoolDir, cfg.StateDir = cfg.SpoolDir+"/", t.TempDir()
		sent, err := DrainSpool(t.Context(), cfg.SpoolDir, cfg)
		if err != nil || sent == 0 {
			t.Fatalf("%d messages: %v", sent, err)
		}
		if left := a.spooled(t, cfg.SpoolDir); len(left) != 0 {
			t.Errorf("%d lanes are left", len(left))
		}
	}
	for id, o := range a.topics(t) {
		if len(o.records()) != 3 || !o.closed() {
			t.Errorf("stream %x: %d records, closed %v", id, len(o.records()), o.closed())
		}
	}
	if _, err := DrainSpool(t.Context(), t.TempDir()+"/nothing", cfg); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a spool that does not exist: %v", err)
	}
}

func TestOpenChecksTheTopics(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*archive)
		want   string
	}{
		"partitions": {func(a *archive) { a.writer.Partitions = 4 }, "has 3 partitions, the credential says 4"},
		"no topic":   {func(a *archive) { a.writer.To += "x" }, "stele topics create"},
	} {
		a, _, _ := brokerArchive(t)
		c.change(a)
		a.save(t)
		_, err := Open(t.Context(), Config{Credential: a.credential})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error that says %q", name, err, c.want)
		}
	}
}

func TestRefusalIsTold(t *testing.T) {
	t.Parallel()
	_, _, cfg := brokerArchive(t)
	cfg.Default.Durability = Acked
	p, err := open(t.Context(), cfg, func(p *Pipe, s *stream) (transport, error) {
		b := &brokers{frames: refusing{}, grants: refusing{}}
		return newKafkaTransport(s, b, nil, nil), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Capture(t.Context(), &Record{Kind: Input})
	if !errors.Is(err, kafka.ErrDenied) {
		t.Errorf("Capture: %v, want what the brokers say", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	p.Close(ctx)
}

type refusing struct{}

func (refusing) Produce(context.Context, int, [][]byte) (int64, error) { return -1, kafka.ErrDenied }
