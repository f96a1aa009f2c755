package backup_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/merkle"
)

// A writer that is revoked goes on with the streams that it has opened. What it sends there is archived, and can be read.
func TestRevokedWriterGoesOn(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	records := some(20)
	s.send(records[:10]...)
	a.once(keys)
	a.policy(func(p *control.Policy) { now := time.Now(); p.Writers[0].Revoked = &now })
	s.send(records[10:]...)
	s.close()
	a.once(keys)
	a.intact(keys, records)
}

// A compactor that is revoked stops; what it committed stands, also what the entry that revokes it does not name, and nothing
// that somebody commits with its key later, whatever size of the control log that names.
func TestCompactorRevoked(t *testing.T) {
	store := storetest.NewMemory()
	a := newTestArchive(t, store)
	keys := a.keys()
	desk := func() *erase.Desk {
		d, err := erase.Open(t.Context(), store, a.trust(), a.file("admin", "root.stele"))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	role, err := addService(desk(), "second")
	if err != nil {
		t.Fatal(err)
	}
	s, records := a.stream(keyscope.Link{}), some(20)
	s.send(records[:10]...)
	second, err := a.compact(t.Context(), keys, store, func(c *compact.Config) { c.Identity = role })
	if err != nil {
		t.Fatal(err)
	}
	size := uint64(0)
	for _, key := range keysOf(t, store, "control/log/") {
		size += uint64(len(a.entries(key)))
	}
	if _, err := desk().Revoke(t.Context(), control.RoleCompactor, "second"); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"once more": second.Once(t.Context()),
		"again": func() error {
			_, err := a.compact(t.Context(), keys, store, func(c *compact.Config) { c.Identity = role })
			return err
		}(),
	} {
		if err == nil || !strings.Contains(err.Error(), "second was revoked: what it committed before stands") {
			t.Errorf("%s: %v", what, err)
		}
	}
	n := len(a.commits())
	var id identity.Compactor
	if err := identity.Parse(role, identity.CompactorFormat, &id); err != nil {
		t.Fatal(err)
	}
	thief := signer(t, identity.KeyName("test", "compactor", "second"), id.Key)
	parent := commit.Hash(read(t, store, a.commitKey(n-1)))
	store.Overwrite(a.commitKey(n), a.forge(n-1, thief, func(c *commit.Commit) {
		c.N, c.Prev, c.Objects, c.Index, c.Proof, c.Streams, c.Records, c.From, c.Until = uint64(n), parent, nil, nil, nil, nil, 0, nil, nil
		c.Tree.First, c.Tree.Before, c.Control = c.Tree.Size, c.Tree.After, size
	}))
	a.drop(control.TypeDivergence, control.Divergence{Log: "test/0/x", Kind: "fork", Detail: "none"}, thief)
	s.send(records[10:]...)
	s.close()
	a.once(keys)
	report := a.intact(keys, records)
	wantFault(t, report.Notices, "integrity", a.commitKey(n), "was revoked before this commit")
	for _, key := range keysOf(t, store, "control/log/") {
		for _, e := range a.entries(key) {
			if e.Type == control.TypeDivergence && e.By == thief.Name() {
				t.Errorf("an entry of the revoked key was taken in: %s", e.Body)
			}
		}
	}
}

// revokable is an archive with a second compactor, which has made its last commit.
type revokable struct {
	*testArchive
	store   *storetest.Memory
	keys    *keys.Service
	role    []byte // of the second compactor
	thief   note.Signer
	stream  *testStream
	records []testRecord
}

func newRevokable(t *testing.T) *revokable {
	store := storetest.NewMemory()
	a := &revokable{testArchive: newTestArchive(t, store), store: store, records: some(20)}
	a.keys = a.testArchive.keys()
	var err error
	if a.role, err = addService(a.desk(), "second"); err != nil {
		t.Fatal(err)
	}
	var id identity.Compactor
	if err := identity.Parse(a.role, identity.CompactorFormat, &id); err != nil {
		t.Fatal(err)
	}
	a.thief = signer(t, identity.KeyName("test", "compactor", "second"), id.Key)
	a.stream = a.testArchive.stream(keyscope.Link{})
	a.stream.send(a.records[:10]...)
	if _, err := a.second(); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *revokable) desk() *erase.Desk {
	a.t.Helper()
	d, err := erase.Open(a.t.Context(), a.store, a.trust(), a.file("admin", "root.stele"))
	if err != nil {
		a.t.Fatal(err)
	}
	return d
}

