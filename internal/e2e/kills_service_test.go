package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/logpipe"
)

// TestKilledService kills a capturing service again and again, and looks at what the archive says of each of its lives.
func TestKilledService(t *testing.T) {
	kills := 6
	if testbed.Long() {
		kills = 20
	}
	for _, class := range []struct {
		name       string
		durability logpipe.Durability
	}{{"memory", logpipe.Memory}, {"spooled", logpipe.Spooled}, {"acked", logpipe.Acked}} {
		t.Run(class.name, func(t *testing.T) {
			t.Parallel()
			broker := testbed.Kafka(t)
			s := newSite(t, fileURL(t, "archive"), "kafka://"+broker.Addr+"/"+testbed.Name(t), nil)
			job := task{Spool: filepath.Join(s.dir, "spool"), State: filepath.Join(s.dir, "state"), Durability: class.durability}
			lives := map[string]int{} // captured records by session
			var streams, sessions []string
			var dead *incarnation
			live := func(i int) task {
				job.Name = fmt.Sprintf("life-%d", i)
				return job
			}
			for i := range kills {
				c := serve(t, s, live(i))
				after := time.Duration(i*i%7) * 50 * time.Millisecond
				if class.durability == logpipe.Memory {
					after += 300 * time.Millisecond // some records are sent by then
				}
				lives[job.Name] = c.kill(t, after)
				streams, sessions, dead = append(streams, c.stream), append(sessions, job.Name), c
			}
			s.compactOnce()
			orphan := checkOrphan(t, s, job, dead)

			// The last life ends well.
			last := live(kills)
			last.Records = 20
			c := serve(t, s, last)
			lives[job.Name] = c.count()
			sessions = append(sessions, job.Name)
			if c.err != nil {
				t.Fatalf("the last life did not end well: %v", c.err)
			}
			s.compactOnce()
			r := s.verify(anyExit)
			checkLives(t, r, streams, class.durability)
			if st := find(t, r, c.stream); st.State != "closed" || !st.Complete {
				t.Errorf("the last stream is %s: %s", st.State, st.Verdict)
			}
			captured, kept := checkKept(t, s, lives, sessions, class.durability)
			t.Logf("%d kills: %d records captured, %d kept; orphaned stream: %s", kills, captured, kept, orphan)
		})
	}
}

// find returns the report on a stream.
func find(t *testing.T, r report, id string) stream {
	t.Helper()
	for _, s := range r.Streams {
		if s.Stream == id {
			return s
		}
	}
	t.Fatalf("verify does not name stream %s", id)
	return stream{}
}

// checkOrphan has another service, of another state directory, go on in the same log: then it shows that the killed
// stream neither lives nor closed, whatever its durability, before its successor says more. The partition of a stream is
// by chance.
func checkOrphan(t *testing.T, s *site, job task, dead *incarnation) (verdict string) {
	t.Helper()
	time.Sleep(time.Second) // ten beats
	job.Records, job.State, job.Spool = 5, filepath.Join(s.dir, "other"), filepath.Join(s.dir, "other-spool")
	for i, there := 0, false; !there; i++ {
		job.Name = fmt.Sprintf("other-%d", i)
		c := serve(t, s, job)
		if c.count() != 5 || c.err != nil || i > 50 {
			t.Fatalf("the other service did not end well, or not in partition %d: %v", dead.partition, c.err)
		}
		there = c.partition == dead.partition
	}
	s.compactOnce()
	st := find(t, s.verify(11), dead.stream)
	if st.State != "unknown" || st.Complete || !strings.Contains(st.Verdict, fmt.Sprintf("after seq %d", st.Leaves-1)) {
		t.Errorf("a killed stream of %d leaves without a successor is %s: %s", st.Leaves, st.State, st.Verdict)
	}
	return st.Verdict
}

// checkLives wants every killed stream closed by its successor, with the last sequence named. What was in memory is gone,
// and that is no secret. With durability a stream is complete, unless the kill came between the note of how far it got
// and the sending of its last frame, which nobody had been told was safe: then both sequences are named.
func checkLives(t *testing.T, r report, streams []string, durability logpipe.Durability) {
	t.Helper()
	for i, id := range streams {
		s := find(t, r, id)
		last := fmt.Sprintf("seq %d", s.Leaves-1)
		at, cut := strings.Contains(s.Verdict, "recovered at "+last), strings.Contains(s.Verdict, "the archive ends at "+last)
		if s.State != "recovered" || !at && !cut || len(s.Gaps) > 0 {
			t.Errorf("life %d, stream %s of %d leaves is %s: %s", i, id, s.Leaves, s.State, s.Verdict)
		}
		if want := durability != logpipe.Memory && !cut; s.Complete != want {
			t.Errorf("life %d: complete is %v: %s", i, s.Complete, s.Verdict)
		}
	}
}

// checkKept restores the sessions. With durability, all that was captured must be there; without it, what was captured
// first: nothing is missing from the middle.
func checkKept(t *testing.T, s *site, lives map[string]int, sessions []string, durability logpipe.Durability) (captured, kept int) {
	t.Helper()
	got := map[string]int{}
	for _, r := range s.restore() {
		if want := fmt.Sprintf("%s/%d", r.Session, got[r.Session]); r.CallerID != want {
			t.Fatalf("restored %s where %s was due", r.CallerID, want)
		}
		got[r.Session]++
	}
	for _, name := range sessions {
		captured, kept = captured+lives[name], kept+got[name]
		if durability != logpipe.Memory && got[name] < lives[name] {
			t.Errorf("%s: %d records were acknowledged, %d are in the archive", name, lives[name], got[name])
		}
	}
	return captured, kept
}
