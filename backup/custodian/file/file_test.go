package file

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/custodian/custodiantest"
)

func testID() custodian.Identity { return custodian.Identity{Archive: [16]byte{1, 2, 3}, Name: "dev"} }

func mustOpen(t testing.TB, dir string, id custodian.Identity) *Custodian {
	t.Helper()
	c, err := Open(dir, id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wrapped makes a generation and wraps a share in it.
func wrapped(t testing.TB, c *Custodian, generation uint64) (custodian.Share, []byte) {
	t.Helper()
	share := custodian.Share{1, 2, 3, byte(generation)}
	if _, err := c.Create(t.Context(), generation); err != nil {
		t.Fatal(err)
	}
	blob, err := c.Wrap(t.Context(), generation, share)
	if err != nil {
		t.Fatal(err)
	}
	return share, blob
}

func TestContract(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	custodiantest.Run(t, custodiantest.Device{
		Class: custodian.BestEffort,
		Open:  func(t testing.TB, id custodian.Identity) custodian.Custodian { return mustOpen(t, dir, id) },
	})
}

func TestRefusesOthersAccess(t *testing.T) {
	parent := t.TempDir()
	for _, mode := range []fs.FileMode{0o755, 0o750, 0o701, 0o704, 0o720} {
		dir := filepath.Join(parent, mode.String())
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		c := mustOpen(t, dir, testID())
		_, blob := wrapped(t, c, 1)
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, testID()); err == nil || !strings.Contains(err.Error(), "chmod 700") {
			t.Errorf("mode %o: open: %v", mode, err)
		}
		if _, err := c.Unwrap(t.Context(), 1, blob); err == nil {
			t.Errorf("mode %o, changed while open: unwrapped", mode)
		}
		if _, err := c.Create(t.Context(), 2); err == nil {
			t.Errorf("mode %o, changed while open: created", mode)
		}
	}
	c := mustOpen(t, filepath.Join(parent, "keys"), testID())
	_, blob := wrapped(t, c, 1)
	if err := os.Chmod(c.keyPath(1), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Unwrap(t.Context(), 1, blob); err == nil {
		t.Error("used a key that others can read")
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, id := range map[string]custodian.Identity{
		file:                              testID(),
		filepath.Join(dir, "no", "where"): testID(),
		filepath.Join(dir, "a"):           {Archive: [16]byte{1}, Name: "No Name"},
		filepath.Join(dir, "b"):           {Name: "no-archive"},
	} {
		if _, err := Open(path, id); err == nil {
			t.Errorf("opened %s for %+v", path, id)
		}
	}
}

// TestOverwrites keeps the blocks of a key file by a second name, and looks what is in them afterwards.
func TestOverwrites(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	c := mustOpen(t, dir, testID())
	wrapped(t, c, 1)
	kept := filepath.Join(filepath.Dir(dir), "kept")
	if err := os.Link(c.keyPath(1), kept); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	var key keyFile
	if err := json.Unmarshal(before, &key); err != nil || len(key.Key) != keySize {
		t.Fatalf("key file %s: %v", before, err)
	}
	if _, err := c.Destroy(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	if len(after) < len(before) {
		t.Errorf("overwrote %d of %d bytes", len(after), len(before))
	}
	text := base64.StdEncoding.EncodeToString(key.Key)
	if bytes.Contains(after, []byte(text[:8])) || bytes.Contains(after, key.Key[:8]) {
		t.Error("the blocks still hold the key")
	}
	for _, name := range names(t, dir) {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || bytes.Contains(data, []byte(text)) || strings.HasSuffix(name, ".key") {
			t.Errorf("left: %s, %v", name, err)
		}
	}
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// TestCopyBringsBack is why the class is C, and that the statement says so.
func TestCopyBringsBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	c := mustOpen(t, dir, testID())
	share, blob := wrapped(t, c, 1)
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	s, err := c.Destroy(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	a, err := custodian.ParseAttestation(s.Attestation)
	if err != nil || a.Class != custodian.BestEffort || a.Kind != "file" || !a.From.IsZero() || a.State != custodian.Destroyed ||
		a.Declared || a.Identity != testID() || a.Generation != 1 || !a.Destroyed.Equal(s.Destroyed) {
		t.Errorf("statement %s, %v", s.Attestation, err)
	}
	if err := os.Chmod(backup, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range names(t, backup) {
		if err := os.Chmod(filepath.Join(backup, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old := mustOpen(t, backup, testID())
	if got, err := old.Unwrap(t.Context(), 1, blob); err != nil || got != share {
		t.Errorf("from the copy: %v", err)
	}
}

// TestBroughtBack: a key that came back is live again, and destroyed a second time later.
func TestBroughtBack(t *testing.T) {
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c, err := open(filepath.Join(t.TempDir(), "keys"), testID(), disk{now: func() time.Time { return clock }})
	if err != nil {
		t.Fatal(err)
	}
	wrapped(t, c, 1)
	data, err := os.ReadFile(c.keyPath(1))
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.Destroy(t.Context(), 1)
	if err != nil || !first.Destroyed.Equal(clock) {
		t.Fatalf("%+v, %v", first, err)
	}
	if err := os.WriteFile(c.keyPath(1), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := c.Status(t.Context(), 1); err != nil || s.State != custodian.Live {
		t.Errorf("with the file put back: %v, %v", s.State, err)
	}
	clock = clock.Add(time.Hour)
	if s, err := c.Destroy(t.Context(), 1); err != nil || !s.Destroyed.Equal(clock) {
		t.Errorf("destroyed again: %+v, %v", s, err)
	}
}

// TestVanished: a key that somebody removed was not destroyed.
func TestVanished(t *testing.T) {
	c := mustOpen(t, filepath.Join(t.TempDir(), "keys"), testID())
	wrapped(t, c, 1)
	if err := os.Remove(c.keyPath(1)); err != nil {
		t.Fatal(err)
	}
	if s, err := c.Status(t.Context(), 1); err != nil || s.State != custodian.Unknown {
		t.Errorf("%v, %v", s.State, err)
	}
	if _, err := c.Destroy(t.Context(), 1); !errors.Is(err, custodian.ErrUnknown) {
		t.Errorf("destroy: %v", err)
	}
	if err := os.RemoveAll(c.dir); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context(), 1); !errors.Is(err, custodian.ErrUnavailable) {
		t.Errorf("without the directory: %v", err)
	}
}

func TestDamaged(t *testing.T) {
	for what, change := range map[string]func([]byte) []byte{
		"torn":         func(d []byte) []byte { return d[:len(d)/2] },
		"empty":        func([]byte) []byte { return nil },
		"other number": func(d []byte) []byte { return bytes.Replace(d, []byte(`"generation":1`), []byte(`"generation":2`), 1) },
		"other name":   func(d []byte) []byte { return bytes.Replace(d, []byte(`"dev"`), []byte(`"def"`), 1) },
		"other format": func(d []byte) []byte { return bytes.Replace(d, []byte("/v1"), []byte("/v2"), 1) },
		"short key":    func(d []byte) []byte { return bytes.Replace(d, []byte(`"key":"`), []byte(`"key":"AAAA","x":"`), 1) },
		"huge":         func(d []byte) []byte { return append(d, make([]byte, 1<<20)...) },
	} {
		c := mustOpen(t, filepath.Join(t.TempDir(), "keys"), testID())
		_, blob := wrapped(t, c, 1)
		data, err := os.ReadFile(c.keyPath(1))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(c.keyPath(1), change(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Unwrap(t.Context(), 1, blob); err == nil || got != (custodian.Share{}) || !strings.Contains(err.Error(), ".key") {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := c.Create(t.Context(), 1); err != nil { // changes nothing, but tells no lie either
			t.Errorf("%s: create: %v", what, err)
		}
		if now, _ := os.ReadFile(c.keyPath(1)); !bytes.Equal(now, change(slices.Clone(data))) {
			t.Errorf("%s: Create touched the file", what)
		}
		if s, err := c.Destroy(t.Context(), 1); err != nil || s.State != custodian.Destroyed {
			t.Errorf("%s: destroy: %v, %v", what, s.State, err)
		}
	}
}

// TestBlobIsBoundByItself: even where two generations had one key, a blob would open in its own only.
func TestBlobIsBoundByItself(t *testing.T) {
	c := mustOpen(t, filepath.Join(t.TempDir(), "keys"), testID())
	_, blob := wrapped(t, c, 1)
	key, err := c.load(1)
	if err != nil {
		t.Fatal(err)
	}
	other := testID()
	other.Archive[0]++
	for _, place := range []struct {
		id         custodian.Identity
		generation uint64
	}{{testID(), 2}, {other, 1}, {custodian.Identity{Archive: testID().Archive, Name: "other"}, 1}} {
		data, err := marshalKey(place.id, place.generation, key)
		if err != nil {
			t.Fatal(err)
		}
		c := mustOpen(t, c.dir, place.id)
		if err := os.WriteFile(c.keyPath(place.generation), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Unwrap(t.Context(), place.generation, blob); !errors.Is(err, custodian.ErrBlob) {
			t.Errorf("%+v: %v", place, err)
		}
	}
}

// TestLinkInPlaceOfKey: what somebody linked to is neither used nor overwritten.
func TestLinkInPlaceOfKey(t *testing.T) {
	c := mustOpen(t, filepath.Join(t.TempDir(), "keys"), testID())
	_, blob := wrapped(t, c, 1)
	precious := filepath.Join(t.TempDir(), "precious")
	if err := os.Rename(c.keyPath(1), precious); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(precious)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(precious, c.keyPath(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Unwrap(t.Context(), 1, blob); err == nil {
		t.Error("used a key through a link")
	}
	if _, err := c.Destroy(t.Context(), 1); err == nil {
		t.Error("destroyed a link")
	}
	if s, err := c.Status(t.Context(), 1); err != nil || s.State != custodian.Live {
		t.Errorf("%v, %v", s.State, err)
	}
	if after, err := os.ReadFile(precious); err != nil || !bytes.Equal(before, after) {
		t.Errorf("what the link led to was overwritten: %v", err)
	}
}
