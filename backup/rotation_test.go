package backup_test

import (
	"context"
	"fmt"
	"slices"
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
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/spool"
)

// timed is an archive in a world whose clocks can be moved.
type timed struct {
	*testArchive
	mem       *storetest.Memory
	keys      *keys.Service
	ahead     atomic.Int64 // of the transport's clock
	compactor atomic.Int64 // of compactors' clocks
}

const quarter = 93 * 24 * time.Hour

func newTimed(t *testing.T) *timed { return newTimedLocked(t, worm.LockNone) }

func newTimedLocked(t *testing.T, lock worm.LockMode) *timed {
	mem := storetest.NewMemory()
	a := &timed{testArchive: newLockedArchive(t, mem, lock), mem: mem}
	a.spoolOptions.Now = func() time.Time { return time.Now().Add(time.Duration(a.ahead.Load())) }
	a.keys = a.testArchive.keys()
	return a
}

// clone is the same archive once more, at the same time.
func (a *timed) clone(t *testing.T) *timed {
	t.Helper()
	c := &timed{testArchive: a.testArchive.clone(t)}
	c.mem = c.store.(*storetest.Memory)
	c.pass(time.Duration(a.ahead.Load()))
	c.spoolOptions.Now = func() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }
	c.keys = c.testArchive.keys()
	return c
}

// pass lets d go by on all clocks.
func (a *timed) pass(d time.Duration) {
	a.ahead.Add(int64(d))
	a.compactor.Add(int64(d))
}

func (a *timed) now() time.Time { return time.Now().Add(time.Duration(a.compactor.Load())) }

func (a *timed) compactAt(ctx context.Context, store worm.Store, now func() time.Time, edit func(*compact.Config)) (*compact.Compactor, error) {
	cfg := compact.Config{Store: store, Trust: a.trust(), Identity: a.file("compactor", "compactor.stele"), From: a.url(), Now: now}
	if edit != nil {
		edit(&cfg)
	}
	c, err := compact.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return c, c.Once(ctx)
}

func (a *timed) once() {
	a.t.Helper()
	if _, err := a.compactAt(a.t.Context(), a.store, a.now, func(c *compact.Config) { c.Keys = a.keys }); err != nil {
		a.t.Fatal(err)
	}
}

// periods are the periods of the logs with commits in them, and how many each has.
func (a *timed) periods() (out []string) {
	for _, l := range a.verify(VerifyOptions{}).Logs {
		out = append(out, fmt.Sprintf("%s:%d", l.Origin[len("test/0/"):], l.Commits))
	}
	return out
}

