package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/cmd/internal/settings"
	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/logpipe"
)

// TestExpiresWhileItRuns: a compactor removes what has expired while it runs, by the time of a witness, and nothing as long as
// the witness is away, which it says. What is gone was expired by policy.
func TestExpiresWhileItRuns(t *testing.T) {
	dir, err := os.MkdirTemp("", "stele-") // its path leaves room for the name of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	url := "file://" + filepath.Join(dir, "archive")
	synctest.Test(t, func(old *testing.T) { err = longAgo(old.Context(), dir, url) }) // where it is the year 2000
	if err != nil {
		t.Fatal(err)
	}
	trust := filepath.Join(dir, "trust.stele")
	file, err := os.ReadFile(trust)
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := strings.Cut(string(file), "\nlog ")
	key, _, _ = strings.Cut(key, "\n")
	w := testbed.Litewitness(t, "witness.example", "old/control", key)
	file = append(file, "witness W "+w.VKey+" "+w.URL+"\nquorum W\n"...)
	if err := errors.Join(w.Stop(), os.WriteFile(trust, file, 0o600)); err != nil {
		t.Fatal(err)
	}
	data := func() []string {
		found, err := filepath.Glob(filepath.Join(dir, "archive", "logs", "*", "*", "objects", "*.data.*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	all := len(data())
	if all == 0 {
		t.Fatal("the archive has no data")
	}

	env := func(name string) (string, bool) {
		return filepath.Join(dir, "stele.yaml"), name == "STELE_CONFIG"
	}
	ctx, cancel := context.WithCancel(t.Context())
	var said lockedBuffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"--heads-every", "1s", "--metrics", "127.0.0.1:0"}, env, &said, &said)
	}()
	defer func() { cancel(); <-ended }()
	eventually := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: it never does\n%s", what, &said)
			}
		}
	}
	report := func() *backup.Report {
		t.Helper()
		store, err := location.Open(t.Context(), url, location.Options{})
		if err != nil {
			t.Fatal(err)
		}
		a, err := backup.OpenArchive(t.Context(), store, file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := a.Verify(t.Context(), backup.VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	eventually("says that nobody tells the time", func() bool { return strings.Contains(said.String(), "nobody tells the time") })
	if r := report(); len(data()) != all || r.Expired != 0 || r.ExitCode("integrity", "completeness") != 0 {
		t.Errorf("nobody told the time, and of %d objects %d are left: %+v", all, len(data()), r.Verdicts)
	}
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually("removes what has expired", func() bool { return len(data()) == 0 })
	if r := report(); r.Expired != uint64(all) || r.ExitCode("integrity", "completeness") != 0 || !strings.Contains(r.Verdicts["integrity"].Detail, "expired by policy") {
		t.Errorf("%d of %d objects have expired: %+v", r.Expired, all, r.Verdicts)
	}
}

// TestExpiryThatFailsIsSaidOnce: why nothing expires is said when it begins and when the reason changes, not on each round.
func TestExpiryThatFailsIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		url := "file://" + filepath.Join(dir, "archive")
		if err := longAgo(t.Context(), dir, url); err != nil {
			t.Fatal(err)
		}
		trust, err := os.ReadFile(filepath.Join(dir, "trust.stele"))
		if err != nil {
			t.Fatal(err)
		}
		store, err := location.Open(t.Context(), url, location.Options{})
		if err != nil {
			t.Fatal(err)
		}
		c := &config{Settings: &settings.Settings{Archive: url, ExpireEvery: time.Hour}, trust: trust}
		ctx, stop := context.WithCancel(t.Context())
		var said lockedBuffer
		ended := make(chan error, 1)
		go func() { ended <- c.expire(ctx, store, slog.New(slog.NewTextHandler(&said, nil))) }()
		time.Sleep(5*time.Hour + time.Minute)
		if n := strings.Count(said.String(), "level=ERROR"); n != 1 || !strings.Contains(said.String(), "the trust file wants no witness") {
			t.Errorf("said %d times:\n%s", n, &said)
		}
		if err := os.Rename(filepath.Join(dir, "archive"), filepath.Join(dir, "away")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Hour)
		if n := strings.Count(said.String(), "level=ERROR"); n != 2 {
			t.Errorf("with another reason it is said %d times:\n%s", n, &said)
		}
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// longAgo makes an archive with a record in it and locks for a day.
func longAgo(ctx context.Context, dir, url string) error {
	spool := "file://" + filepath.Join(dir, "spool")
	store, err := location.Create(ctx, url, worm.LockAdvisory, location.Options{})
	if err != nil {
		return err
	}
	setup, err := admin.Init(ctx, admin.InitConfig{Store: store, Name: "old", To: spool, Dir: dir, Lock: worm.LockAdvisory, Keep: 24 * time.Hour})
	if err != nil {
		return err
	}
	pipe, err := logpipe.Open(ctx, logpipe.Config{Credential: setup.Writer})
	if err != nil {
		return err
	}
	err = errors.Join(pipe.Capture(ctx, &logpipe.Record{Kind: logpipe.Input, Subject: "user-17", Body: []byte("hello")}), pipe.Close(context.WithoutCancel(ctx)))
	trust, failed := os.ReadFile(setup.Trust)
	identity, missing := os.ReadFile(filepath.Join(dir, "compactor", "compactor.stele"))
	if err = errors.Join(err, failed, missing); err != nil {
		return err
	}
	c, err := compact.Open(ctx, compact.Config{Store: store, Trust: trust, Identity: identity, From: spool})
	if err == nil {
		err = c.Once(ctx)
	}
	return errors.Join(err, os.WriteFile(filepath.Join(dir, "stele.yaml"), []byte("archive: "+url+"\nto: "+spool+"\nexpire_every: 1s\n"), 0o600))
}

// lockedBuffer may be written to and read at the same time.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
