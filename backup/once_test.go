package backup_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/dirstore"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/s3store"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/keyscope"
)

// refusing reads from one store and writes to another one while broken is set.
type refusing struct {
	worm.Store
	writes worm.Store
	broken atomic.Bool
}

func (r *refusing) Create(ctx context.Context, key string, data []byte, lock worm.Lock) (worm.Version, error) {
	if r.broken.Load() {
		return r.writes.Create(ctx, key, data, lock)
	}
	return r.Store.Create(ctx, key, data, lock)
}

// answering is a bucket whose service has one answer to everything but listings.
func answering(t *testing.T, status int, code string) worm.Store {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, "<ListVersionsResult></ListVersionsResult>")
			return
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>refused for the test</Message></Error>", code)
	}))
	t.Cleanup(server.Close)
	s, err := s3store.Open(t.Context(), s3store.Config{Endpoint: server.Listener.Addr().String(), Region: "us-east-1", Bucket: "bucket",
		Credentials: s3store.Credentials{AccessKey: "key", SecretKey: "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// waiting is an archive with records in its spool that are not committed.
func waiting(t *testing.T, store worm.Store) (*testArchive, *keys.Service, []testRecord) {
	t.Helper()
	a := newTestArchive(t, store)
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	records := some(5)
	s.send(records...)
	s.close()
	return a, keys, records
}

// TestOnceGivesUp: where somebody has to mend the store first, Once says what to do instead of waiting for ever. Nothing is
// lost by it, and the next one goes on.
func TestOnceGivesUp(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		code   string
		says   string
	}{
		"access denied":       {403, "AccessDenied", "see the permissions of the role"},
		"unknown credentials": {403, "InvalidAccessKeyId", "check access key and secret key"},
		"no bucket":           {404, "NoSuchBucket", "there is no such bucket"},
	} {
		t.Run(name, func(t *testing.T) {
			store := &refusing{Store: storetest.NewMemory(), writes: answering(t, test.status, test.code)}
			a, keys, records := waiting(t, store)
			store.broken.Store(true)
			givesUp(t, a, keys, test.says)
			store.broken.Store(false)
			a.once(keys)
			a.intact(keys, records)
		})
	}
	t.Run("a file where a folder belongs", func(t *testing.T) {
		dir := t.TempDir()
		store, err := dirstore.Open(dir, dirstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		a, keys, records := waiting(t, store)
		file := filepath.Join(dir, "logs")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		givesUp(t, a, keys, "not a directory", file+" is a file where a folder must be, move it away")
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		a.once(keys)
		a.intact(keys, records)
	})
}

// givesUp wants Once to end by itself, with an error that says everything.
func givesUp(t *testing.T, a *testArchive, keys *keys.Service, says ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	_, err := a.compact(ctx, keys, a.store, nil)
	if !errors.Is(err, worm.ErrPermanent) || ctx.Err() != nil {
		t.Fatalf("%v, want an error that says that trying again does not mend it", err)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
	if commits := a.commits(); len(commits) != 0 {
		t.Errorf("commits %v", commits)
	}
}

// TestOnceSaysWhatFailed: an outage is waited for until the time is up, and then the error tells the outage, too.
func TestOnceSaysWhatFailed(t *testing.T) {
	a, keys, records := waiting(t, storetest.NewMemory())
	for _, key := range []string{"/objects/", "/commits/", "control/log/"} {
		ctx, cancel := context.WithCancel(t.Context())
		var tries atomic.Int64
		store := &storetest.Faulty{Store: a.store, Script: func(c storetest.Call) storetest.Fault {
			if c.Op != "Create" || !strings.Contains(c.Key, key) {
				return storetest.None
			}
			if tries.Add(1) == 5 {
				cancel()
			}
			return storetest.Lost
		}}
		_, err := a.compact(ctx, nil, store, nil)
		cancel()
		if !errors.Is(err, storetest.ErrFault) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v, want the end of the context and what failed before", key, err)
		}
	}
	a.once(keys)
	a.intact(keys, records)
}

// TestRunSaysWhatFails: a compactor that runs goes on trying, says so in its figures, and commits once the store is mended.
func TestRunSaysWhatFails(t *testing.T) {
	store := &refusing{Store: storetest.NewMemory(), writes: answering(t, 403, "AccessDenied")}
	a, keys, records := waiting(t, store)
	store.broken.Store(true)
	c, err := compact.Open(t.Context(), compact.Config{Store: store, Trust: a.trust(), Identity: a.file("compactor", "compactor.stele"),
		From: a.url(), SegmentAge: 10 * time.Millisecond, HeadsEvery: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	soon(t, "word of the failure", func() bool { return c.Stats().Failing["partition 0"] != nil })
	if err := c.Stats().Failing["partition 0"]; !errors.Is(err, worm.ErrPermanent) {
		t.Errorf("partition 0 fails with %v", err)
	}
	store.broken.Store(false)
	soon(t, "a commit that is provable", func() bool {
		s := c.Stats()
		return s.Commits > 0 && s.Pending == 0 && len(s.Failing) == 0
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	a.once(keys)
	a.intact(keys, records)
}

func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s within two minutes", what)
		}
	}
}
