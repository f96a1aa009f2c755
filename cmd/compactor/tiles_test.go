package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/storetest"
)

func TestTileServer(t *testing.T) {
	dir, store := t.TempDir(), storetest.NewMemory()
	if _, err := admin.Init(t.Context(), admin.InitConfig{Store: store, Name: "acme", To: "file://" + filepath.Join(dir, "spool"), Dir: dir, Lock: backup.LockNone}); err != nil {
		t.Fatal(err)
	}
	trust, err := os.ReadFile(filepath.Join(dir, "trust.stele"))
	if err != nil {
		t.Fatal(err)
	}
	tiles, err := backup.OpenTiles(t.Context(), store, trust)
	if err != nil {
		t.Fatal(err)
	}
	s := &tileServer{tiles: tiles, log: slog.New(slog.DiscardHandler), now: time.Now}
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
