package logpipe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/flock"
	"github.com/stelelog/stele/internal/spool"
)

// inAnOutage opens a pipe whose brokers go away, and captures until its messages go to the spool.
func inAnOutage(t *testing.T, change func(*Config)) (a *archive, p *Pipe, back func(), lane string) {
	t.Helper()
	a, g, cfg := brokerArchive(t)
	cfg.SpoolDir = t.TempDir()
	cfg.Classes = map[string]ClassConfig{"acked": {Durability: Acked}}
	change(&cfg)
	p = mustOpen(t, cfg)
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.Shut(true)
	lane = filepath.Join(cfg.SpoolDir, "lanes", fmt.Sprintf("%x", p.streams[0].id))
	for range 3 {
		if err := p.Capture(t.Context(), &Record{Kind: Input, Body: random(500)}); err != nil {
			t.Fatal(err)
		}
		if err := p.Flush(t.Context()); err != nil { // in the spool
			t.Fatal(err)
		}
	}
	return a, p, func() { g.Shut(false) }, lane
}

// acknowledged waits until the brokers acknowledge a record that is captured now.
func acknowledged(t *testing.T, p *Pipe) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	err := p.Capture(ctx, &Record{Kind: Input, Class: "acked", Body: random(100)})
	for err != nil && ctx.Err() == nil { // of what waited for the lane before
		time.Sleep(100 * time.Millisecond)
		err = p.Capture(ctx, &Record{Kind: Input, Class: "acked", Body: random(100)})
	}
	if err != nil {
		t.Fatalf("the brokers are back, and get nothing: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// A lane that is damaged while its pipe still writes it keeps nothing from the brokers but what lies behind the damage.
func TestOwnLaneIsDamaged(t *testing.T) {
	t.Parallel()
	_, p, back, lane := inAnOutage(t, func(*Config) {})
	f, err := os.OpenFile(filepath.Join(lane, fmt.Sprintf("%s-%020d.log", spool.Frames, 0)), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, 100); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, 100); err != nil {
		t.Fatal(err)
	}
	f.Close()
	back()
	acknowledged(t, p)
	if _, err := os.Stat(lane); err != nil {
		t.Errorf("the damaged lane is gone: %v", err)
	}
}

// A spool that somebody removes in an outage is lost, and no more than that.
func TestSpoolIsRemovedInAnOutage(t *testing.T) {
	t.Parallel()
	_, p, back, lane := inAnOutage(t, func(*Config) {})
	if err := os.RemoveAll(filepath.Dir(filepath.Dir(lane))); err != nil {
		t.Fatal(err)
	}
	if err := p.Capture(t.Context(), &Record{Kind: Input, Body: random(500)}); err != nil {
		t.Fatal(err)
	}
	if err := p.Flush(t.Context()); err == nil {
		t.Error("what nobody can find is called durable")
	}
	back()
	acknowledged(t, p)
}

// A spool that others have filled holds nothing up when the brokers are back.
func TestSpoolFilledByOthers(t *testing.T) {
	t.Parallel()
	_, p, back, lane := inAnOutage(t, func(cfg *Config) { cfg.SpoolBytes, cfg.Linger = 1<<20, 5*time.Millisecond })
	dir, err := spool.Open(filepath.Dir(filepath.Dir(lane)), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := dir.CreateLane([16]byte{9})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	full := func() bool { return p.carry[0].(*kafkaTransport).full.Load() }
	for i := 0; !full(); i++ {
		if err := p.Capture(t.Context(), &Record{Kind: Input, Body: random(2000)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		if i == 50 {
			if _, err := w.Append(spool.Frames, make([]byte, 1<<20)); err != nil {
				t.Fatal(err)
			}
		}
	}
	back()
	acknowledged(t, p)
	if st := p.Stats(); st.Acked != st.Captured || len(st.Lost) > 0 {
		t.Errorf("%+v", st)
	}
}

// A process that is stopped with the lock of the spool keeps no service from starting for longer than it waits, and no figures.
func TestLockOfTheSpoolIsHeld(t *testing.T) {
	t.Parallel()
	_, p, _, lane := inAnOutage(t, func(*Config) {})
	path := filepath.Join(filepath.Dir(filepath.Dir(lane)), "lock")
	lock, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := flock.Wait(lock); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if st := p.Stats(); st.Spooled == 0 || time.Since(start) > 5*time.Second {
		t.Errorf("%d bytes in the spool, after %v", st.Spooled, time.Since(start))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if q, err := Open(ctx, Config{Credential: p.set.Credential, SpoolDir: filepath.Dir(path)}); err == nil {
		t.Error("opened")
		mustClose(t, q)
	} else if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Open took %v: %v", took, err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	p.Close(short)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("Close took %v", took)
	}
}

// What cannot be sent because a lane cannot be read is told, also where it is the very first message.
func TestDrainTellsOfADamagedLane(t *testing.T) {
	t.Parallel()
	_, p, back, lane := inAnOutage(t, func(*Config) {})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	p.Close(ctx)
	log := filepath.Join(lane, fmt.Sprintf("%s-%020d.log", spool.Frames, 0))
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	data[60] ^= 1
	if err := os.WriteFile(log, data, 0o600); err != nil {
		t.Fatal(err)
	}
	back()
	if _, err := DrainSpool(t.Context(), p.set.SpoolDir, p.set.Config); !errors.Is(err, spool.ErrDamaged) {
		t.Errorf("drained with %v", err)
	}
}
