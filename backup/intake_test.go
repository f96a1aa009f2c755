package backup_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/logpipe"
)

// aged is an archive in a bubble, where weeks pass at once.
type aged struct {
	t     *testing.T
	dir   string
	store *storetest.Memory
}

const week = 7 * 24 * time.Hour

func (a *aged) file(name string) []byte {
	a.t.Helper()
	data, err := os.ReadFile(filepath.Join(a.dir, filepath.FromSlash(name)))
	if err != nil {
		a.t.Fatal(err)
	}
	return data
}

func newAged(t *testing.T) *aged {
	a := &aged{t, t.TempDir(), storetest.NewMemory()}
	_, err := admin.Init(t.Context(), admin.InitConfig{Store: a.store, Name: "acme", To: "file://" + filepath.Join(a.dir, "spool"), Dir: a.dir, Lock: LockNone})
	if err == nil {
		err = os.Mkdir(filepath.Join(a.dir, "spool"), 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *aged) left() int {
	a.t.Helper()
	archive, err := OpenArchive(a.t.Context(), a.store, a.file("trust.stele"))
	if err != nil {
		a.t.Fatal(err)
	}
	return archive.IntakeLeft(time.Now())
}

// renew renews the archive's intake keys and the first credential, as 'stele key renew' does.
func (a *aged) renew() (made int) {
	a.t.Helper()
	ctx := a.t.Context()
	admin, err := admin.Open(ctx, a.store, a.file("trust.stele"), a.file("admin/root.stele"))
	if err != nil {
		a.t.Fatal(err)
	}
	write := func(name string, data []byte) error {
		return os.WriteFile(filepath.Join(a.dir, filepath.FromSlash(name)), data, 0o600)
	}
	made, err = admin.RenewIntake(ctx, a.file("keys/keyservice.stele"), func(data []byte) error { return write("keys/keyservice.stele", data) })
	if err != nil {
		a.t.Fatal(err)
	}
	credential, err := admin.RenewWriter(ctx, a.file("writer/default.stele"))
	if err == nil {
		err = write("writer/default.stele", credential)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	w, err := identity.ParseWriter(credential)
	if err != nil || len(w.Intake) != a.left() {
		a.t.Errorf("the renewed credential has %d weeks, the archive %d, %v", len(w.Intake), a.left(), err)
	}
	return made
}

func (a *aged) keys(id []byte, reload func() ([]byte, error)) *keys.Service {
	a.t.Helper()
	k, err := keys.Open(a.t.Context(), keys.Config{Store: a.store, Trust: a.file("trust.stele"), Identity: id, Reload: reload,
		Path: filepath.Join(a.dir, "keys", "keys.db"), From: "file://" + filepath.Join(a.dir, "spool")})
	if err != nil {
		a.t.Fatal(err)
	}
	return k
}

// capture captures a record and commits it.
func (a *aged) capture(body string) {
	a.t.Helper()
	ctx := a.t.Context()
	pipe, err := logpipe.Open(ctx, logpipe.Config{Credential: filepath.Join(a.dir, "writer", "default.stele")})
	if err != nil {
		a.t.Fatal(err)
	}
	err = errors.Join(pipe.Capture(ctx, &logpipe.Record{Kind: logpipe.Input, Body: []byte(body)}), pipe.Close(context.WithoutCancel(ctx)))
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := NewCompactor(ctx, CompactorConfig{Store: a.store, Trust: a.file("trust.stele"), Identity: a.file("compactor/compactor.stele"),
		From: "file://" + filepath.Join(a.dir, "spool")})
	if err == nil {
		err = c.Once(ctx)
	}
	if err != nil {
		a.t.Fatal(err)
	}
}

// bodies reads back all that can be.
func (a *aged) bodies(keys keys.Source) (all []string) {
	a.t.Helper()
	archive, err := OpenArchive(a.t.Context(), a.store, a.file("trust.stele"))
	if err != nil {
		a.t.Fatal(err)
	}
	r, err := archive.Unlock(a.file("reader/reader.stele"), keys)
	if err != nil {
		a.t.Fatal(err)
	}
	for f, err := range r.Records(a.t.Context(), Query{}) {
		if err != nil {
			a.t.Fatal(err)
		}
		all = append(all, string(f.Body))
	}
	return all
}

// Intake keys are renewed for 26 weeks from now, whenever that is asked for, and a key service that runs takes in grants
// under the new ones.
func TestRenewIntake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAged(t)
		service := a.keys(a.file("keys/keyservice.stele"), func() ([]byte, error) { return a.file("keys/keyservice.stele"), nil })
		defer service.Close()
		if n := a.left(); n != 26 {
			t.Errorf("a new archive has intake keys for %d weeks", n)
		}
		if n := a.renew(); n != 0 {
			t.Errorf("%d weeks were made where none was missing", n)
		}
		time.Sleep(20 * week)
		if n := a.left(); n != 6 {
			t.Errorf("20 weeks later there are keys for %d weeks", n)
		}
		if n := a.renew(); n != 20 || a.left() != 26 {
			t.Errorf("%d weeks were made, there are %d", n, a.left())
		}
		time.Sleep(10 * week) // in a week of which the service knew nothing when it began
		a.capture("later")
		if got := a.bodies(service); len(got) != 1 || got[0] != "later" {
			t.Errorf("read %q", got)
		}
		time.Sleep(100 * week) // all keys have run out, and capture went on
		if n := a.left(); n > 0 {
			t.Errorf("after 100 weeks there are keys for %d", n)
		}
		a.capture("late")
		if n := a.renew(); n != 26 {
			t.Errorf("%d weeks were made", n)
		}
		a.capture("again")
		if got := a.bodies(service); len(got) != 3 {
			t.Errorf("read %q", got)
		}
	})
}

