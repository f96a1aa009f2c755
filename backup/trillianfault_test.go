package backup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/anchor/trillian"
	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/logpipe"
)

// evidenceSays proves the newest record and checks what is said of who has seen the head.
func evidenceSays(t *testing.T, a *testArchive, want map[string]bool) {
	t.Helper()
	var last logpipe.ID
	for f, err := range a.reader(a.keys()).Records(t.Context(), Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		last = f.ID
	}
	e, err := a.open().Prove(t.Context(), []logpipe.ID{last})
	if err != nil {
		t.Fatal(err)
	}
	r, err := evidence.Check(a.trust(), e.File)
	if err != nil || !r.Whole() {
		t.Fatalf("%v %+v", err, r)
	}
	for what, is := range want {
		if shows(r, what) != is {
			t.Errorf("%s: %v, want %v: %+v, missing %+v", what, !is, is, r.Holds, r.Missing)
		}
	}
}

// provesAnchored: evidence carries what a real Trillian proved, and convinces without it.
func provesAnchored(t *testing.T, a *testArchive) {
	t.Helper()
	evidenceSays(t, a, map[string]bool{"anchored": true, "cosigned": false})
}

// killedAnchors: whatever dies while a head is anchored, operator, server or signer, the next run goes on where it was, and
// signs no two histories.
func killedAnchors(t *testing.T, a *testArchive, m *storetest.Memory, log *testbed.TrillianLog, dir string) {
	grow := func() {
		s := a.stream(keyscope.Link{})
		s.send(some(1)...)
		a.once(nil)
	}
	whole := func(when string) {
		t.Helper()
		if _, err := a.anchor(log, dir).Once(t.Context()); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		r := a.verify(VerifyOptions{Since: [][]byte{lastOf(t, m, "control/anchors/")}})
		wantExit(t, r, 0, "integrity", "anchoring")
		if r.Verdicts["anchoring"].Notices > 0 || a.anchors().Behind > 0 {
			t.Errorf("%s: %+v, %+v", when, a.anchors(), r.Notices)
		}
	}

	// Each write to the archive fails, not persisted and persisted, and the process ends.
	for _, fault := range []storetest.Fault{storetest.Lost, storetest.ReplyLost} {
		grow()
		faulty := &storetest.Faulty{Store: a.store, Script: func(c storetest.Call) storetest.Fault {
			if c.Op == "Create" {
				return fault
			}
			return storetest.None
		}}
		anchor, err := trillian.Open(t.Context(), trillian.Config{Store: faulty, Trust: a.trust(), Dir: dir, Server: log.Addr})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := anchor.Once(t.Context()); fault == storetest.Lost && !errors.Is(err, storetest.ErrFault) {
			t.Errorf("the record is lost: %v", err)
		}
		anchor.Close()
		whole("the record was not written")
	}

	// The operator's own disk cannot be written: nothing is signed that it would not remember.
	grow()
	before := len(keysOf(t, m, "control/anchors/"))
	blocked := filepath.Join(t.TempDir(), "role")
	if err := os.CopyFS(blocked, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(blocked, "last.record")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(blocked, "last.record", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := a.anchor(log, blocked).Once(t.Context()); err == nil {
		t.Error("a root is signed that the operator does not remember")
	}
	if after := len(keysOf(t, m, "control/anchors/")); after != before {
		t.Errorf("%d records became %d", before, after)
	}
	whole("the disk was full")

	// The signer dies with the head in its queue, then the operator, then everything.
	grow()
	if err := log.KillSigner(); err != nil {
		t.Fatal(err)
	}
	ctx, die := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	anchor := a.anchor(log, dir)
	go func() {
		_, err := anchor.Once(ctx)
		ended <- err
	}()
	queued := time.Now().Add(time.Minute)
	for log.Query(t, "trillian", "SELECT count(*) FROM Unsequenced") == "0" {
		if time.Now().After(queued) {
			t.Fatal("nothing is queued")
		}
		time.Sleep(20 * time.Millisecond)
	}
	die()
	if err := <-ended; err == nil {
		t.Error("a head is anchored by a dead signer")
	}
	if err := log.Kill(); err == nil { // the signer is dead already
		t.Error("a dead signer was killed")
	}
	if err := log.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole("all was dead")
}
