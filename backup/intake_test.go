package backup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
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
	_, err := admin.Init(t.Context(), admin.InitConfig{Store: a.store, Name: "acme", To: "file://" + filepath.Join(a.dir, "spool"), Dir: a.dir, Lock: worm.LockNone})
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

// renew renews the first credential, as 'stele key renew' does.
func (a *aged) renew() {
	a.t.Helper()
	ctx := a.t.Context()
	admin, err := admin.Open(ctx, a.store, a.file("trust.stele"), a.file("admin/root.stele"))
	if err != nil {
		a.t.Fatal(err)
	}
	credential, err := admin.RenewWriter(ctx, a.file("writer/default.stele"))
	if err == nil {
		err = os.WriteFile(filepath.Join(a.dir, "writer", "default.stele"), credential, 0o600)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	w, err := identity.ParseWriter(credential)
	if err != nil || len(w.Intake) != a.left() {
		a.t.Errorf("the renewed credential has %d weeks, the archive %d, %v", len(w.Intake), a.left(), err)
	}
}

func (a *aged) keys() *keys.Service {
	a.t.Helper()
	k, err := keys.Open(a.t.Context(), keys.Config{Store: a.store, Trust: a.file("trust.stele"), Identity: a.file("keys/keyservice.stele"),
		Custodians: keys.Custodians{URLs: map[string]string{"default": admin.DefaultCustodian(a.dir)}}, From: "file://" + filepath.Join(a.dir, "spool")})
	if err != nil {
		a.t.Fatal(err)
	}
	return k
}

// capture captures a record and commits it.
func (a *aged) capture(body string) {
	a.t.Helper()
	a.record(body)
	a.compact()
}

// record captures a record.
func (a *aged) record(body string) {
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
}

// compact commits what is there, and takes in what waits in the inbox.
func (a *aged) compact() {
	a.t.Helper()
	ctx := a.t.Context()
	c, err := compact.Open(ctx, compact.Config{Store: a.store, Trust: a.file("trust.stele"), Identity: a.file("compactor/compactor.stele"),
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

// fold folds what is there.
func (a *aged) fold(service *keys.Service) {
	a.t.Helper()
	if err := service.Fold(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
}

// The key service makes intake keys for half a year ahead, and credentials get them when they are renewed.
func TestRenewIntake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAged(t)
		service := a.keys()
		defer service.Close()
		if n := a.left(); n != 26 {
			t.Errorf("a new archive has intake keys for %d weeks", n)
		}
		a.fold(service)
		time.Sleep(20 * week)
		if a.renew(); a.left() != 6 {
			t.Errorf("20 weeks later there are keys for %d weeks", a.left())
		}
		a.fold(service)
		if a.renew(); a.left() != 26 {
			t.Errorf("there are keys for %d weeks", a.left())
		}
		time.Sleep(10 * week) // in a week that was not there when the service began
		a.capture("later")
		a.fold(service)
		a.fold(service) // makes no key twice, and announces none twice
		if got := a.bodies(service); len(got) != 1 || got[0] != "later" {
			t.Errorf("read %q", got)
		}
	})
}

// A key service that was down for long makes keys when it is back. What was wrapped to old ones can be opened until they
// are erased.
func TestIntakeAfterAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAged(t)
		time.Sleep(100 * week) // all keys have run out, and capture went on
		if n := a.left(); n > 0 {
			t.Errorf("after 100 weeks there are keys for %d", n)
		}
		a.capture("late")
		service := a.keys()
		defer service.Close()
		a.fold(service)
		a.renew()
		a.capture("again")
		if got := a.bodies(service); len(got) != 2 {
			t.Errorf("read %q", got)
		}
		a.fold(service)
		if got := a.bodies(service); len(got) != 2 {
			t.Errorf("read %q after a record", got)
		}
	})
}