// logAfter names the log of partition 0 in which the clocks of a world that is so far ahead are.
func periodAfter(t *testing.T, d time.Duration) string {
	name, err := commit.PeriodOf("quarter", time.Now().Add(d))
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func (a *timed) key(period string, n int) string {
	return fmt.Sprintf("logs/0/%s/commits/%020d", period, n)
}

// turned is an archive whose first log has one commit with records of an open stream, and whose spool has what is
// committed when the period is over.
func turned(t *testing.T) (a *timed, s *testStream, records []testRecord) {
	a, records = newTimed(t), some(8)
	s = a.stream(keyscope.Link{})
	s.send(records[:4]...)
	a.once()
	a.pass(quarter)
	s.send(records[4:]...)
	s.close()
	return a, s, records
}

// TestRotation: a stream goes on through three logs. Everything is there once, every log is provable, and a stream has one
// verdict.
func TestRotation(t *testing.T) {
	a := newTimed(t)
	s, records := a.stream(keyscope.Link{}), some(40)
	var names []string
	for i := range 4 {
		s.send(records[10*i : 10*i+10]...)
		if i == 3 {
			s.close()
		}
		names = append(names, periodAfter(t, time.Duration(a.ahead.Load())))
		a.once()
		a.pass(quarter)
	}
	report := a.intact(a.keys, records)
	if len(report.Logs) != 4 || len(report.Streams) != 1 || report.Streams[0].Leaves != 42 || report.Streams[0].State != "closed" {
		t.Fatalf("%+v %+v", report.Logs, report.Streams)
	}
	for i, l := range report.Logs {
		next := ""
		if i < 3 {
			next = "test/0/" + names[i+1]
		}
		if l.Origin != "test/0/"+names[i] || l.Next != next {
			t.Errorf("log %d is %s and goes on in %q, want %s and %q", i, l.Origin, l.Next, names[i], next)
		}
	}
	if len(report.Notices) > 0 {
		t.Errorf("%v", report.Notices)
	}
	if streams := a.open().Streams(time.Now()); len(streams) != 1 || !streams[0].Complete || streams[0].Leaves != 42 {
		t.Errorf("audit: %+v", streams)
	}

	// What comes again from an old disk is known, whatever log it is in.
	dir, err := spool.Open(a.spool, a.spoolOptions)
	if err != nil {
		t.Fatal(err)
	}
	lane, err := dir.CreateLane([16]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range s.sent {
		if _, err := lane.Append(spool.Frames, raw); err != nil {
			t.Fatal(err)
		}
	}
	lane.Close()
	c, err := a.compactAt(t.Context(), a.store, a.now, nil)
	if err != nil || c.Stats().Duplicates != 4 || c.Stats().Quarantined > 0 {
		t.Errorf("%+v, %v", c.Stats(), err)
	}
	a.intact(a.keys, records)
}

// TestReferenceOverRotation: a part of a body lies in the log before.
func TestReferenceOverRotation(t *testing.T) {
	a := newTimed(t)
	s := a.stream(keyscope.Link{})
	records := []testRecord{{subject: "x", session: "y", body: "said once"}, {subject: "z", body: "other"}, {subject: "x", session: "y", body: "said once", back: 2}}
	for i, r := range records {
		s.send(r)
		if i == len(records)-1 {
			s.close()
		}
		a.once()
		a.pass(quarter / 2)
	}
	a.pass(quarter)
	if report := a.intact(a.keys, records); len(report.Logs) != 2 {
		t.Fatalf("%+v", report.Logs)
	}
	if got := bodies(t, a.reader(a.keys), Query{Subject: "x"}); len(got) != 2 || got[0] != got[1] {
		t.Errorf("%q", got)
	}
}

// TestResumeOverRotation: a reader goes on from a place in a log that was closed meanwhile.
func TestResumeOverRotation(t *testing.T) {
	a, _, records := turned(t)
	first := bodies(t, a.reader(a.keys), Query{})
	from := map[string]uint64{"test/0/" + periodAfter(t, 0): 5}
	a.once()
	more := bodies(t, a.reader(a.keys), Query{From: from})
	if got, want := append(first, more...), wantBodies(records); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestClocksDisagree: neither the clock of a compactor nor that of the transport ends a period alone, and who is behind
// follows who is right.
func TestClocksDisagree(t *testing.T) {
	a := newTimed(t)
	s, records := a.stream(keyscope.Link{}), some(10)
	send := func(i int) { s.send(records[2*i : 2*i+2]...) }
	now, next := periodAfter(t, 0), periodAfter(t, quarter)
	send(0)
	a.once()
	a.compactor.Store(int64(quarter))
	send(1)
	a.once()
	a.compactor.Store(0)
	a.ahead.Store(int64(quarter))
	send(2)
	a.once()
	if got := a.periods(); !slices.Equal(got, []string{now + ":3"}) {
		t.Fatalf("%v", got)
	}
	a.compactor.Store(int64(quarter))
	send(3)
	a.once()
	a.compactor.Store(0)
	a.ahead.Store(0)
	send(4)
	s.close()
	a.once()
	if got := a.periods(); !slices.Equal(got, []string{now + ":5", next + ":2"}) {
		t.Fatalf("%v", got)
	}
	a.intact(a.keys, records)
}

// TestEveryStoreCallFailsInRotation fails each call of a compaction that ends a period, in each way. A fresh compactor
// goes on.
func TestEveryStoreCallFailsInRotation(t *testing.T) {
	built, _, records := turned(t)
	a := built.clone(t)
	counted := &storetest.Faulty{Store: a.store}
	var made atomic.Int64
	counted.Before = func(storetest.Call) { made.Add(1) }
	if _, err := a.compactAt(t.Context(), counted, a.now, segmentsOf(1500)); err != nil {
		t.Fatal(err)
	}
	a.once()
	a.intact(a.keys, records)
	if got := a.periods(); len(got) != 2 {
		t.Fatalf("%v: the matrix would miss something", got)
	}
	var g errgroup.Group
	g.SetLimit(4)
	for n := 1; n <= int(made.Load()); n++ {
		for i, way := range []string{"lost", "reply lost", "dies before", "dies after"} {
			if racing && n%4 != i {
				continue
			}
			g.Go(func() error {
				t.Run(fmt.Sprintf("call %d %s", n, way), func(t *testing.T) { failRotation(built.clone(t), records, n, way) })
				return nil
			})
		}
	}
	g.Wait()
	t.Logf("%d calls", made.Load())
}

func failRotation(a *timed, records []testRecord, n int, way string) {
	ctx, cancel := context.WithCancel(a.t.Context())
	defer cancel()
	a.compactAt(ctx, failing(a.store, n, way, cancel), a.now, segmentsOf(1500)) // it may fail, or get over it
	a.once()
	a.once()
	report := a.intact(a.keys, records)
	if len(report.Logs) != 2 {
		a.t.Errorf("%v", a.periods())
	}
}

// TestFinalAndNothing: a compactor that dies behind the final commit leaves an archive that is whole, and whoever comes
// next goes on.
func TestFinalAndNothing(t *testing.T) {
	a, _, records := turned(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	next := "logs/0/" + periodAfter(t, quarter)
	a.compactAt(ctx, &storetest.Faulty{Store: a.store, Before: func(c storetest.Call) {
		if strings.HasPrefix(c.Key, next) {
			cancel()
		}
	}}, a.now, nil)
	if got := a.periods(); !slices.Equal(got, []string{periodAfter(t, 0) + ":3"}) {
		t.Fatalf("%v", got)
	}
	wantExit(t, a.verify(VerifyOptions{}), 0, "integrity", "completeness")
	a.once()
	if report := a.intact(a.keys, records); len(report.Logs) != 2 {
		t.Errorf("%v", a.periods())
	}
}

// TestSquattedRotation: the numbers of the final commit and of the first one behind it are taken by a stranger.
func TestSquattedRotation(t *testing.T) {
	a, _, records := turned(t)
	now, next := periodAfter(t, 0), periodAfter(t, quarter)
	a.mem.Overwrite(a.key(now, 2), []byte("mine"))
	a.mem.Overwrite(a.key(next, 0), []byte("mine"))
	a.mem.Overwrite(a.key(next, 1), []byte("mine"))
	a.mem.Overwrite(a.key(periodAfter(t, 9*quarter), 0), []byte("mine"))
	a.once()
	report := a.verify(VerifyOptions{Reader: a.reader(a.keys)})
	wantExit(t, report, 0, "integrity", "completeness", "readability")
	if got := a.periods()[:2]; !slices.Equal(got, []string{now + ":3", next + ":1"}) {
		t.Fatalf("%v", got)
	}
	wantFault(t, report.Notices, "integrity", a.key(next, 0), "squat")
	if got, want := bodies(t, a.reader(a.keys), Query{}), wantBodies(records); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// TestZombieInRotation holds a compactor before or behind each commit that it makes at the end of a period, lets another
// turn the page, and lets it go.
func TestZombieInRotation(t *testing.T) {
	for n := range 3 {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("commit %d before %v", n, before), func(t *testing.T) {
				a, _, records := turned(t)
				asleep, wake := make(chan bool), make(chan bool)
				var made atomic.Int64
				sleep := func(c storetest.Call) {
					if c.Op == "Create" && strings.Contains(c.Key, "commits/") && made.Add(1) == int64(n+1) {
						close(asleep)
						<-wake
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
					_, err := a.compactAt(t.Context(), f, a.now, nil)
					done <- err
				}()
				<-asleep
				a.once()
				close(wake)
				if err := <-done; err != nil {
					t.Error(err)
				}
				a.once()
				if report := a.intact(a.keys, records); len(report.Logs) != 2 || len(report.Notices) > 0 {
					t.Errorf("%v %v", a.periods(), report.Notices)
				}
			})
		}
	}
}

// TestCompactorsRaceOverTheEnd: three compactors with clocks apart work while periods end under them.
func TestCompactorsRaceOverTheEnd(t *testing.T) {
	a := newTimed(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for i, size := range []int64{1500, 4000, 9000} {
		c, err := compact.Open(ctx, compact.Config{Store: a.store, Trust: a.trust(), Identity: a.file("compactor", "compactor.stele"), From: a.url(),
			SegmentBytes: size, SegmentAge: 20 * time.Millisecond, HeadsEvery: 20 * time.Millisecond,
			Now: func() time.Time { return a.now().Add(time.Duration(i-1) * quarter) }})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { c.Run(ctx) })
	}
	s, records := a.stream(keyscope.Link{}), some(120)
	for i := range 60 {
		s.send(records[2*i : 2*i+2]...)
		if i%7 == 6 { // eight times: a log goes on for up to three quarters of a compactor that is ahead, so there are four at least
			soon(t, "what was sent is committed", func() bool { return a.verify(VerifyOptions{}).Leaves >= uint64(2*i+3) })
			a.pass(quarter)
		}
	}
	s.close()
	s.lane.Close()
	soon(t, "everything is committed", func() bool { return a.verify(VerifyOptions{}).Leaves == 122 })
	cancel()
	wg.Wait()
	a.once()
	if report := a.intact(a.keys, records); len(report.Logs) < 4 || len(report.Notices) > 0 {
		t.Errorf("%v %v", a.periods(), report.Notices)
	}
}
