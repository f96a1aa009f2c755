package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stelelog/stele/backup/tiles"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/merkle"
)

// tilesAge is how old the view of the archive may be when somebody asks for a head.
const tilesAge = 5 * time.Second

// serveTiles serves the logs where the setting tiles says.
func (c *config) serveTiles(ctx context.Context, g *errgroup.Group, store worm.Store, log *slog.Logger) error {
	l, err := net.Listen("tcp", c.Tiles)
	if err != nil {
		return badSetup("choose another address with --tiles", "tiles: %w", err)
	}
	view, err := tiles.Open(ctx, store, c.trust)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	log.Info("serving tiles", "address", l.Addr().String(), "logs", view.Origins())
	g.Go(func() error { return serve(ctx, l, &tileServer{view: view, log: log, now: time.Now}) })
	return nil
}

// tileServer answers GET /<origin>/checkpoint and GET /<origin>/tile/… (c2sp.org/tlog-tiles).
type tileServer struct {
	view *tiles.View
	log  *slog.Logger
	now  func() time.Time

	mu   sync.Mutex // guards seen; held while the archive is read on
	seen time.Time
}

// ServeHTTP implements http.Handler.
func (s *tileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	data, header, err := s.answer(r.Context(), strings.TrimPrefix(r.URL.Path, "/"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		http.Error(w, "there is no such head or tile", http.StatusNotFound)
	case err != nil && r.Context().Err() != nil: // whoever asked has gone
	case err != nil:
		s.log.Error("tiles", "path", r.URL.Path, "err", err)
		http.Error(w, "the archive could not be read; the log of the compactor says why", http.StatusInternalServerError)
	default:
		for name, value := range header {
			w.Header().Set(name, value)
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
	}
}

func (s *tileServer) answer(ctx context.Context, path string) (data []byte, header map[string]string, err error) {
	if origin, ok := strings.CutSuffix(path, "/checkpoint"); ok {
		if err := s.refresh(ctx); err != nil {
			return nil, nil, err
		}
		data, _, err := s.view.Checkpoint(ctx, origin)
		return data, map[string]string{"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-cache"}, err
	}
	at := strings.Index(path, "/tile/")
	if at < 0 {
		return nil, nil, fs.ErrNotExist
	}
	tile, err := merkle.ParseTilePath(path[at+1:])
	if err != nil {
		return nil, nil, fs.ErrNotExist
	}
	data, err = s.view.Tile(ctx, path[:at], tile)
	if errors.Is(err, fs.ErrNotExist) { // it may have been made since
		if err := s.refresh(ctx); err != nil {
			return nil, nil, err
		}
		data, err = s.view.Tile(ctx, path[:at], tile)
	}
	// A tile of a given width is the same for ever, the partial ones too.
	return data, map[string]string{"Content-Type": "application/octet-stream", "Cache-Control": "public, max-age=31536000, immutable"}, err
}

// refresh reads on, unless that was done a moment ago.
func (s *tileServer) refresh(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if now.Sub(s.seen) < tilesAge {
		return nil
	}
	err := s.view.Refresh(ctx)
	if err == nil {
		s.seen = now
	}
	return err
}
