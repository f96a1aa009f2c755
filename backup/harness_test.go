package backup_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/keyscope"
)

// compact runs a compactor on all that is there, over another store, with a changed configuration.
func (a *testArchive) compact(ctx context.Context, keys *keys.Service, store worm.Store, edit func(*compact.Config)) (*compact.Compactor, error) {
	cfg := compact.Config{Store: store, Trust: a.trust(), Identity: a.file("compactor", "compactor.stele"), From: a.url(), Keys: keys}
	if edit != nil {
		edit(&cfg)
	}
	c, err := compact.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return c, c.Once(ctx)
}

// segments makes commits of one small segment after the other.
func segmentsOf(n int64) func(*compact.Config) {
	return func(c *compact.Config) { c.SegmentBytes = n }
}

// keysOf lists the keys under a prefix that are no markers, each once.
func keysOf(t *testing.T, s worm.Store, prefix string) (keys []string) {
	t.Helper()
	for v, err := range s.Versions(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		if !v.Deleted && !slices.Contains(keys, v.Key) {
			keys = append(keys, v.Key)
		}
	}
	return keys
}

func read(t *testing.T, s worm.Store, key string) []byte {
	t.Helper()
	data, err := s.Read(t.Context(), key, "", worm.Range{})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// log is the prefix of the log of partition 0, commits that of its commits.
func (a *testArchive) log() string {
	now := time.Now().UTC()
	return fmt.Sprintf("logs/0/%dQ%d/", now.Year(), (int(now.Month())+2)/3)
}

func (a *testArchive) commits() []string { return keysOf(a.t, a.store, a.log()+"commits/") }

func (a *testArchive) commitKey(n int) string { return fmt.Sprintf("%scommits/%020d", a.log(), n) }

// intact checks that everything that was sent is there once, in order, and that all verdicts hold.
func (a *testArchive) intact(keys *keys.Service, records []testRecord) *Report {
	a.t.Helper()
	r := a.reader(keys)
	report := a.verify(VerifyOptions{Reader: r})
	wantExit(a.t, report, 0, "integrity", "completeness", "readability")
	if got, want := bodies(a.t, r, Query{}), wantBodies(records); !slices.Equal(got, want) {
		a.t.Errorf("restored %d records, not equal to the %d sent", len(got), len(want))
	}
	for _, l := range report.Logs {
		if l.Provable != l.Size {
			a.t.Errorf("%s: %d of %d leaves provable", l.Origin, l.Provable, l.Size)
		}
	}
	return report
}

// built is an archive of three closed commits in memory with the records in it.
func built(t *testing.T) (*testArchive, *storetest.Memory, *keys.Service, []testRecord) {
	t.Helper()
	store := storetest.NewMemory()
	a := newTestArchive(t, store)
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	records := some(30)
	for i := range 3 {
		s.send(records[10*i : 10*i+10]...)
		if i == 2 {
			s.close()
		}
		a.once(keys)
	}
	return a, store, keys, records
}

// again is a clone of an archive that was built, with what built gives.
func again(t *testing.T, a *testArchive) (*testArchive, *storetest.Memory, *keys.Service) {
	t.Helper()
	c := a.clone(t)
	return c, c.store.(*storetest.Memory), c.keys()
}

// wantFault checks that some fault of a verdict names key and says all the words.
func wantFault(t *testing.T, list []Fault, verdict, key string, words ...string) {
	t.Helper()
	for _, f := range list {
		ok := f.Verdict == verdict && strings.Contains(f.Key, key)
		for _, w := range words {
			ok = ok && strings.Contains(f.Detail, w)
		}
		if ok {
			return
		}
	}
	t.Errorf("nothing says %s %q %q; there is:", verdict, key, words)
	for _, f := range list {
		t.Logf("  %v", f)
	}
}

func flip(data []byte, bit int) []byte {
	out := bytes.Clone(data)
	out[bit/8] ^= 1 << (bit % 8)
	return out
}

// eraseSubject erases all that carries the tag of a subject.
func eraseSubject(ctx context.Context, service *keys.Service, pepper []byte, subject string) (*keys.Erased, error) {
	tags := keyscope.MakeTags((*[32]byte)(pepper), nil, []byte(subject), nil)
	return service.Erase(ctx, keys.Erasure{Tags: [][16]byte{tags.Subject}})
}
