package datalog_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	. "github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/merkle"
)

var (
	errDown = errors.New("the store is down")
	errGone = fs.ErrNotExist
)

// version is a version of an object in store.
type version struct {
	id      string
	data    []byte
	deleted bool
	err     error // of reading it
}

// store is a store in memory, of which parts may be down.
type store struct {
	objects map[string][]version
	down    string // prefix that cannot be listed
	listed  int    // versions
	reads   []string
}

func (s *store) Create(_ context.Context, key string, data []byte, _ worm.Lock) (worm.Version, error) {
	if all := s.objects[key]; len(all) > 0 && !all[len(all)-1].deleted {
		return worm.Version{}, fs.ErrExist
	}
	s.add(key, version{data: slices.Clone(data)})
	return worm.Version{}, nil
}

func (s *store) add(key string, v version) {
	if v.id == "" {
		v.id = fmt.Sprint("v", len(s.objects[key]))
	}
	s.objects[key] = append(s.objects[key], v)
}

func (s *store) Read(_ context.Context, key, id string, r worm.Range) ([]byte, error) {
	s.reads = append(s.reads, key+" "+id)
	for _, v := range slices.Backward(s.objects[key]) {
		if v.deleted && id == "" {
			break
		}
		if v.deleted || id != "" && v.id != id {
			continue
		}
		if v.err != nil {
			return nil, v.err
		}
		if r == (worm.Range{}) {
			return v.data, nil
		}
		if r.Off+r.Len > int64(len(v.data)) {
			return nil, errors.New("outside the object")
		}
		return v.data[r.Off:][:r.Len], nil
	}
	return nil, fmt.Errorf("%s: %w", key, fs.ErrNotExist)
}

func (s *store) Versions(_ context.Context, prefix, after string) iter.Seq2[worm.Version, error] {
	return func(yield func(worm.Version, error) bool) {
		if s.down != "" && strings.HasPrefix(prefix, s.down) {
			yield(worm.Version{}, errDown)
			return
		}
		for _, key := range slices.Sorted(maps.Keys(s.objects)) {
			if !strings.HasPrefix(key, prefix) || key <= after {
				continue
			}
			for _, v := range s.objects[key] {
				s.listed++
				if !yield(worm.Version{Key: key, ID: v.id, Size: int64(len(v.data)), Deleted: v.deleted}, nil) {
					return
				}
			}
		}
	}
}

func (s *store) Extend(context.Context, string, string, worm.Lock) error { return nil }

var noon = time.Date(2026, 9, 30, 12, 0, 0, 0, time.UTC)

const (
	q3, q4 = "2026Q3", "2026Q4"
	one    = "acme/compactor/one" // who may commit
	two    = "acme/compactor/two"
)

// world is an archive with two compactors.
type world struct {
	*testing.T
	store  *store
	trust  identity.Trust
	log    *ledger.Log
	policy control.Policy
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, store: &store{objects: map[string][]version{}}}
	w.trust = identity.Trust{Archive: [16]byte{1}, Name: "acme", Root: w.vkey("acme/root"), Log: w.vkey("acme/control")}
	w.policy = control.Policy{Version: 1, Root: w.trust.Root, Classes: []control.Class{{Name: "default", Keep: 30}}, Partitions: 1, Period: "quarter", Lock: control.Lock{Mode: "none"},
		Compactors:  []control.Named{{Name: "one", Key: w.vkey(one)}, {Name: "two", Key: w.vkey(two)}},
		KeyServices: []control.Named{{Name: "default", Key: w.vkey("acme/keyservice/default")}}}
	w.log = w.open()
	w.say("acme/root", control.TypePolicy, w.policy)
	return w
}

// open reads the control log as it is now.
func (w *world) open() *ledger.Log {
	w.Helper()
	log, err := ledger.Open(w.Context(), w.store, w.trust)
	if err != nil {
		w.Fatal(err)
	}
	return log
}

func (w *world) signer(name string) note.Signer {
	w.Helper()
	seed := sha256.Sum256([]byte(name))
	s, err := merkle.NewSigner(name, ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		w.Fatal(err)
	}
	return s
}

