package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/dirstore"
	"github.com/stelelog/stele/backup/local"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/tiles"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/logpipe"
)

func TestTileServer(t *testing.T) {
	dir, store := t.TempDir(), storetest.NewMemory()
	if _, err := admin.Init(t.Context(), admin.InitConfig{Store: store, Name: "acme", To: "file://" + filepath.Join(dir, "spool"), Dir: dir, Lock: worm.LockNone}); err != nil {
		t.Fatal(err)
	}
	trust, err := os.ReadFile(filepath.Join(dir, "trust.stele"))
	if err != nil {
		t.Fatal(err)
	}
	view, err := tiles.Open(t.Context(), store, trust)
	if err != nil {
		t.Fatal(err)
	}
	s := &tileServer{view: view, log: slog.New(slog.DiscardHandler), now: time.Now}
	ask := func(method, path, ranges string) *http.Response {
		r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
		if ranges != "" {
			r.Header.Set("Range", ranges)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Result()
	}
	for _, c := range []struct {
		method, path, ranges string
		status               int
		cache                string
		length               int64
	}{
		{"GET", "/acme/control/checkpoint", "", 200, "no-cache", -1},
		{"GET", "/acme/control/tile/0/000.p/1", "", 200, "immutable", 32},
		{"HEAD", "/acme/control/tile/0/000.p/1", "", 200, "immutable", 32},
		{"GET", "/acme/control/tile/0/000.p/1", "bytes=8-15", 206, "immutable", 8},
		{"GET", "/acme/control/tile/0/000.p/1", "bytes=90-99", 416, "", -1},
		{"GET", "/acme/control/tile/0/000", "", 404, "", -1},
		{"GET", "/acme/control/tile/0/../../checkpoint", "", 404, "", -1},
		{"GET", "/tile/0/000", "", 404, "", -1},
		{"GET", "/acme/9/2020Q1/checkpoint", "", 404, "", -1},
		{"POST", "/acme/control/checkpoint", "", 405, "", -1},
	} {
		got := ask(c.method, c.path, c.ranges)
		if got.StatusCode != c.status || !strings.Contains(got.Header.Get("Cache-Control"), c.cache) || c.length >= 0 && got.ContentLength != c.length {
			t.Errorf("%s %s %s: %d, %q, %d bytes", c.method, c.path, c.ranges, got.StatusCode, got.Header.Get("Cache-Control"), got.ContentLength)
		}
		if c.status >= 400 && c.status != 416 && strings.Contains(got.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s %s: an error may be kept for ever", c.method, c.path)
		}
	}
}

// A stranger's checker reads the logs over HTTP, of an archive that grows, and finds nothing wrong. What was given out once stays as it was.
func TestTilesOverHTTP(t *testing.T) {
	dir := t.TempDir()
	l, err := local.Open(t.Context(), dir, local.Options{Name: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close(context.WithoutCancel(t.Context()))
	more := func(n int) {
		t.Helper()
		for i := range n {
			if err := l.Pipe.Capture(t.Context(), &logpipe.Record{Kind: logpipe.Input, Session: "s", Body: fmt.Appendf(nil, "record %d", i)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Once(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	more(300)
	store, err := dirstore.Open(filepath.Join(dir, "archive"), dirstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	trust, err := os.ReadFile(filepath.Join(dir, "trust.stele"))
	if err != nil {
		t.Fatal(err)
	}
	view, err := tiles.Open(t.Context(), store, trust)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	server := httptest.NewServer(&tileServer{view: view, log: slog.New(slog.DiscardHandler), now: func() time.Time { return now }})
	defer server.Close()
	check := func() {
		t.Helper()
		for _, origin := range view.Origins() {
			_, vkey, err := view.Checkpoint(t.Context(), origin)
			if err == nil {
				err = testbed.Fsck(t, server.URL+"/"+origin, origin, vkey, 2*time.Minute)
			}
			if err != nil {
				t.Errorf("%s: %v", origin, err)
			}
		}
	}
	check()
	data := server.URL + "/" + view.Origins()[1] + "/tile/"
	early := map[string]string{}
	for _, path := range []string{"0/000", "0/001.p/45", "0/001.p/1", "1/000.p/1", "entries/000", "entries/001.p/45", "entries/000.p/17"} {
		status, body, header := fetch(t, data+path)
		if early[path] = body; status != http.StatusOK || !strings.Contains(header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d, %v", path, status, header)
		}
	}
	for _, path := range []string{"0/001", "0/001.p/200", "0/001.p/0", "0/001.p/256", "0/002.p/1", "1/000", "1/001.p/1", "2/000.p/1", "8/000", "entries/001", "0/1", "0/x001/000", "0/000/"} {
		if status, _, header := fetch(t, data+path); status != http.StatusNotFound || strings.Contains(header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d, %v", path, status, header)
		}
	}
	more(300)
	now = now.Add(tilesAge)
	check()
	for path, was := range early {
		if status, body, _ := fetch(t, data+path); status != http.StatusOK || body != was {
			t.Errorf("%s is another one now: %d", path, status)
		}
	}
	if status, _, _ := fetch(t, data+"0/001"); status != http.StatusOK {
		t.Errorf("a tile that is full now: %d", status)
	}
}

func fetch(t *testing.T, url string) (status int, body string, header http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(data), res.Header
}
