package backup_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyroot"
)

// pass lets five weeks pass, with a compactor and a key service at work.
func (a *aged) pass(service *keys.Service) {
	a.t.Helper()
	for range 35 {
		time.Sleep(24 * time.Hour)
		a.compact()
		if err := service.EraseDue(a.t.Context()); err != nil {
			a.t.Fatal(err)
		}
	}
	a.compact()
}

// loseGrants removes what is in the transport of grants.
func (a *aged) loseGrants() (n int) {
	a.t.Helper()
	err := filepath.WalkDir(filepath.Join(a.dir, "spool"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || !strings.Contains(path, "grants") {
			return err
		}
		n++
		return os.Remove(path)
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return n
}

// A key that was never taken in does not become one that was dead on arrival because a key service says so when its week is over.
func TestLostKeyIsNotDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAged(t)
		service := a.keys()
		defer service.Close()
		a.fold(service)
		a.record("mine")
		if n := a.loseGrants(); n != 1 {
			t.Fatalf("%d files of grants", n)
		}
		a.compact()
		a.pass(service)
		a.capture("another's")
		a.fold(service)
		trust := a.file("trust.stele")
		wantFault(t, a.verified(trust).Faults, "erasure", "commits/", "no approved erasure lists it")
		all := keysOf(t, a.store, "keys/roots/")
		last := all[len(all)-1]
		r, err := keyroot.Peek(read(t, a.store, last))
		if err != nil || r.Fold == nil {
			t.Fatal(err, r.Fold)
		}
		r.Fold.Dead = 1
		var who identity.KeyService
		if err := identity.Parse(a.file("keys/keyservice.stele"), identity.KeyServiceFormat, &who); err != nil {
			t.Fatal(err)
		}
		line, err := commit.MarshalLine(r)
		if err != nil {
			t.Fatal(err)
		}
		file, err := note.Sign(&note.Note{Text: string(line)}, signer(t, r.By, who.Key))
		if err != nil {
			t.Fatal(err)
		}
		a.store.Remove(last, "")
		a.store.Overwrite(last, file)
		wantFault(t, a.verified(trust).Faults, "erasure", "commits/", "no approved erasure lists it")
	})
}

// What was really dead on arrival, as its writer was away for weeks, is no break.
func TestDeadOnArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAged(t)
		service := a.keys()
		defer service.Close()
		a.fold(service)
		spool, away := filepath.Join(a.dir, "spool"), filepath.Join(a.dir, "away")
		a.record("mine")
		if err := errors.Join(os.Rename(spool, away), os.Mkdir(spool, 0o700)); err != nil {
			t.Fatal(err)
		}
		a.pass(service)
		if err := errors.Join(os.RemoveAll(spool), os.Rename(away, spool)); err != nil {
			t.Fatal(err)
		}
		a.fold(service)
		a.compact()
		time.Sleep(48 * time.Hour)
		r := a.verified(a.file("trust.stele"))
		wantExit(t, r, 0, "integrity", "erasure")
		if r.Scopes.Dead != 1 {
			t.Errorf("%+v", r.Scopes)
		}
	})
}