// second lets the second compactor work once.
func (a *revokable) second() (*compact.Compactor, error) {
	c, err := a.compact(a.t.Context(), a.keys, a.store, func(c *compact.Config) { c.Identity = a.role })
	if err == nil {
		err = c.Once(a.t.Context())
	}
	return c, err
}

func (a *revokable) revoke() {
	a.t.Helper()
	if _, err := a.desk().Revoke(a.t.Context(), control.RoleCompactor, "second"); err != nil {
		a.t.Fatal(err)
	}
}

func (a *revokable) size() (n uint64) {
	for _, key := range keysOf(a.t, a.store, "control/log/") {
		n += uint64(len(a.entries(key)))
	}
	return n
}

// steal makes commit n with the key of the second compactor, behind a file, at a size of the control log.
func (a *revokable) steal(n int, parent []byte, size uint64) []byte {
	a.t.Helper()
	c, err := commit.Peek(parent)
	if err != nil {
		a.t.Fatal(err)
	}
	c.N, c.Prev, c.Burnt, c.Objects, c.Index, c.Proof, c.Streams, c.Records, c.From, c.Until = uint64(n), commit.Hash(parent), nil, nil, nil, nil, nil, 0, nil, nil
	c.Tree.First, c.Tree.Before, c.Control, c.By = c.Tree.Size, c.Tree.After, size, a.thief.Name()
	file, err := c.Sign(a.thief)
	if err != nil {
		a.t.Fatal(err)
	}
	return file
}

// claim is a head that the key of the second compactor vouches for.
func (a *revokable) claim(n uint64, hash commit.Hex32, size uint64) control.Head {
	a.t.Helper()
	log := "test/" + strings.TrimSuffix(strings.TrimPrefix(a.log(), "logs/"), "/")
	cp, err := merkle.Checkpoint{Origin: log, Size: size, Root: merkle.Hash{1}}.Sign(a.thief)
	if err != nil {
		a.t.Fatal(err)
	}
	return control.Head{Log: log, Commit: n, Hash: hash, Checkpoint: string(cp)}
}

func (a *revokable) logs(h ...control.Head) {
	a.t.Helper()
	if err := a.sequence(control.TypeHeads, control.Heads{Heads: h}, a.thief); err != nil {
		a.t.Fatal(err)
	}
}

// Whoever sees the revocation of a compactor's key coming logs heads of commits that are not there. Nothing that is made
// with the key afterwards stands because of them, the log goes on without it, and each of them is named as false.
func TestCompactorGetsAheadOfItsRevocation(t *testing.T) {
	a := newRevokable(t)
	n := len(a.commits())
	ahead := []control.Head{a.claim(1<<40, commit.Hex32{7}, 1<<40), a.claim(uint64(n), commit.Hex32{8}, 1<<41)}
	a.logs(ahead...)
	wantFault(t, a.verify(VerifyOptions{}).Faults, "integrity", fmt.Sprintf("%scommits/%020d", a.log(), uint64(1<<40)), "the store has no such commit")
	size := a.size()
	a.revoke()
	a.store.Overwrite(a.commitKey(n), a.steal(n, read(t, a.store, a.commitKey(n-1)), size))
	a.stream.send(a.records[10:]...)
	a.stream.close()
	a.once(a.keys)
	report := a.verify(VerifyOptions{Reader: a.reader(a.keys)})
	wantExit(t, report, 10)
	wantExit(t, report, 0, "completeness", "readability")
	wantFault(t, report.Notices, "integrity", a.commitKey(n), "was revoked before this commit")
	if report.Opened != uint64(len(a.records)) {
		t.Errorf("%d records", report.Opened)
	}
	for _, h := range ahead {
		wantFault(t, report.Faults, "integrity", fmt.Sprintf("%scommits/%020d", a.log(), h.Commit), "the control log holds")
	}
	if len(report.Faults) != len(ahead) {
		t.Errorf("%+v", report.Faults)
	}
}

