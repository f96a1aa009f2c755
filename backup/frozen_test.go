package backup_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/dirstore"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/logpipe/event"
)

// frozenDir holds an archive of format version 1 with the keys that open it. It was made once, see its README, and what
// the tests here find in it must never change: archives like it lie under object lock.
const frozenDir = "testdata/v1"

// frozenReport is what Verify must say about the frozen archive, for ever.
type frozenReport struct {
	Archive     string                  `json:"archive"`
	Verdicts    map[string]backup.State `json:"verdicts"`
	Records     uint64                  `json:"records"`
	Leaves      uint64                  `json:"leaves"`
	Bytes       uint64                  `json:"bytes"`
	Opened      uint64                  `json:"opened"`
	Logs        []backup.LogReport      `json:"logs"`
	Streams     []frozenStream          `json:"streams"`
	Quarantined uint64                  `json:"quarantined"`
	Commits     []string                `json:"commits"` // hashes, in order
}

type frozenStream struct {
	Stream, Service, State string
	Leaves, Lost           uint64
	Complete               bool
	Acknowledged           string
}

// frozen is the frozen archive, opened from a copy.
type frozen struct {
	dir     string
	archive *backup.Archive
	keys    *keys.Service
	reader  *backup.Reader
}

func openFrozen(t *testing.T, from string) *frozen {
	t.Helper()
	f := &frozen{dir: t.TempDir()}
	if err := os.CopyFS(f.dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	// Git keeps no modes, and a custodian refuses files that others may read.
	err := filepath.WalkDir(filepath.Join(f.dir, "keys", "custodian"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return errors.Join(err, os.Chmod(path, 0o600))
	})
	if err != nil {
		t.Fatal(err)
	}
	store, err := dirstore.Open(filepath.Join(f.dir, "archive"), dirstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if f.archive, err = backup.OpenArchive(t.Context(), store, f.file(t, "trust.stele")); err != nil {
		t.Fatal(err)
	}
	f.keys, err = keys.Open(t.Context(), keys.Config{Store: store, Trust: f.file(t, "trust.stele"),
		Identity: f.file(t, "keys/keyservice.stele"), Custodians: keys.Custodians{URLs: map[string]string{"default": admin.DefaultCustodian(f.dir)}}, From: "file://" + t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.keys.Close() })
	f.unlock(t)
	return f
}

func (f *frozen) unlock(t *testing.T) {
	t.Helper()
	var err error
	if f.reader, err = f.archive.Unlock(f.file(t, "reader/reader.stele"), f.keys); err != nil {
		t.Fatal(err)
	}
}

func (f *frozen) file(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(f.dir, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// report verifies and reduces the report to what may never change. Words may.
func (f *frozen) report(t *testing.T) frozenReport {
	t.Helper()
	r, err := f.archive.Verify(t.Context(), backup.VerifyOptions{Reader: f.reader})
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range r.Faults {
		t.Logf("fault: %v", fault)
	}
	out := frozenReport{Archive: r.Archive, Verdicts: map[string]backup.State{}, Records: r.Records, Leaves: r.Leaves,
		Bytes: r.Bytes, Opened: r.Opened, Logs: r.Logs}
	for name, v := range r.Verdicts {
		out.Verdicts[name] = v.State
	}
	for _, s := range r.Streams {
		out.Streams = append(out.Streams, frozenStream{s.Stream, s.Service, s.State, s.Leaves, s.Lost, s.Complete, s.Acknowledged})
	}
	for _, s := range f.archive.Segments() {
		out.Quarantined += s.Quarantined
		out.Commits = append(out.Commits, s.Hash)
	}
	return out
}

func (f *frozen) expected(t *testing.T) []string {
	t.Helper()
	file, err := os.Open(filepath.Join(f.dir, "expected.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	in := bufio.NewScanner(z)
	in.Buffer(nil, event.MaxLine)
	for in.Scan() {
		lines = append(lines, in.Text())
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// restore gives all records as events, and how many are stubs of erased ones.
func restoreEvents(t *testing.T, r *backup.Reader, q backup.Query) (lines []string, erased int) {
	t.Helper()
	for f, err := range r.Records(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Erased {
			erased++
			continue
		}
		line, err := event.Append(nil, &f.Record)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.TrimSuffix(string(line), "\n"))
	}
	return lines, erased
}

func shorten(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}

func equalLines(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("restored %d records, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Errorf("record %d: restored\n%s\nwant\n%s", i, shorten(got[i]), shorten(want[i]))
		}
	}
}

func TestFrozenVerifies(t *testing.T) {
	f := openFrozen(t, frozenDir)
	var want frozenReport
	if err := json.Unmarshal(f.file(t, "report.json"), &want); err != nil {
		t.Fatal(err)
	}
	got, wanted := asJSON(t, f.report(t)), asJSON(t, want)
	if got != wanted {
		t.Errorf("the report is\n%s\nwant\n%s", got, wanted)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

func TestFrozenRestores(t *testing.T) {
	f := openFrozen(t, frozenDir)
	want := f.expected(t)
	got, _ := restoreEvents(t, f.reader, backup.Query{})
	slices.Sort(want)
	slices.Sort(got)
	equalLines(t, got, want)

	// A session comes in the order of its capture.
	const session = `"session":"chat-1"`
	chat := slices.DeleteFunc(f.expected(t), func(line string) bool { return !strings.Contains(line, session) })
	got, _ = restoreEvents(t, f.reader, backup.Query{Session: "chat-1"})
	equalLines(t, got, chat)
	if len(chat) < 4 {
		t.Errorf("the chat has %d records", len(chat))
	}
}

// TestFrozenErases: one person can still be forgotten, and the archive still verifies.
func TestFrozenErases(t *testing.T) {
	f := openFrozen(t, frozenDir)
	var id identity.Reader
	if err := identity.Parse(f.file(t, "reader/reader.stele"), identity.ReaderFormat, &id); err != nil {
		t.Fatal(err)
	}
	if _, err := eraseSubject(t.Context(), f.keys, id.Pepper, "grace"); err != nil {
		t.Fatal(err)
	}
	f.unlock(t)
	all := f.expected(t)
	rest := slices.DeleteFunc(slices.Clone(all), func(line string) bool { return strings.Contains(line, `"subject":"grace"`) })
	got, erased := restoreEvents(t, f.reader, backup.Query{Erased: true})
	slices.Sort(got)
	slices.Sort(rest)
	equalLines(t, got, rest)
	if erased == 0 || erased != len(all)-len(rest) {
		t.Errorf("%d records are erased, want %d", erased, len(all)-len(rest))
	}
	report := f.report(t)
	for _, name := range []string{"integrity", "completeness"} {
		if report.Verdicts[name] != backup.Holds {
			t.Errorf("%s is %s after the erasure", name, report.Verdicts[name])
		}
	}
}

// TestFrozenIsWatched shows that the tests above can fail: one bit of any object of the frozen archive is noticed.
func TestFrozenIsWatched(t *testing.T) {
	var objects []string
	root := filepath.Join(frozenDir, "archive", "logs")
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			objects = append(objects, path)
		}
		return err
	})
	if err != nil || len(objects) < 8 {
		t.Fatalf("%d objects, %v", len(objects), err)
	}
	for _, path := range objects {
		rel, _ := filepath.Rel(frozenDir, path)
		dir := t.TempDir()
		if err := errors.Join(os.CopyFS(dir, os.DirFS(frozenDir)), flipBit(filepath.Join(dir, rel))); err != nil {
			t.Fatal(err)
		}
		store, err := dirstore.Open(filepath.Join(dir, "archive"), dirstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		a, err := backup.OpenArchive(t.Context(), store, (&frozen{dir: dir}).file(t, "trust.stele"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := a.Verify(t.Context(), backup.VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if code := r.ExitCode(); code != 10 {
			t.Errorf("a flipped bit in %s: exit code %d, want 10", rel, code)
		}
	}
}

func flipBit(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
