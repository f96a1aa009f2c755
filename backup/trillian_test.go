package backup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/anchor/trillian"
	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/testbed"
)

// anchored is an archive whose trust file names an anchor on a real Trillian.
func anchored(t *testing.T, log *testbed.TrillianLog) (a *testArchive, m *storetest.Memory, dir string) {
	t.Helper()
	m = storetest.NewMemory()
	a = newTestArchive(t, m)
	tree, err := trillian.CreateTree(t.Context(), log.Addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	line, err := trillian.NewRole(a.trust(), dir, "anchor.example/test", tree)
	if err != nil {
		t.Fatal(err)
	}
	a.trusting(line)
	return a, m, dir
}

func (a *testArchive) anchor(log *testbed.TrillianLog, dir string) *trillian.Anchor {
	a.t.Helper()
	anchor, err := trillian.Open(a.t.Context(), trillian.Config{Store: a.store, Trust: a.trust(), Dir: dir, Server: log.Addr})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { anchor.Close() })
	return anchor
}

// lastOf is the newest object under a prefix.
func lastOf(t *testing.T, m *storetest.Memory, prefix string) []byte {
	t.Helper()
	keys := keysOf(t, m, prefix)
	if len(keys) == 0 {
		t.Fatalf("nothing under %s", prefix)
	}
	return read(t, m, keys[len(keys)-1])
}

func TestTrillian(t *testing.T) {
	log := testbed.Trillian(t)
	a, m, dir := anchored(t, log)
	wantExit(t, a.verify(VerifyOptions{}), 12, "anchoring")
	s := a.stream(keyscope.Link{})
	anchor := a.anchor(log, dir)
	var size uint64
	for range 3 {
		s.send(some(2)...)
		a.once(nil)
		n, err := anchor.Once(t.Context())
		if err != nil || n <= size {
			t.Fatalf("anchored %d after %d: %v", n, size, err)
		}
		size = n
		if n, err := anchor.Once(t.Context()); err != nil || n != size {
			t.Fatalf("again: %d, %v", n, err)
		}
	}
	if n := len(keysOf(t, m, "control/anchors/")); n != 3 {
		t.Errorf("%d records", n)
	}
	wantExit(t, a.verify(VerifyOptions{}), 0, "integrity", "anchoring")
	if r := a.anchors(); r.Kind != "anchor" || r.Size != size || r.Behind != 0 {
		t.Errorf("%+v", r)
	}
	saved := lastOf(t, m, "control/anchors/")
	wantExit(t, a.verify(VerifyOptions{Since: [][]byte{saved}}), 0, "integrity", "anchoring")

	provesAnchored(t, a)
	t.Run("records", func(t *testing.T) { badRecords(t, a, m, saved) })
	t.Run("killed in the middle", func(t *testing.T) { killedAnchors(t, a, m, log, dir) })
	t.Run("rolled-back archive", func(t *testing.T) { rolledBack(t, a, m, log, dir) })
	t.Run("rolled-back Trillian", func(t *testing.T) { rebuilt(t, a, log, dir) })
	t.Run("two histories of the anchor", func(t *testing.T) { twoAnchors(t, a, m, log, dir) })
	t.Run("rewritten with all keys", func(t *testing.T) { rewrittenWithAllKeys(t, log) })
}

// badRecords: what is altered or put beside the records turns nothing but ends what is anchored.
func badRecords(t *testing.T, a *testArchive, m *storetest.Memory, saved []byte) {
	keys := keysOf(t, m, "control/anchors/")
	for i := 0; i < 8*len(saved); i += 8 * (len(saved) / 60) {
		replace(t, m, keys[2], flip(saved, i))
		r := a.verify(VerifyOptions{})
		if r.Verdicts["integrity"].State != Holds || r.Verdicts["anchoring"].State != Holds {
			t.Fatalf("bit %d: %+v", i, r.Faults)
		}
		if r.Anchors[0].Behind == 0 {
			t.Errorf("bit %d changed: it still counts", i)
		}
	}
	replace(t, m, keys[2], saved)
	m.Overwrite(strings.TrimSuffix(keys[2], "2")+"7", saved)
	r := a.verify(VerifyOptions{})
	if r.Verdicts["anchoring"].Notices != 1 || r.Anchors[0].Behind != 0 {
		t.Errorf("a record in the wrong place: %+v", r.Notices)
	}
	m.Remove(strings.TrimSuffix(keys[2], "2")+"7", "")
	wantExit(t, a.verify(VerifyOptions{}), 0, "anchoring")
}

