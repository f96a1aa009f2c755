package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/dirstore"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/spool"
)

// flips is how many random bits are flipped in each kind of object.
const flips = 200

// tamperArchive is an archive in a directory that has every kind of object twice.
func tamperArchive(t *testing.T) (*testArchive, string) {
	t.Helper()
	dir := t.TempDir()
	store, err := dirstore.Open(dir, dirstore.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	a := newTestArchive(t, store)
	s := a.stream(keyscope.Link{})
	for i := range 3 {
		s.send(some(6)...)
		s.append(spool.Frames, []byte(fmt.Sprintf("rubbish %d", i)))
		if i == 2 {
			s.close()
		}
		a.once(nil)
	}
	return a, dir
}

// copyOf copies an archive but for one object, which is as given; nil leaves it out.
func copyOf(t *testing.T, from, key string, data []byte) worm.Store {
	to := t.TempDir()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(from, path)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case filepath.ToSlash(rel) == key:
			if data == nil {
				return nil
			}
			return os.WriteFile(filepath.Join(to, rel), data, 0o644)
		}
		return os.Link(path, filepath.Join(to, rel))
	})
	if err != nil {
		t.Error(err)
	}
	store, err := dirstore.Open(to, dirstore.Options{})
	if err != nil {
		t.Error(err)
	}
	return store
}

func TestTampering(t *testing.T) {
	a, dir := tamperArchive(t)
	wantExit(t, a.verify(VerifyOptions{}), 0, "integrity", "completeness")
	all := keysOf(t, a.store, "")
	kinds := map[string][]string{}
	for _, kind := range []string{".index.arrow", ".data.", ".proof", ".quarantine", "/commits/", "control/log/", "control/checkpoints/"} {
		for _, key := range all {
			if strings.Contains(key, kind) {
				kinds[kind] = append(kinds[kind], key)
			}
		}
		if len(kinds[kind]) < 2 {
			t.Fatalf("%d objects of kind %s", len(kinds[kind]), kind)
		}
	}
	for kind, keys := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			for name, c := range tamperings(t, a.store, kind, keys) {
				tampered(t, a, copyOf(t, dir, c.key, c.data), name, c.key)
			}
			rng := rand.New(rand.NewPCG(7, uint64(len(kind))))
			// What lies outside the chains is read by Verify alone: the archive need not be opened anew.
			store := &altered{Store: a.store}
			opened, err := OpenArchive(t.Context(), store, a.trust())
			if err != nil {
				t.Fatal(err)
			}
			for range flips {
				key := keys[rng.IntN(len(keys))]
				data := read(t, a.store, key)
				bit := rng.IntN(8 * len(data))
				name := fmt.Sprintf("bit %d", bit)
				if store.key, store.data = key, flip(data, bit); strings.Contains(key, "/objects/") {
					judged(t, opened, name, key)
				} else {
					tampered(t, a, store, name, key)
				}
			}
		})
	}
}

type tampering struct {
	key  string
	data []byte
}

// tamperings are what is done to each object of a kind but flipping bits.
func tamperings(t *testing.T, s worm.Store, kind string, keys []string) map[string]tampering {
	out := map[string]tampering{}
	for i, key := range keys {
		data := read(t, s, key)
		out[fmt.Sprintf("cut at 0 %d", i)] = tampering{key, []byte{}}
		out[fmt.Sprintf("cut at half %d", i)] = tampering{key, data[:len(data)/2]}
		out[fmt.Sprintf("cut by one %d", i)] = tampering{key, data[:len(data)-1]}
		out[fmt.Sprintf("one more %d", i)] = tampering{key, append(bytes.Clone(data), 'x')}
		if kind != "control/checkpoints/" || i < len(keys)-1 { // its author may have died before it published the newest
			out[fmt.Sprintf("removed %d", i)] = tampering{key, nil}
		}
		out[fmt.Sprintf("sibling's content %d", i)] = tampering{key, read(t, s, keys[(i+1)%len(keys)])}
	}
	return out
}

// tampered checks that verify finds something wrong and names the object.
func tampered(t *testing.T, a *testArchive, s worm.Store, name, key string) {
	ar, err := OpenArchive(t.Context(), s, a.trust())
	if err != nil {
		if !strings.Contains(err.Error(), "no archive here") || !strings.Contains(key, "control/log/") {
			t.Errorf("%s of %s: %v", name, key, err)
		}
		return
	}
	judged(t, ar, name, key)
}

func judged(t *testing.T, ar *Archive, name, key string) {
	// Some hours later, because a missing end shows only in time. Objects are read whole, and in pieces.
	opt := VerifyOptions{Now: time.Now().Add(4 * time.Hour)}
	r, err := ar.Verify(t.Context(), opt)
	if err == nil && strings.Contains(key, "/objects/") {
		var pieces *Report
		if pieces, err = VerifyInPieces(t.Context(), ar, opt, 320); err == nil && !slices.Equal(r.Faults, pieces.Faults) {
			t.Errorf("%s of %s: in pieces %v", name, key, pieces.Faults)
		}
	}
	if err != nil {
		t.Errorf("%s of %s: %v", name, key, err)
		return
	}
	if code := r.ExitCode("integrity", "completeness"); code != 10 && code != 11 {
		t.Errorf("%s of %s: exit code %d", name, key, code)
	}
	if !slices.ContainsFunc(append(r.Faults, r.Notices...), func(f Fault) bool { return strings.Contains(f.String(), key) }) {
		t.Errorf("%s of %s: not named in %v", name, key, r.Faults)
	}
}

// altered is a store in which one object has other content.
type altered struct {
	worm.Store
	key  string
	data []byte
}

func (s *altered) Read(ctx context.Context, key, id string, r worm.Range) ([]byte, error) {
	if key != s.key {
		return s.Store.Read(ctx, key, id, r)
	}
	if r == (worm.Range{}) {
		return s.data, nil
	}
	if r.Off+r.Len > int64(len(s.data)) {
		return nil, errors.New("outside the object")
	}
	return s.data[r.Off:][:r.Len], nil
}
