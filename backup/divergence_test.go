package backup_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/spool"
)

// exchange puts other messages into the place of a lane: as an old image of a disk does, or somebody who can write to it.
func (a *testArchive) exchange(lane [16]byte, messages ...[]byte) {
	a.t.Helper()
	// At once: a compactor may be looking for its lanes.
	if err := os.Rename(filepath.Join(a.spool, "lanes", fmt.Sprintf("%x", lane)), filepath.Join(a.t.TempDir(), "lane")); err != nil {
		a.t.Fatal(err)
	}
	dir, err := spool.Open(a.spool, a.spoolOptions)
	if err != nil {
		a.t.Fatal(err)
	}
	w, err := dir.CreateLane(lane)
	if err == nil {
		if _, err = w.Append(spool.Frames, messages...); err == nil {
			err = errors.Join(w.Sync(a.t.Context()), w.Close())
		}
	}
	if err != nil {
		a.t.Fatal(err)
	}
}

// TestLastMessages: a commit names the last message of every lane that it moved, in one round or in several.
func TestLastMessages(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	streams := []*testStream{a.stream(keyscope.Link{}), a.stream(keyscope.Link{}), a.stream(keyscope.Link{})}
	for n := 1; n < 4; n++ {
		for _, s := range streams[:n] {
			s.send(some(n)...)
			s.send(some(2)...)
		}
		a.once(nil)
		file := string(read(t, a.store, a.commitKey(len(a.commits())-1)))
		for i, s := range streams[:n] {
			sum := sha256.Sum256(s.sent[len(s.sent)-1])
			if lane := fmt.Sprintf("%q:{\"next\":%d,\"last\":\"%x\"}", fmt.Sprintf("%x", s.id), len(s.sent), sum); !strings.Contains(file, lane) {
				t.Errorf("lane %d of %d: no %s in %s", i, n, lane, file)
			}
		}
	}
}

// TestExchangedMessage: in the same spool another message lies where the last committed one lay, or none. The partition
// halts and says so, once; what comes behind is not taken, not even what is authentic; the other partitions go on.
func TestExchangedMessage(t *testing.T) {
	for _, test := range []struct {
		name  string
		lane  func(sent [][]byte, next []byte) [][]byte // the first two of sent were committed
		halts bool
		words []string
	}{
		{"the same and more", func(sent [][]byte, next []byte) [][]byte { return [][]byte{sent[0], sent[1], next} }, false, nil},
		{"another one earlier", func(sent [][]byte, next []byte) [][]byte { return [][]byte{[]byte("other"), sent[1], next} }, false, nil},
		{"rubbish in its place", func(sent [][]byte, next []byte) [][]byte { return [][]byte{sent[0], []byte("other"), next} },
			true, []string{"message 1", "not the one that was committed"}},
		{"one bit flipped in it", func(sent [][]byte, next []byte) [][]byte { return [][]byte{sent[0], flip(sent[1], 8*300), next} },
			true, []string{"message 1", "not the one that was committed"}},
		{"an authentic one in its place", func(sent [][]byte, next []byte) [][]byte { return [][]byte{sent[0], next, next} },
			true, []string{"message 1", "not the one that was committed"}},
		{"the end gone", func(sent [][]byte, next []byte) [][]byte { return [][]byte{sent[0]} },
			true, []string{"ends at 1", "2 was committed"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := storetest.NewMemory()
			a := newTestArchive(t, store)
			a.policy(func(p *control.Policy) { p.Partitions = 2 })
			s := a.stream(keyscope.Link{})
			s.send(some(2)...)
			s.send(some(3)...)
			a.once(nil)
			next := slices.Clone(s.encode(s.draft(some(1)...)))
			a.exchange(s.id, test.lane(s.sent, next)...)
			other := a.stream(keyscope.Link{})
			other.partition = 1
			other.recertify(func(c *keyscope.Cert) { c.Partition = 1 })
			other.send(some(2)...)
			other.close()

			committed := len(a.commits())
			for range 2 {
				c, err := a.compact(t.Context(), nil, store, nil)
				if halted := c.Stats().Halted; test.halts != (err != nil) || test.halts != (halted[0] != nil) || halted[1] != nil {
					t.Fatalf("%v, halted %v", err, halted)
				}
			}
			report := a.verify(VerifyOptions{})
			if code := report.ExitCode("integrity"); code != 0 {
				t.Errorf("integrity is false: %v", report.Faults)
			}
			for _, r := range report.Streams {
				if r.Stream == fmt.Sprintf("%x", other.id) && r.State != "closed" {
					t.Errorf("the other partition stopped, too: %+v", r)
				}
			}
			if !test.halts {
				if len(a.commits()) == committed {
					t.Error("nothing was committed")
				}
				return
			}
			if len(a.commits()) != committed {
				t.Errorf("%d commits, were %d", len(a.commits()), committed)
			}
			wantFault(t, report.Notices, "integrity", "test/0/", append(test.words, "source, reported by a compactor", fmt.Sprintf("%x", s.id))...)
			if n := a.divergences(control.DivergedSource); n != 1 {
				t.Errorf("it is logged %d times", n)
			}
		})
	}
}

// divergences counts those of a kind in the control log.
func (a *testArchive) divergences(kind string) (n int) {
	for _, key := range keysOf(a.t, a.store, "control/log/") {
		for _, e := range a.entries(key) {
			var d control.Divergence
			if e.Type == control.TypeDivergence && e.Into(&d) == nil && d.Kind == kind {
				n++
			}
		}
	}
	return n
}

// TestHaltedPartitionStays: a compactor that runs leaves a partition alone whose source diverged, and goes on with others.
func TestHaltedPartitionStays(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	a.policy(func(p *control.Policy) { p.Partitions = 2 })
	s := a.stream(keyscope.Link{})
	s.send(some(2)...)
	a.once(nil)
	next := slices.Clone(s.encode(s.draft(some(1)...)))
	a.exchange(s.id, []byte("other"), next)
	c, err := compact.Open(t.Context(), compact.Config{Store: a.store, Trust: a.trust(), Identity: a.file("compactor", "compactor.stele"),
		From: a.url(), SegmentAge: 10 * time.Millisecond, HeadsEvery: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	wait := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}
	wait("the partition does not halt", func() bool { return c.Stats().Halted[0] != nil })
	wait("nothing is logged", func() bool { return a.divergences(control.DivergedSource) > 0 })
	a.exchange(s.id, s.sent[0], next) // too late: somebody has to look first
	for i := range 3 {
		other := a.stream(keyscope.Link{})
		other.partition = 1
		other.recertify(func(c *keyscope.Cert) { c.Partition = 1 })
		other.send(some(2)...)
		other.close()
		wait("the other partition stopped, too", func() bool {
			return len(keysOf(t, a.store, strings.Replace(a.log(), "logs/0/", "logs/1/", 1)+"commits/")) > i
		})
	}
	cancel()
	<-done
	if n := len(a.commits()); n != 1 || c.Stats().Halted[0] == nil {
		t.Errorf("%d commits, halted %v", n, c.Stats().Halted)
	}
	if n := a.divergences(control.DivergedSource); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
}
