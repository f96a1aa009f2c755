package spool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A spool belongs to the archive that it names. One that names none gets an owner while it has no lanes.
func TestOwner(t *testing.T) {
	mine, other := [16]byte{1}, [16]byte{2}
	owned, bare, used := t.TempDir(), t.TempDir(), t.TempDir()
	_, err := Open(owned, Options{Archive: mine, Own: true})
	check0(t, err)
	_, err = Open(bare, Options{Archive: mine})
	check0(t, err)
	d, err := Open(used, Options{})
	check0(t, err)
	check0(t, create(t, d, laneA).Close())
	half := filepath.Join(owned, lanesName, ".half")
	check0(t, os.Mkdir(half, 0o700))
	for _, c := range []struct {
		name, dir string
		opts      Options
		refused   bool
	}{
		{"another archive", owned, Options{Archive: other, Own: true}, true},
		{"another archive's overflow", owned, Options{Archive: other}, true},
		{"a spool that must exist", owned, Options{Archive: other, MustExist: true}, true},
		{"nobody's, used by one", bare, Options{Archive: mine}, false},
		{"nobody's, used by another", bare, Options{Archive: other}, false},
		{"nobody's, taken", bare, Options{Archive: other, Own: true}, false},
		{"taken", bare, Options{Archive: mine, Own: true}, true},
		{"one with lanes stays nobody's", used, Options{Archive: mine, Own: true}, false},
		{"with lanes, another", used, Options{Archive: other, Own: true}, false},
	} {
		before := string(mustRead(t, filepath.Join(c.dir, identityName)))
		_, err := Open(c.dir, c.opts)
		if refused := err != nil && strings.Contains(err.Error(), "this is the spool of archive"); refused != c.refused || !refused && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if after := string(mustRead(t, filepath.Join(c.dir, identityName))); c.refused && after != before {
			t.Errorf("%s: %s became %s", c.name, before, after)
		}
	}
	if _, err := os.Stat(half); err != nil {
		t.Errorf("who was refused has swept: %v", err)
	}
	reopened, err := Open(owned, Options{Archive: mine, Own: true})
	check0(t, err)
	again, err := Open(owned, Options{})
	check0(t, err)
	if reopened.ID() != again.ID() {
		t.Error("the id changed")
	}
}
