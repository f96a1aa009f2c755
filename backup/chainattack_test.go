package backup_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/merkle"
)

// commitSigner signs commits as the compactor of the archive does.
func (a *testArchive) commitSigner() note.Signer {
	a.t.Helper()
	var id identity.Compactor
	if err := identity.Parse(a.file("compactor", "compactor.stele"), identity.CompactorFormat, &id); err != nil {
		a.t.Fatal(err)
	}
	return signer(a.t, identity.KeyName(id.Name, "compactor", id.By), id.Key)
}

func signer(t *testing.T, name string, seed []byte) note.Signer {
	t.Helper()
	s, err := merkle.NewSigner(name, ed25519.NewKeyFromSeed(seed))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// forge reads commit n, changes it and signs it anew.
func (a *testArchive) forge(n int, by note.Signer, edit func(*commit.Commit)) []byte {
	a.t.Helper()
	c, err := commit.Peek(read(a.t, a.store, a.commitKey(n)))
	if err != nil {
		a.t.Fatal(err)
	}
	edit(c)
	c.By = by.Name()
	file, err := c.Sign(by)
	if err != nil {
		a.t.Fatal(err)
	}
	return file
}

// goesOn sends more records, which must be committed, with everything else still there and the attack in the control log.
func (a *testArchive) goesOn(keys *keys.Service, records []testRecord, kind string) *Report {
	a.t.Helper()
	more := some(7)
	s := a.stream(keyscope.Link{})
	s.send(more...)
	s.close()
	a.once(keys)
	a.once(keys) // a finding of this run is in the control log by the next
	report := a.verify(VerifyOptions{Reader: a.reader(keys)})
	if report.Opened != uint64(len(records)+len(more)) {
		a.t.Errorf("%d records, want %d", report.Opened, len(records)+len(more))
	}
	wantFault(a.t, slices.Concat(report.Notices, report.Faults), "integrity", "test/0/", kind+", reported by a compactor")
	return report
}

// TestAttacksThatChangeNothing: whoever can only add to the store changes nothing and turns nothing red.
func TestAttacksThatChangeNothing(t *testing.T) {
	stranger := func(a *testArchive) note.Signer {
		return signer(t, a.commitSigner().Name(), slices.Repeat([]byte{7}, 32))
	}
	next := func(c *commit.Commit) { c.N = 3 }
	whole, _, _, records := built(t)
	for _, test := range []struct {
		name, kind string
		attack     func(a *testArchive, m *storetest.Memory)
	}{
		{"marker and second version on a commit", "version", func(a *testArchive, m *storetest.Memory) {
			m.Mark(a.commitKey(1))
			m.Overwrite(a.commitKey(1), []byte("other"))
		}},
		{"marker alone", "marker", func(a *testArchive, m *storetest.Memory) { m.Mark(a.commitKey(2)) }},
		{"rival chain behind a marker", "version", func(a *testArchive, m *storetest.Memory) {
			rival := a.forge(1, a.commitSigner(), func(c *commit.Commit) { c.Time = c.Time.Add(time.Hour) })
			child := a.forge(2, a.commitSigner(), func(c *commit.Commit) { c.Prev = commit.Hash(rival) })
			m.Mark(a.commitKey(1))
			m.Overwrite(a.commitKey(1), rival)
			m.Mark(a.commitKey(2))
			m.Overwrite(a.commitKey(2), child)
		}},
		{"next number squatted", "squat", func(a *testArchive, m *storetest.Memory) { m.Overwrite(a.commitKey(3), []byte("mine")) }},
		{"two numbers squatted", "squat", func(a *testArchive, m *storetest.Memory) {
			m.Overwrite(a.commitKey(3), []byte("mine"))
			m.Overwrite(a.commitKey(4), []byte("mine too"))
		}},
		{"squatted by a key of the same name", "squat", func(a *testArchive, m *storetest.Memory) {
			m.Overwrite(a.commitKey(3), a.forge(2, stranger(a), next))
		}},
		{"squatted with an old commit", "squat", func(a *testArchive, m *storetest.Memory) {
			m.Overwrite(a.commitKey(3), read(t, m, a.commitKey(1)))
		}},
		{"a number far ahead squatted", "squat", func(a *testArchive, m *storetest.Memory) { m.Overwrite(a.commitKey(9), []byte("mine")) }},
		{"squatted under a marker", "version", func(a *testArchive, m *storetest.Memory) {
			m.Overwrite(a.commitKey(3), []byte("mine"))
			m.Mark(a.commitKey(3))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, store, keys := again(t, whole)
			if strings.Contains(test.name, "under a marker") {
				test.kind = "marker"
			}
			test.attack(a, store)
			wantExit(t, a.goesOn(keys, records, test.kind), 0, "integrity", "completeness", "readability")
		})
	}
}

// TestHiddenObjects: what lies over an object of a commit changes nothing, and is said. A marker that is gone again, and a
// version below, are nothing to say.
func TestHiddenObjects(t *testing.T) {
	whole, _, _, records := built(t)
	for name, want := range map[string]string{"marker": "hidden: a delete marker", "version": "overwritten: another version", "both": "overwritten: another version"} {
		t.Run(name, func(t *testing.T) {
			a, store, keys := again(t, whole)
			key := keysOf(t, store, "logs/0/")[0]
			for _, k := range keysOf(t, store, "logs/0/") {
				if strings.Contains(k, "/objects/") {
					key = k
				}
			}
			if name != "version" {
				store.Mark(key)
			}
			if name != "marker" {
				store.Overwrite(key, []byte("other"))
			}
			report := a.verify(VerifyOptions{Reader: a.reader(keys)})
			wantExit(t, report, 0, "integrity", "completeness", "readability")
			wantFault(t, report.Notices, "integrity", key, want)
			if report.Opened != uint64(len(records)) || len(report.Notices) != 1 {
				t.Errorf("%d records of %d, notices %v", report.Opened, len(records), report.Notices)
			}
		})
	}
}

// TestSquatterLeaves: what burnt a number is removed by whoever put it there.
func TestSquatterLeaves(t *testing.T) {
	a, store, keys, records := built(t)
	store.Overwrite(a.commitKey(3), []byte("mine"))
	report := a.goesOn(keys, records, "squat")
	wantExit(t, report, 0)
	c, err := commit.Peek(read(t, store, a.commitKey(4)))
	if err != nil || !slices.Equal(c.Burnt, []uint64{3}) {
		t.Errorf("burnt %v, %v", c.Burnt, err)
	}
	store.Remove(a.commitKey(3), "")
	report = a.goesOn(keys, append(records, some(7)...), "squat")
	wantExit(t, report, 0, "integrity", "completeness", "readability")
	wantFault(t, report.Notices, "integrity", a.commitKey(3), "burnt")
}

// TestFoldersMakeNoLog: names in the store alone make no partition and no period.
func TestFoldersMakeNoLog(t *testing.T) {
	a, store, keys, records := built(t)
	for _, key := range []string{"logs/0/9999Q4/commits/00000000000000000000", "logs/0/zz/x", "logs/00/2026Q1/commits/x", "logs/7/2026Q1/x", "logs/x"} {
		store.Overwrite(key, []byte("mine"))
	}
	more := some(7)
	s := a.stream(keyscope.Link{})
	s.send(more...)
	s.close()
	a.once(keys)
	a.intact(keys, append(records, more...))
}

// TestInsiderForks: a second valid child can only be made with a commit key. The first by number counts, and the
// archive says that it was attacked.
func TestInsiderForks(t *testing.T) {
	whole, _, _, records := built(t)
	for n := range 3 {
		t.Run(fmt.Sprint("beside ", n), func(t *testing.T) {
			a, store, keys := again(t, whole)
			store.Overwrite(a.commitKey(3), a.forge(n, a.commitSigner(), func(c *commit.Commit) { c.N = 3 }))
			report := a.goesOn(keys, records, "fork")
			wantExit(t, report, 10)
			wantFault(t, report.Faults, "integrity", a.commitKey(3), "fork")
		})
	}
}

// TestRevokedCompactor: its later commits are not children, whatever they say.
func TestRevokedCompactor(t *testing.T) {
	a, store, keys, records := built(t)
	a.policy(func(p *control.Policy) {
		key := slices.Repeat([]byte{9}, 32)
		vkey, err := note.NewEd25519VerifierKey(identity.KeyName("test", "compactor", "second"), ed25519.NewKeyFromSeed(key).Public().(ed25519.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		p.Compactors = append(p.Compactors, control.Named{Name: "second", Key: vkey})
		p.Revoked = append(p.Revoked, control.Revocation{Key: vkey, Last: map[string]uint64{"test/0/" + strings.Split(a.log(), "/")[2]: 2}})
	})
	second := signer(t, identity.KeyName("test", "compactor", "second"), slices.Repeat([]byte{9}, 32))
	parent := commit.Hash(read(t, store, a.commitKey(2)))
	store.Overwrite(a.commitKey(3), a.forge(2, second, func(c *commit.Commit) {
		c.N, c.Prev, c.Objects, c.Index, c.Proof, c.Streams, c.Records, c.From, c.Until = 3, parent, nil, nil, nil, nil, 0, nil, nil
		c.Tree.First, c.Tree.Before = c.Tree.Size, c.Tree.After
		c.Control = 0
		for _, key := range keysOf(t, store, "control/log/") {
			c.Control += uint64(len(a.entries(key)))
		}
	}))
	report := a.goesOn(keys, records, "squat")
	wantExit(t, report, 0)
	wantFault(t, report.Notices, "integrity", a.commitKey(3), "revoked")
}

// policy makes the next version of the access policy with the root key.
func (a *testArchive) policy(edit func(*control.Policy)) {
	a.t.Helper()
	root, p := a.root()
	p.Version++
	edit(&p)
	a.drop(control.TypePolicy, p, root)
	a.once(nil)
}

// root is the policy root, and the newest policy by it.
func (a *testArchive) root() (by note.Signer, p control.Policy) {
	a.t.Helper()
	var root identity.Root
	if err := identity.Parse(a.file("admin", "root.stele"), identity.RootFormat, &root); err != nil {
		a.t.Fatal(err)
	}
	for _, key := range keysOf(a.t, a.store, "control/log/") {
		for _, e := range a.entries(key) {
			if e.Type == control.TypePolicy && e.By == identity.RootName("test") {
				if err := e.Into(&p); err != nil {
					a.t.Fatal(err)
				}
			}
		}
	}
	return signer(a.t, identity.RootName("test"), root.Key), p
}

// drop puts an entry into the inbox.
func (a *testArchive) drop(kind string, body any, by note.Signer) string {
	a.t.Helper()
	var trust identity.Trust
	if err := trust.UnmarshalText(a.trust()); err != nil {
		a.t.Fatal(err)
	}
	e, err := control.Sign(trust.Archive, kind, time.Now(), body, by)
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := a.store.Create(a.t.Context(), fmt.Sprintf("control/inbox/%v", commit.Hash([]byte(e))), []byte(e), worm.Lock{}); err != nil {
		a.t.Fatal(err)
	}
	return e
}

// entries are those of an object of the control log.
func (a *testArchive) entries(key string) (out []control.Entry) {
	a.t.Helper()
	line, _, _ := strings.Cut(string(read(a.t, a.store, key)), "\n\n")
	var obj control.Object
	if err := json.Unmarshal([]byte(line), &obj); err != nil {
		a.t.Fatal(err)
	}
	for _, file := range obj.Entries {
		var e control.Entry
		line, _, _ := strings.Cut(file, "\n\n")
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			a.t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// TestCutLogs removes ends. What the control log or its checkpoints still know of convicts; what is cut everywhere at
// once leaves an archive as it was, and only its age and its streams can tell.
func TestCutLogs(t *testing.T) {
	everything := func(prefix string, from int) func(a *testArchive, m *storetest.Memory) {
		return func(a *testArchive, m *storetest.Memory) {
			all := keysOf(t, m, prefix)
			if from < 0 { // from the end
				from += len(all)
			}
			for _, key := range all[from:] {
				m.Remove(key, "")
			}
		}
	}
	data := func(from int) func(a *testArchive, m *storetest.Memory) {
		return func(a *testArchive, m *storetest.Memory) { everything(a.log()+"commits/", from)(a, m) }
	}
	whole, _, _, _ := built(t)
	for _, test := range []struct {
		name   string
		attack []func(a *testArchive, m *storetest.Memory)
		code   int
		halts  bool
		key    string
		words  string
	}{
		{"last commit", []func(*testArchive, *storetest.Memory){data(2)}, 10, true, "commits/00000000000000000002", "cut"},
		{"all commits", []func(*testArchive, *storetest.Memory){data(0)}, 10, true, "commits/00000000000000000000", "cut"},
		{"whole log", []func(*testArchive, *storetest.Memory){everything("logs/", 0)}, 10, true, "commits/00000000000000000001", "cut"},
		{"first commit", []func(*testArchive, *storetest.Memory){func(a *testArchive, m *storetest.Memory) { m.Remove(a.commitKey(0), "") }},
			10, true, "commits/00000000000000000000", "missing"},
		{"end of the control log", []func(*testArchive, *storetest.Memory){everything("control/log/", -1)}, 10, true, "control/checkpoints/", "cut"},
		{"middle of the control log", []func(*testArchive, *storetest.Memory){func(a *testArchive, m *storetest.Memory) {
			m.Remove(keysOf(t, m, "control/log/")[1], "")
		}}, 10, true, "control/log/00000000000000000001", "missing"},
		{"end of the control log with its checkpoints", []func(*testArchive, *storetest.Memory){everything("control/log/", -4), everything("control/checkpoints/", -4)}, // heads and a list of logs each
			10, true, "commits/00000000000000000002", "control log had"},
		{"all ends", []func(*testArchive, *storetest.Memory){everything("control/log/", -2), everything("control/checkpoints/", -2), data(2)},
			11, false, "stream ", "unknown after seq 20"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, store, _ := again(t, whole)
			for _, attack := range test.attack {
				attack(a, store)
			}
			report := a.verify(VerifyOptions{})
			wantExit(t, report, test.code)
			verdict := "integrity"
			if test.code == 11 {
				verdict = "completeness"
			}
			wantFault(t, report.Faults, verdict, test.key, test.words)
			commits := len(a.commits())
			_, err := a.compact(t.Context(), nil, store, nil)
			if test.halts != (err != nil) {
				t.Errorf("compactor over a cut archive: %v", err)
			}
			if test.halts && len(a.commits()) != commits {
				t.Error("a chain that was cut was extended")
			}
		})
	}
}