// What a newer stele committed is neither a fault nor an empty place: readers and compactors stop there and say what to do. It is a squat by anybody else.
func TestCommitOfANewerVersion(t *testing.T) {
	for name, edit := range map[string]func(string) string{
		"a member":  func(s string) string { return strings.Replace(s, `"source":`, `"later":1,"source":`, 1) },
		"a version": func(s string) string { return strings.Replace(s, `"commit/v1"`, `"commit/v2"`, 1) },
		"a form":    func(s string) string { return s[:strings.Index(s, `"tree"`)] + `"tree":[]}` + "\n" },
	} {
		a := newRevokable(t)
		n := len(a.commits())
		text, _, _ := strings.Cut(string(a.steal(n, read(t, a.store, a.commitKey(n-1)), a.size())), "\n\n")
		file, err := note.Sign(&note.Note{Text: edit(text + "\n")}, a.thief)
		if err != nil {
			t.Fatal(err)
		}
		a.store.Overwrite(a.commitKey(n), file)
		if _, err := OpenArchive(t.Context(), a.store, a.trust()); err == nil || !strings.Contains(err.Error(), "a newer stele made it, upgrade this one") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := a.second(); err == nil || !strings.Contains(err.Error(), "upgrade this one") {
			t.Errorf("%s: a compactor: %v", name, err)
		}
		forged, err := note.Sign(&note.Note{Text: edit(text + "\n")}, signer(t, a.thief.Name(), slices.Repeat([]byte{3}, 32)))
		if err != nil {
			t.Fatal(err)
		}
		b := newRevokable(t)
		b.store.Overwrite(b.commitKey(n), forged)
		wantFault(t, b.verify(VerifyOptions{}).Notices, "integrity", b.commitKey(n), "squat")
	}
}

// What a compactor that was revoked puts into the control log has no effect; evidence with the roster that named it would rest on it. So it is a fault if it
// is not true, and a notice if it is.
func TestFalseWordOfAFormerCompactor(t *testing.T) {
	a := newRevokable(t)
	n := len(a.commits())
	c, err := commit.Peek(read(t, a.store, a.commitKey(n-1)))
	if err != nil {
		t.Fatal(err)
	}
	cp, err := merkle.Checkpoint{Origin: c.Log, Size: c.Tree.Size, Root: c.Tree.Root}.Sign(a.thief)
	if err != nil {
		t.Fatal(err)
	}
	truth := control.Head{Log: c.Log, Commit: c.N, Hash: commit.Hash(read(t, a.store, a.commitKey(n-1))), Checkpoint: string(cp)}
	line := control.LogLine(merkle.Checkpoint{Origin: c.Log, Size: c.Tree.Size, Root: c.Tree.Root})
	a.revoke()
	a.logs(truth)
	if err := a.sequence(control.TypeLogs, control.NewLogs(a.size(), []string{line}), a.thief); err != nil {
		t.Fatal(err)
	}
	named := func() (n int) {
		for _, f := range a.verify(VerifyOptions{}).Faults {
			if strings.Contains(f.Detail, " signed a ") {
				n++
			}
		}
		return n
	}
	wantFault(t, a.verify(VerifyOptions{}).Notices, "integrity", fmt.Sprintf("entry %d", a.size()-1), "has no effect")
	if n := named(); n != 0 {
		t.Errorf("%d faults where all is true", n)
	}

	false_ := []control.Head{a.claim(c.N, truth.Hash, c.Tree.Size), a.claim(c.N, commit.Hex32{8}, c.Tree.Size), a.claim(1<<40, commit.Hex32{7}, 1<<40), {Log: "test/9/2026Q4", Checkpoint: string(cp)}}
	for _, h := range false_ {
		a.logs(h)
		wantFault(t, a.verify(VerifyOptions{}).Faults, "integrity", fmt.Sprintf("entry %d", a.size()-1), "signed a head of "+h.Log+" that is not true")
	}
	if err := a.sequence(control.TypeLogs, control.NewLogs(a.size(), nil), a.thief); err != nil {
		t.Fatal(err)
	}
	wantFault(t, a.verify(VerifyOptions{}).Faults, "integrity", fmt.Sprintf("entry %d", a.size()-1), "test/compactor/second signed a list of logs")
	if got := named(); got != len(false_)+1 {
		t.Errorf("%d faults, want %d", got, len(false_)+1)
	}
	// Who never was a compactor is heard by nobody.
	stranger := signer(t, a.thief.Name(), slices.Repeat([]byte{3}, 32))
	if err := a.sequence(control.TypeLogs, control.NewLogs(a.size(), nil), stranger); err != nil {
		t.Fatal(err)
	}
	if got := named(); got != len(false_)+1 {
		t.Errorf("with a stranger's: %d faults, want %d", got, len(false_)+1)
	}
}

