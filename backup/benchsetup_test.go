//go:build unix

package backup_test

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/benchtext"
	"github.com/stelelog/stele/logpipe"
)

// benchStore is a store in memory that costs next to nothing: it lends its bytes instead of copying them, and with
// discard it forgets the objects of segments, so that only the compactor is measured. It counts what is read.
type benchStore struct {
	discard bool

	mu       sync.Mutex
	objects  map[string][]byte
	read     map[string]int64 // bytes, by what comes behind the last '.' or the first '/' of a key
	requests int
}

func newBenchStore() *benchStore {
	return &benchStore{objects: map[string][]byte{}, read: map[string]int64{}}
}

// clone is a store with the same objects.
func (s *benchStore) clone(discard bool) *benchStore {
	return &benchStore{discard: discard, objects: maps.Clone(s.objects), read: map[string]int64{}}
}

func (s *benchStore) Create(_ context.Context, key string, data []byte, _ worm.Lock) (worm.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := worm.Version{Key: key, Size: int64(len(data))}
	if s.discard && strings.Contains(key, "/objects/") {
		return v, nil
	}
	if _, ok := s.objects[key]; ok {
		return v, fs.ErrExist
	}
	s.objects[key] = slices.Clone(data)
	return v, nil
}

func (s *benchStore) Read(_ context.Context, key, _ string, r worm.Range) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.objects[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	if r != (worm.Range{}) {
		data = data[r.Off:][:r.Len:r.Len]
	}
	s.read[kindOf(key)] += int64(len(data))
	s.requests++
	return data, nil
}

// kindOf sorts keys by what lies under them: control, commits, index, data, proof.
func kindOf(key string) string {
	switch {
	case strings.Contains(key, ".index."):
		return "index"
	case strings.Contains(key, ".data."):
		return "data"
	case strings.HasSuffix(key, ".proof"):
		return "proof"
	case strings.Contains(key, "/commits/"):
		return "commits"
	}
	return "control"
}

func (s *benchStore) Versions(_ context.Context, prefix, after string) iter.Seq2[worm.Version, error] {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := slices.Sorted(maps.Keys(s.objects))
	return func(yield func(worm.Version, error) bool) {
		for _, k := range keys {
			if strings.HasPrefix(k, prefix) && k > after && !yield(worm.Version{Key: k, Size: int64(len(s.objects[k]))}, nil) {
				return
			}
		}
	}
}

func (s *benchStore) Extend(context.Context, string, string, worm.Lock) error { return nil }

// load is what a benchmark captures.
type load struct {
	records  int
	body     int  // bytes of each
	perScope int  // records of one session
	alone    bool // one record in each frame
}

func (l load) String() string {
	packing := "full"
	if l.alone {
		packing = "1"
	}
	return fmt.Sprintf("body=%d/scope=%d/frame=%s", l.body, l.perScope, packing)
}

// benchArchive is a new archive with a spool that holds a load, captured through a pipe.
type benchArchive struct {
	store *benchStore // as Init left it
	roles string
	spool string
	load  load
	raw   int64 // bytes of all bodies

	archived *benchStore // once archive was called
}

// benchDir is a directory in memory where the system has one, so that no disk is measured.
func benchDir(b *testing.B) string {
	dir, err := os.MkdirTemp("/dev/shm", "stele-bench-")
	if err != nil {
		return b.TempDir()
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// archives makes the archive of a load when it is first asked for, and keeps it for the later runs of one benchmark.
func archives(parent *testing.B, l load) func(*testing.B) *benchArchive {
	dir := benchDir(parent)
	var a *benchArchive
	return func(b *testing.B) *benchArchive {
		if a == nil {
			a = newBenchArchive(b, l, dir)
		}
		return a
	}
}

func newBenchArchive(b *testing.B, l load, dir string) *benchArchive {
	b.Helper()
	a := &benchArchive{store: newBenchStore(), roles: filepath.Join(dir, "roles"), spool: filepath.Join(dir, "spool"), load: l}
	_, err := admin.Init(b.Context(), admin.InitConfig{Store: a.store, Name: "bench", To: "file://" + a.spool, Dir: a.roles, Lock: worm.LockNone, Partitions: 1})
	if err != nil {
		b.Fatal(err)
	}
	a.capture(b)
	return a
}

// capture puts the load into the spool. No two bodies are alike, and they compress as real answers do.
func (a *benchArchive) capture(b *testing.B) {
	p, err := logpipe.Open(b.Context(), logpipe.Config{Credential: filepath.Join(a.roles, "writer", "default.stele"), To: "file://" + a.spool,
		Default: logpipe.ClassConfig{OnFull: logpipe.Wait, Wait: time.Minute}})
	if err != nil {
		b.Fatal(err)
	}
	text, body := benchtext.New(3), make([]byte, a.load.body)
	for i := range a.load.records {
		session := i / a.load.perScope
		text.Fill(body)
		r := logpipe.Record{Kind: logpipe.Output, Tenant: "tenant", Subject: fmt.Sprintf("subject-%d", session%200), Session: fmt.Sprint(session),
			Attributes: []byte(`{"gen_ai.operation.name":"chat","gen_ai.provider.name":"bench","gen_ai.request.model":"m-1"}`), Body: body}
		if err := p.Capture(b.Context(), &r); err != nil {
			b.Fatal(err)
		}
		a.raw += int64(len(r.Body))
		if a.load.alone {
			if err := p.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := p.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	if s := p.Stats(); s.Captured != uint64(a.load.records) {
		b.Fatalf("captured %d of %d records", s.Captured, a.load.records)
	}
}

func (a *benchArchive) role(b *testing.B, name string) []byte {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(a.roles, name))
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// compact takes the spool in dir into store.
func (a *benchArchive) compact(b *testing.B, store worm.Store, dir string, keys *keys.Service) *compact.Compactor {
	b.Helper()
	c, err := compact.Open(b.Context(), compact.Config{Store: store, Trust: a.role(b, "trust.stele"),
		Identity: a.role(b, "compactor/compactor.stele"), From: "file://" + dir, Keys: keys})
	if err == nil {
		err = c.Once(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
	if got := c.Stats().Records; got < uint64(a.load.records) {
		b.Fatalf("%d leaves, captured %d", got, a.load.records)
	}
	return c
}

// archive compacts the load for good, once, and returns the store with a key service that has its keys.
func (a *benchArchive) archive(b *testing.B) (*benchStore, *keys.Service) {
	b.Helper()
	store := a.archived
	if store == nil {
		store = a.store.clone(false)
	}
	keys, err := keys.Open(b.Context(), keys.Config{Store: store, Trust: a.role(b, "trust.stele"),
		Identity: a.role(b, "keys/keyservice.stele"), Custodians: keys.Custodians{URLs: map[string]string{"default": admin.DefaultCustodian(a.roles)}}, From: "file://" + a.spool})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { keys.Close() })
	if a.archived == nil {
		a.compact(b, store, a.spool, keys)
		a.archived = store
	}
	return store, keys
}