// A key service whose role file was not brought up to date loses no grant: it waits with it and says what to do.
func TestStaleKeyService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAged(t)
		stale := a.file("keys/keyservice.stele")
		time.Sleep(30 * week)
		a.renew()
		a.capture("hello")
		broken := errors.New("the disk is gone")
		for _, reload := range []func() ([]byte, error){nil, func() ([]byte, error) { return stale, nil }, func() ([]byte, error) { return nil, broken }} {
			service := a.keys(stale, reload)
			err := service.Fold(t.Context())
			if err == nil || !strings.Contains(err.Error(), "stele key renew") && !errors.Is(err, broken) {
				t.Errorf("a service without the key: %v", err)
			}
			if err := service.Close(); err != nil {
				t.Error(err)
			}
		}
		service := a.keys(a.file("keys/keyservice.stele"), nil)
		defer service.Close()
		if got := a.bodies(service); len(got) != 1 || got[0] != "hello" {
			t.Errorf("read %q", got)
		}
	})
}

// A file that could not be saved leaves the archive as it was: no writer gets a key that nobody holds.
func TestRenewIntakeNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAged(t)
		time.Sleep(20 * week)
		admin, err := admin.Open(t.Context(), a.store, a.file("trust.stele"), a.file("admin/root.stele"))
		if err != nil {
			t.Fatal(err)
		}
		full := errors.New("disk full")
		if _, err := admin.RenewIntake(t.Context(), a.file("keys/keyservice.stele"), func([]byte) error { return full }); !errors.Is(err, full) {
			t.Errorf("not saved: %v", err)
		}
		if n := a.left(); n != 6 {
			t.Errorf("there are keys for %d weeks", n)
		}
		other := bytes.Replace(a.file("keys/keyservice.stele"), []byte(`"archive": "`), []byte(`"archive": "00`), 1)
		if _, err := admin.RenewIntake(t.Context(), other, nil); err == nil {
			t.Error("the file of no archive was taken")
		}
	})
}