func (w *world) vkey(name string) string {
	w.Helper()
	seed := sha256.Sum256([]byte(name))
	vkey, err := note.NewEd25519VerifierKey(name, ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
	if err != nil {
		w.Fatal(err)
	}
	return vkey
}

// say puts an entry into the control log, which must have an effect.
func (w *world) say(by, kind string, body any) {
	w.Helper()
	e, err := control.Sign(w.trust.Archive, kind, noon, body, w.signer(by))
	if err == nil {
		err = w.log.Append(w.Context(), w.signer("acme/control"), e)
	}
	if err == nil {
		err = w.log.Effective(e)
	}
	if err != nil {
		w.Fatal(err)
	}
}

// revoke takes a compactor out of the policy.
func (w *world) revoke(name string) {
	w.Helper()
	w.policy.Version++
	if err := w.policy.Revoke(control.RoleCompactor, name, nil); err != nil {
		w.Fatal(err)
	}
	w.say("acme/root", control.TypePolicy, w.policy)
}

// heads puts heads into the control log.
func (w *world) heads(by string, heads ...control.Head) {
	w.Helper()
	w.say(by, control.TypeHeads, control.Heads{Heads: heads})
}

// link is a commit and its file.
type link struct {
	c    commit.Commit
	file []byte
}

func (l *link) hash() commit.Hex32 { return commit.Hash(l.file) }

func (l *link) head() control.Head {
	return control.Head{Log: l.c.Log, Commit: l.c.N, Hash: l.hash()}
}

// sign makes a commit's file.
func (w *world) sign(c commit.Commit, by string) *link {
	w.Helper()
	if c.By == "" {
		c.By = by
	}
	file, err := c.Sign(w.signer(by))
	if err != nil {
		w.Fatal(err)
	}
	return &link{c, file}
}

// child is an empty commit behind another of its log, nil for the first.
func (w *world) child(period string, parent *link) commit.Commit {
	c := commit.Commit{Archive: w.trust.Archive, Log: commit.Origin("acme", 0, period), Control: w.log.Size(), Time: noon, SourceTime: noon, Tree: commit.Tree{Root: merkle.EmptyRoot()}}
	if parent != nil {
		c.N, c.Prev = parent.c.N+1, parent.hash()
	}
	return c
}

// closing is a final commit behind another, and first the first of the next log.
func (w *world) closing(period, next string, parent *link) commit.Commit {
	c := w.child(period, parent)
	c.Final = &commit.Final{Next: commit.Origin("acme", 0, next)}
	return c
}

func (w *world) first(period string, final *link) commit.Commit {
	c := w.child(period, nil)
	c.Prev, c.Continues = final.hash(), &commit.End{Log: final.c.Log, N: final.c.N}
	return c
}

// put lays a commit where it belongs.
func (w *world) put(period string, l *link) *link {
	w.Helper()
	return w.putAt(period, l.c.N, l)
}

func (w *world) putAt(period string, n uint64, l *link) *link {
	w.Helper()
	if _, err := w.store.Create(w.Context(), key(period, n), l.file, worm.Lock{}); err != nil {
		w.Fatal(err)
	}
	return l
}

func key(period string, n uint64) string { return fmt.Sprintf("logs/0/%s/commits/%020d", period, n) }

// extend makes n more commits by somebody.
func (w *world) extend(period string, parent *link, by string, n int) *link {
	w.Helper()
	for range n {
		parent = w.put(period, w.sign(w.child(period, parent), by))
	}
	return parent
}

func (w *world) chain(period string) *Chain {
	return New(w.log, w.store, &w.trust, 0, period)
}

// reads reads a log from its start, and wants so many numbers to be part of its chain, a finding that says found, and an
// error that says says; "" wants none.
func (w *world) reads(l *Chain, next uint64, found, says string) *Chain {
	w.Helper()
	var all []string
	err := l.Read(w.Context(), func(f chain.Finding) { all = append(all, f.Error()) })
	if got := strings.Join(all, "\n"); found == "" && got != "" || !strings.Contains(got, found) {
		w.Errorf("found %q, want %q", got, found)
	}
	if got := fmt.Sprint(err); says == "" && err != nil || says != "" && !strings.Contains(got, says) {
		w.Errorf("says %s, want %q", got, says)
	}
	have := uint64(0)
	if l.Last != nil {
		have = l.Last.N + 1
	}
	if have != next {
		w.Errorf("the chain ends before %d, want %d", have, next)
	}
	return l
}

// noted signs a text.
func (w *world) noted(text, by string) []byte {
	w.Helper()
	file, err := note.Sign(&note.Note{Text: text}, w.signer(by))
	if err != nil {
		w.Fatal(err)
	}
	return file
}
