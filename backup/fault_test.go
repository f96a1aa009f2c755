package backup_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/keyscope"
)

// faultyArchive is an archive with two commits, and a spool with what makes the next three.
func faultyArchive(t *testing.T) (*testArchive, *keys.Service, []testRecord) {
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	records := some(12)
	s.send(records[:2]...)
	a.once(keys)
	s.send(records[2:4]...)
	a.once(keys)
	for i := 4; i < 12; i += 2 {
		s.send(records[i : i+2]...)
	}
	s.close()
	return a, keys, records
}

// TestEveryStoreCallFails fails each call of a compaction in turn, in each way: not done, done but reported failed, and
// the process dies before or after it. A fresh compactor goes on.
func TestEveryStoreCallFails(t *testing.T) {
	built, _, records := faultyArchive(t)
	a := built.clone(t)
	keys := a.keys()
	counted := &storetest.Faulty{Store: a.store}
	var made atomic.Int64
	counted.Before = func(storetest.Call) { made.Add(1) }
	if _, err := a.compact(t.Context(), keys, counted, segmentsOf(1500)); err != nil {
		t.Fatal(err)
	}
	a.intact(keys, records)
	if n := len(a.commits()); n < 4 {
		t.Fatalf("%d commits: the matrix would miss something", n)
	}
	calls := int(made.Load())
	var g errgroup.Group
	g.SetLimit(4)
	for n := 1; n <= calls; n++ {
		for i, way := range []string{"lost", "reply lost", "dies before", "dies after"} {
			if racing && n%4 != i {
				continue
			}
			g.Go(func() error {
				t.Run(fmt.Sprintf("call %d %s", n, way), func(t *testing.T) { failCall(built.clone(t), records, n, way) })
				return nil
			})
		}
	}
	g.Wait()
	t.Logf("%d calls", calls)
}

func failCall(a *testArchive, records []testRecord, n int, way string) {
	keys := a.keys()
	ctx, cancel := context.WithCancel(a.t.Context())
	defer cancel()
	a.compact(ctx, nil, failing(a.store, n, way, cancel), segmentsOf(1500)) // it may fail, or get over it
	a.once(keys)
	a.intact(keys, records)
}

// failing is a store whose call n fails in a way: the process of a compaction that dies is one that is cancelled.
func failing(store worm.Store, n int, way string, cancel func()) *storetest.Faulty {
	f := &storetest.Faulty{Store: store}
	switch way {
	case "lost", "reply lost":
		fault := storetest.Lost
		if way == "reply lost" {
			fault = storetest.ReplyLost
		}
		f.Script = func(c storetest.Call) storetest.Fault {
			if c.N == n {
				return fault
			}
			return storetest.None
		}
	case "dies before":
		f.Before = func(c storetest.Call) {
			if c.N >= n {
				cancel()
			}
		}
		f.Script = func(c storetest.Call) storetest.Fault {
			if c.N >= n {
				return storetest.Lost
			}
			return storetest.None
		}
	case "dies after":
		f.After = func(c storetest.Call) {
			if c.N >= n {
				cancel()
			}
		}
		f.Script = func(c storetest.Call) storetest.Fault {
			if c.N > n {
				return storetest.Lost
			}
			return storetest.None
		}
	}
	return f
}

// TestVerifyOfAStoreThatFails: an unreadable store is no damaged archive, and no sound one.
func TestVerifyOfAStoreThatFails(t *testing.T) {
	a, store, _, _ := built(t)
	verify := func(s worm.Store) (*Report, error) {
		ar, err := OpenArchive(t.Context(), s, a.trust())
		if err != nil {
			return nil, err
		}
		return ar.Verify(t.Context(), VerifyOptions{})
	}
	calls := 0
	if _, err := verify(&storetest.Faulty{Store: store, Before: func(storetest.Call) { calls++ }}); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= calls; n++ {
		var at storetest.Call
		r, err := verify(&storetest.Faulty{Store: store, Script: func(c storetest.Call) storetest.Fault {
			if c.N == n {
				at = c
				return storetest.Lost
			}
			return storetest.None
		}})
		if err == nil && r.ExitCode("integrity") != 0 {
			t.Errorf("%v failed: the report says %v", at, r.Faults)
		}
		if err == nil && r.Leaves != 32 && at.Op != "ReadLock" {
			t.Errorf("%v failed: the report is of %d leaves", at, r.Leaves)
		}
	}
}