// rolledBack: the archive goes back to an earlier state, all of it.
func rolledBack(t *testing.T, a *testArchive, m *storetest.Memory, log *testbed.TrillianLog, dir string) {
	saved := lastOf(t, m, "control/anchors/")
	back, store := a.copyOf(m)
	for prefix, n := range map[string]int{"control/log/": 2, "control/checkpoints/": 2, "control/anchors/": 1, a.log() + "commits/": 1} { // heads, and the list of logs
		keys := keysOf(t, store, prefix)
		for _, key := range keys[len(keys)-n:] {
			store.Remove(key, "")
		}
	}
	wantExit(t, back.verify(VerifyOptions{}), 0, "integrity", "anchoring") // nobody can tell from the archive alone
	r := back.verify(VerifyOptions{Since: [][]byte{saved}})
	wantExit(t, r, 10, "integrity")
	wantFault(t, r.Faults, "integrity", "test/control", "is an older copy")
	wantFault(t, r.Faults, "anchoring", "anchor.example", "records were removed")
	_, err := back.compact(t.Context(), nil, store, func(c *compact.Config) { c.Since = [][]byte{saved} })
	if err == nil || !strings.Contains(err.Error(), "saved outside") || !strings.Contains(err.Error(), "is an older copy") {
		t.Errorf("a compactor with the record: %v", err)
	}
	_, err = back.anchor(log, dir).Once(t.Context())
	var no *trillian.ContradictionError
	if !errors.As(err, &no) || no.Who != "archive" {
		t.Errorf("the operator of the anchor: %v", err)
	}
}

// rebuilt: Trillian loses its tree, says so, and gets it back from the archive.
func rebuilt(t *testing.T, a *testArchive, log *testbed.TrillianLog, dir string) {
	log.Query(t, "trillian", "DELETE FROM Trees") // and all that hangs on them
	tree, err := trillian.CreateTree(t.Context(), log.Addr, nil)
	if err == nil {
		err = trillian.UseTree(dir, tree)
	}
	if err != nil {
		t.Fatal(err)
	}
	anchor := a.anchor(log, dir)
	_, err = anchor.Once(t.Context())
	var no *trillian.ContradictionError
	if !errors.As(err, &no) || no.Who != "trillian" || !strings.Contains(err.Error(), "rolled back or dropped") {
		t.Errorf("an empty tree: %v", err)
	}
	wantExit(t, a.verify(VerifyOptions{}), 0, "integrity", "anchoring") // the records stand for themselves
	halfRebuilt(t, a, log, dir)
	if err := anchor.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := a.stream(keyscope.Link{})
	s.send(some(2)...)
	a.once(nil)
	if _, err := anchor.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := a.anchors(); r.Behind != 0 {
		t.Errorf("%+v", r)
	}
}

