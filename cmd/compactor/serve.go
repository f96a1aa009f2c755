package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/cmd/internal/ready"
)

// shutdownWait bounds how long requests under way may take when the process ends.
const shutdownWait = 2 * time.Second

// handler serves /metrics, /healthz and /readyz, which names the archive: several may have compactors on one machine.
func handler(archive string, stats func() compact.Stats, service func() *keys.Stats) http.Handler {
	registry := newRegistry(stats, service)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		s := stats()
		w.Header().Set(ready.Header, archive)
		if len(s.Halted)+len(s.Failing) == 0 {
			fmt.Fprintln(w, "ok")
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		for _, p := range slices.Sorted(maps.Keys(s.Halted)) {
			fmt.Fprintf(w, "partition %d halted: %v\n", p, s.Halted[p])
		}
		for _, part := range slices.Sorted(maps.Keys(s.Failing)) {
			fmt.Fprintf(w, "%s fails and is tried again: %v\n", part, s.Failing[part])
		}
	})
	return mux
}

// serve answers on l until ctx ends, and lets what is under way finish.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 64 << 10}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWait)
		defer cancel()
		if server.Shutdown(last) != nil {
			server.Close()
		}
	}()
	err := server.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		return nil
	}
	return err
}