func TestCompactorsRace(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	records := some(240)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var running []*compact.Compactor
	for _, size := range []int64{1500, 4000, 9000} {
		cfg := compact.Config{Store: a.store, Trust: a.trust(), Identity: a.file("compactor", "compactor.stele"), From: a.url(),
			SegmentBytes: size, SegmentAge: 20 * time.Millisecond, HeadsEvery: 20 * time.Millisecond}
		c, err := compact.Open(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		running = append(running, c)
		wg.Go(func() { c.Run(ctx) })
	}
	var streams []*testStream
	for range 3 {
		streams = append(streams, a.stream(keyscope.Link{}))
	}
	for i := range 40 {
		for j, s := range streams {
			s.send(records[80*j+2*i : 80*j+2*i+2]...)
		}
		time.Sleep(5 * time.Millisecond)
	}
	for _, s := range streams {
		s.close()
		s.lane.Close()
	}
	deadline := time.Now().Add(20 * time.Second)
	for a.verify(VerifyOptions{}).Leaves != 246 && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	cancel()
	wg.Wait()
	a.once(keys)
	report := a.verify(VerifyOptions{Reader: a.reader(keys)})
	wantExit(t, report, 0, "integrity", "completeness", "readability")
	if report.Leaves != 246 || report.Opened != 240 {
		t.Errorf("%d leaves, %d opened; want 246 and 240", report.Leaves, report.Opened)
	}
	if len(report.Notices) > 0 {
		t.Errorf("honest compactors left traces: %v", report.Notices)
	}
	lost, won := uint64(0), uint64(0)
	for _, c := range running {
		lost, won = lost+c.Stats().Lost, won+c.Stats().Commits
	}
	t.Logf("%d commits, %d lost races", won, lost)
}

// TestZombie holds a compactor at a chosen moment until another has gone on, then lets it go.
func TestZombie(t *testing.T) {
	for i, where := range []string{"objects/", "commits/", "control/log/"} {
		for _, before := range []bool{true, false} {
			if racing && before == (i%2 == 0) {
				continue
			}
			t.Run(fmt.Sprintf("%s before %v", where, before), func(t *testing.T) {
				a, keys, records := faultyArchive(t)
				asleep, wake := make(chan bool), make(chan bool)
				var once sync.Once
				sleep := func(c storetest.Call) {
					if c.Op == "Create" && strings.Contains(c.Key, where) {
						once.Do(func() { close(asleep); <-wake })
					}
				}
				f := &storetest.Faulty{Store: a.store}
				if before {
					f.Before = sleep
				} else {
					f.After = sleep
				}
				done := make(chan error)
				go func() {
					_, err := a.compact(t.Context(), nil, f, segmentsOf(1500))
					done <- err
				}()
				<-asleep
				if _, err := a.compact(t.Context(), keys, a.store, segmentsOf(2500)); err != nil {
					t.Fatal(err)
				}
				close(wake)
				if err := <-done; err != nil {
					t.Error(err)
				}
				a.intact(keys, records)
			})
		}
	}
}

// TestLoserForgetsWhatItRead: a compactor that has read two new lanes loses its number to one that had read only one of
// them. The other lane must be read again.
func TestLoserForgetsWhatItRead(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	records := some(4)
	for i := range 2 {
		s := a.stream(keyscope.Link{})
		s.send(records[2*i : 2*i+2]...)
		s.close()
	}
	isCommit := func(c storetest.Call) bool { return c.Op == "Create" && strings.Contains(c.Key, "commits/") }
	var once sync.Once
	f := &storetest.Faulty{Store: a.store, Before: func(c storetest.Call) {
		if isCommit(c) {
			once.Do(func() {
				ctx, cancel := context.WithCancel(t.Context())
				first := &storetest.Faulty{Store: a.store, After: func(c storetest.Call) {
					if isCommit(c) {
						cancel() // it dies behind its first commit
					}
				}}
				a.compact(ctx, nil, first, segmentsOf(100))
			})
		}
	}}
	if _, err := a.compact(t.Context(), keys, f, nil); err != nil {
		t.Fatal(err)
	}
	report := a.verify(VerifyOptions{Reader: a.reader(keys)})
	wantExit(t, report, 0, "integrity", "completeness", "readability")
	if report.Opened != 4 {
		t.Errorf("%d records, want 4", report.Opened)
	}
}