// halfRebuilt: the tree is being built again, and everything dies: first when one head is in it, then with the others in the queue. A tree of which the
// operator has signed more is refused until it has all of them.
func halfRebuilt(t *testing.T, a *testArchive, log *testbed.TrillianLog, dir string) {
	t.Helper()
	one, store := a.copyOf(a.store.(*storetest.Memory))
	for _, key := range keysOf(t, store, "control/anchors/")[1:] {
		store.Remove(key, "")
	}
	if err := one.anchor(log, dir).Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := a.anchor(log, dir).Once(t.Context())
	var no *trillian.ContradictionError
	if !errors.As(err, &no) || no.Who != "trillian" {
		t.Errorf("a tree of one head: %v", err)
	}

	if err := log.KillSigner(); err != nil {
		t.Fatal(err)
	}
	ctx, die := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	anchor := a.anchor(log, dir)
	go func() { ended <- anchor.Rebuild(ctx) }()
	queued := time.Now().Add(time.Minute)
	for log.Query(t, "trillian", "SELECT count(*) FROM Unsequenced") == "0" {
		if time.Now().After(queued) {
			t.Fatal("nothing is queued")
		}
		time.Sleep(20 * time.Millisecond)
	}
	die()
	if err := <-ended; err == nil {
		t.Error("a tree was built by a dead signer")
	}
	if err := log.Kill(); err == nil { // the signer is dead already
		t.Error("a dead signer was killed")
	}
	if err := log.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// twoAnchors: an operator without his disk signs for a tree that is another one.
func twoAnchors(t *testing.T, a *testArchive, m *storetest.Memory, log *testbed.TrillianLog, dir string) {
	saved := lastOf(t, m, "control/anchors/")
	other, store := a.copyOf(m)
	for _, key := range keysOf(t, store, "control/anchors/") {
		store.Remove(key, "")
	}
	forgetful := t.TempDir()
	if err := os.CopyFS(forgetful, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(forgetful, "last.record")); err != nil {
		t.Fatal(err)
	}
	tree, err := trillian.CreateTree(t.Context(), log.Addr, nil)
	if err == nil {
		err = trillian.UseTree(forgetful, tree)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.anchor(log, forgetful).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range len(keysOf(t, m, "control/anchors/")) {
		s := other.stream(keyscope.Link{})
		s.send(some(1)...)
		other.once(nil)
		if _, err := other.anchor(log, forgetful).Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r := other.verify(VerifyOptions{Since: [][]byte{saved}})
	wantExit(t, r, 12, "anchoring")
	wantFault(t, r.Faults, "anchoring", "anchor.example", "two histories")
	if r.Verdicts["integrity"].State != Holds {
		t.Errorf("integrity: %+v", r.Verdicts["integrity"])
	}
}

// rewrittenWithAllKeys: who has all keys of the operator and rewrites one of many segments makes an archive in which nothing is wrong. What was
// saved of witness and anchor convicts him, offline.
func rewrittenWithAllKeys(t *testing.T, log *testbed.TrillianLog) {
	segments := 100
	if testbed.Long() {
		segments = 1000
	}
	a, m, dir := anchored(t, log)
	var trust identity.Trust
	if err := trust.UnmarshalText(a.trust()); err != nil {
		t.Fatal(err)
	}
	w := testbed.Litewitness(t, "witness.example", trust.Origin(), trust.Log)
	a.trusting("witness W "+w.VKey+" "+w.URL, "quorum W")
	forger, forged := a.copyOf(m)
	fill := func(a *testArchive, change int) {
		s := a.stream(keyscope.Link{})
		records := some(segments)
		for i := range records {
			if i == change {
				records[i].body = "what never happened"
			}
			s.send(records[i])
		}
		s.close()
	}
	fill(a, -1)
	if _, err := a.compact(t.Context(), nil, m, segmentsOf(1)); err != nil {
		t.Fatal(err)
	}
	if n := len(a.commits()); n < segments {
		t.Fatalf("%d commits", n)
	}
	if _, err := a.anchor(log, dir).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	cosigned, record := lastOf(t, m, "control/cosigned/"), lastOf(t, m, "control/anchors/")
	wantExit(t, a.verify(VerifyOptions{Since: [][]byte{cosigned, record}}), 0, "integrity", "completeness", "anchoring")

	fill(forger, segments/2)
	_, err := forger.compact(t.Context(), nil, forged, func(c *compact.Config) {
		c.SegmentBytes = 1
		without, _, _ := strings.Cut(string(c.Trust), "witness W")
		c.Trust = []byte(without)
	})
	if err != nil {
		t.Fatal(err)
	}
	r := forger.verify(VerifyOptions{})
	wantExit(t, r, 0, "integrity", "completeness")
	wantExit(t, r, 12, "anchoring")
	for name, file := range map[string][]byte{"witness": cosigned, "anchor": record} {
		r := forger.verify(VerifyOptions{Since: [][]byte{file}})
		wantExit(t, r, 10, "integrity")
		wantFault(t, r.Faults, "integrity", "test/control", "rewritten, or forked")
		_ = name
	}
	// Put back into his archive, the files say so without being asked.
	for prefix, file := range map[string][]byte{"control/cosigned/": cosigned, "control/anchors/": record} {
		keys := keysOf(t, m, prefix)
		forged.Overwrite(keys[len(keys)-1], file)
		r := forger.verify(VerifyOptions{})
		wantFault(t, r.Faults, "integrity", prefix, "rewritten, or forked")
		wantFault(t, r.Faults, "anchoring", prefix, "rewritten, or forked")
	}
}