// A head is that of a commit by its hash: what was withheld and is put later cannot be anything else, and what somebody
// built on stands.
func TestHeadOfARevokedCompactorBinds(t *testing.T) {
	a := newRevokable(t)
	n := len(a.commits())
	parent := read(t, a.store, a.commitKey(n-1))
	c, err := commit.Peek(parent)
	if err != nil {
		t.Fatal(err)
	}
	size := a.size()
	one := a.steal(n, parent, size)
	two := a.steal(n+1, one, size)
	h := a.claim(uint64(n+1), commit.Hash(two), c.Tree.Size)
	cp, err := merkle.Checkpoint{Origin: h.Log, Size: c.Tree.Size, Root: c.Tree.Root}.Sign(a.thief)
	if err != nil {
		t.Fatal(err)
	}
	h.Checkpoint = string(cp)
	a.logs(h)
	a.store.Overwrite(a.commitKey(n), one)
	a.store.Overwrite(a.commitKey(n+1), two)
	a.revoke()
	three := a.steal(n+2, two, size)
	a.store.Overwrite(a.commitKey(n+2), three)
	a.stream.send(a.records[10:]...)
	a.stream.close()
	a.once(a.keys)
	report := a.intact(a.keys, a.records)
	wantFault(t, report.Notices, "integrity", a.commitKey(n+2), "was revoked before this commit")
	if got := len(report.Logs); got != 1 || report.Logs[0].Commits != uint64(n+3) {
		t.Errorf("%+v", report.Logs)
	}
}

// Who comes to work after a compactor died logs the head of its last commit, although it was let in later.
func TestSuccessorLogsTheHead(t *testing.T) {
	store := storetest.NewMemory()
	a := newTestArchive(t, store)
	keys := a.keys()
	s, records := a.stream(keyscope.Link{}), some(20)
	s.send(records[:10]...)
	deadline := &noHeads{Memory: store}
	c := a.compactor(deadline, keys)
	if err := c.Once(t.Context()); err == nil {
		t.Fatal("the compactor logged its head")
	}
	if len(a.commits()) == 0 {
		t.Fatal("nothing was committed")
	}
	r := &revokable{testArchive: a, store: store, keys: keys}
	var err error
	if r.role, err = addService(r.desk(), "second"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.second(); err != nil {
		t.Fatal(err)
	}
	s.send(records[10:]...)
	s.close()
	if _, err := r.second(); err != nil {
		t.Fatal(err)
	}
	a.intact(keys, records)
}

// noHeads takes nothing into the control log.
type noHeads struct{ *storetest.Memory }

func (s *noHeads) Create(ctx context.Context, key string, data []byte, lock worm.Lock) (worm.Version, error) {
	if strings.HasPrefix(key, "control/log/") {
		return worm.Version{}, fmt.Errorf("no: %w", worm.ErrPermanent)
	}
	return s.Memory.Create(ctx, key, data, lock)
}

// addService adds another compactor, and returns its role file.
func addService(d *erase.Desk, name string) (role []byte, err error) {
	_, err = d.AddService(context.Background(), control.RoleCompactor, name, func(file []byte) error { role = file; return nil })
	return role, err
}
