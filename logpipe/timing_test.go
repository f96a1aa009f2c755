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
	"testing/synctest"
	"time"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/spool"
)

// bubble runs f with a pipe that goes nowhere, under a clock that f moves by sleeping.
func bubble(t *testing.T, change func(*Config), f func(t *testing.T, a *archive, p *Pipe, n *nullTransport)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, _, cfg := fileArchive(t)
		if change != nil {
			change(&cfg)
		}
		open := make(chan struct{})
		close(open)
		p, nulls := openNull(t, cfg, open)
		f(t, a, p, nulls[0])
	})
}

func TestARecordIsSealedAfterItsLinger(t *testing.T) {
	bubble(t, nil, func(t *testing.T, a *archive, p *Pipe, n *nullTransport) {
		time.Sleep(time.Second)
		for range 3 {
			if err := p.Capture(context.Background(), &Record{Kind: Input}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(70 * time.Millisecond)
		}
		if got := n.records.Load(); got != 0 {
			t.Errorf("%d records are sealed after 210 ms", got)
		}
		time.Sleep(41 * time.Millisecond)
		synctest.Wait()
		if got := n.records.Load(); got != 3 {
			t.Errorf("%d records are sealed after 251 ms, want 3", got)
		}
		start := time.Now()
		if err := p.Flush(context.Background()); err != nil || time.Since(start) != 0 {
			t.Errorf("Flush: %v after %v", err, time.Since(start))
		}
		mustClose(t, p)
	})
}

func TestWhoWaitsForDurabilityWaits5Milliseconds(t *testing.T) {
	change := func(c *Config) { c.Default.Durability = Acked }
	bubble(t, change, func(t *testing.T, a *archive, p *Pipe, n *nullTransport) {
		time.Sleep(time.Second)
		for range 3 {
			start := time.Now()
			if err := p.Capture(context.Background(), &Record{Kind: Input}); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d != urgentLinger {
				t.Errorf("took %v", d)
			}
		}
		mustClose(t, p)
	})
}

func TestScopesAge(t *testing.T) {
	bubble(t, func(c *Config) { c.Beat = time.Hour }, func(t *testing.T, a *archive, p *Pipe, n *nullTransport) {
		time.Sleep(23 * time.Hour) // so that a day ends within the two hours that follow
		const minutes = 120
		for range minutes {
			for _, r := range []Record{{Session: "s"}, {Subject: "s"}, {Tenant: "t"}, {Session: "s", Class: "state"}} {
				r.Kind = State
				if err := p.Capture(context.Background(), &r); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
		}
		mustClose(t, p)
		scopes := map[string]map[[16]byte]bool{}
		for _, l := range n.open(t, a).records() {
			name := strings.Join([]string{l.tenant, l.subject, l.session, l.Class}, "/")
			if scopes[name] == nil {
				scopes[name] = map[[16]byte]bool{}
			}
			scopes[name][l.Scope] = true
		}
		for name, want := range map[string]int{"//s/default": 2, "/s//default": 2, "t///default": 24, "//s/state": 2} {
			if got := len(scopes[name]); got != want {
				t.Errorf("%s: %d scopes in two hours, want %d", name, got, want)
			}
		}
		day := time.Now().Unix() / 86400
		for id := range scopes["//s/state"] {
			if got := int64(id[0])<<8 | int64(id[1]); got != day+30 && got != day+29 {
				t.Errorf("a scope of a class of 30 days is of day %d, today is %d", got, day)
			}
		}
	})
}

func TestBeatsAndCountsComeInTime(t *testing.T) {
	change := func(c *Config) { c.Sample = func(*Record) bool { return false } }
	bubble(t, change, func(t *testing.T, a *archive, p *Pipe, n *nullTransport) {
		c := p.Begin(context.Background(), Record{})
		c.Input(context.Background(), Record{Body: []byte("x")})
		c.End(context.Background(), nil)
		time.Sleep(61 * time.Second)
		synctest.Wait()
		o := n.open(t, a)
		if o.beats != 7 {
			t.Errorf("%d beats in 61 s, want 7", o.beats)
		}
		if last := o.leaves[len(o.leaves)-1]; last.Type != record.Sampled {
			t.Errorf("the last leaf is %v, want the minute's count", last.Type)
		}
		mustClose(t, p)
	})
}

// A disk that fails ends the lane. What it had not synced goes into the next one, and nothing is lost.
func TestFaultOfTheDisk(t *testing.T) {
	t.Parallel()
	a, path, cfg := fileArchive(t)
	cfg.Classes = map[string]ClassConfig{"acked": {Durability: Acked}}
	p := mustOpen(t, cfg)
	var taken int
	capture := func(class string) error {
		taken++
		return p.Capture(t.Context(), &Record{Kind: Input, Session: "s", Class: class, CallerID: fmt.Sprint(taken - 1)})
	}
	for range 10 {
		if err := capture("acked"); err != nil {
			t.Fatal(err)
		}
	}
	p.carry[0].(*fileTransport).lane.Close() // from now on it takes nothing
	dir, err := spool.Open(path, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := capture("acked"); err == nil { // a beat may have met the fault before it, and opened the next lane
		if lanes, err := dir.Lanes(); err != nil || len(lanes) != 2 {
			t.Errorf("a Capture was acknowledged by a lane that takes nothing; there are %d lanes (%v)", len(lanes), err)
		}
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, p)
	lanes, err := dir.Lanes()
	if err != nil || len(lanes) != 2 {
		t.Fatalf("%d lanes (%v), want 2", len(lanes), err)
	}
	id := p.streams[0].id
	messages := readLane(t, dir, id)
	for _, l := range lanes {
		if l.ID == id {
			continue
		}
		for _, m := range readLane(t, dir, l.ID) {
			if !holds(messages, m) {
				messages = append(messages, m)
			}
		}
	}
	o, err := a.open(messages)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range o.records() {
		if l.caller != fmt.Sprint(i) {
			t.Fatalf("record %d is %s", i, l.caller)
		}
	}
	if len(o.records()) != taken || !o.closed() {
		t.Errorf("%d of %d records, closed %v", len(o.records()), taken, o.closed())
	}
}

func holds(messages []message, m message) bool {
	for _, other := range messages {
		if bytes.Equal(other.data, m.data) {
			return true
		}
	}
	return false
}

// A class may wait on a disk that never takes its record; the caller's context ends that.
func TestSpoolThatIsGone(t *testing.T) {
	t.Parallel()
	_, path, cfg := fileArchive(t)
	cfg.Default.Durability = Spooled
	cfg.StateDir = t.TempDir()
	p := mustOpen(t, cfg)
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.carry[0].(*fileTransport).lane.Close()
	if err := os.Rename(filepath.Join(path, "lanes"), filepath.Join(path, "gone")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.Capture(ctx, &Record{Kind: Input}); err == nil || strings.Contains(err.Error(), "deadline") {
		t.Errorf("Capture: %v, want what the disk says", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Close(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close: %v", err)
	}
}
