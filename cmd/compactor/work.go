package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/cmd/internal/ready"
)

// run opens everything and works until ctx ends, or once.
func (c *config) run(ctx context.Context, log *slog.Logger) error {
	store, err := location.Open(ctx, c.Archive, location.Options{})
	if err != nil {
		return err
	}
	heads, err := c.heads()
	if err != nil {
		return err
	}
	compactor, err := compact.Open(ctx, compact.Config{
		Store: store, Trust: c.trust, Identity: c.identity, From: c.From,
		Username: c.KafkaUsername, Password: c.KafkaPassword,
		SegmentBytes: c.SegmentBytes, SegmentAge: c.SegmentAge, IdleAge: c.IdleAge, HeadsEvery: c.HeadsEvery,
		Partitions: c.Partitions, Group: c.group, Since: heads, Logger: log,
	})
	if err != nil {
		return err
	}
	keys := &keyRole{config: c, store: store, log: log}
	if c.once {
		return c.runOnce(ctx, compactor, keys, log)
	}
	err = c.serveAll(ctx, compactor, keys, log)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		log.Info("stopped as asked")
		return nil
	}
	return err
}

// heads reads what --since names.
func (c *config) heads() (heads [][]byte, err error) {
	for _, path := range c.since {
		head, err := os.ReadFile(path)
		if err != nil {
			return nil, badSetup("--since names files with signed heads of the control log", "%w", err)
		}
		heads = append(heads, head)
	}
	return heads, nil
}

// runOnce takes what is there, and the keys, too, if nobody else does.
func (c *config) runOnce(ctx context.Context, compactor *compact.Compactor, keys *keyRole, log *slog.Logger) error {
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	err := compactor.Once(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("gave up after %s, and what is not committed is still in the transport: %w", c.timeout, err)
	}
	if err != nil {
		return err
	}
	// What was erased, and of what, is said in the inbox.
	if err := errors.Join(keys.fold(ctx), compactor.Sequence(ctx)); err != nil {
		return err
	}
	s := compactor.Stats()
	log.Info("done", "leaves", s.Records, "commits", s.Commits, "duplicates", s.Duplicates, "quarantined", s.Quarantined)
	for p, err := range s.Halted {
		log.Error("halted", "partition", p, "err", err)
	}
	return nil
}

// serveAll runs the compactor with what stands around it, until ctx ends or one of them fails.
func (c *config) serveAll(ctx context.Context, compactor *compact.Compactor, keys *keyRole, log *slog.Logger) error {
	g, ctx := errgroup.WithContext(ctx)
	l, err := c.listen(log)
	if err != nil {
		return err
	}
	if l != nil {
		log.Info("serving /metrics, /healthz and /readyz", "address", l.Addr().String())
		g.Go(func() error { return serve(ctx, l, handler(compactor.ID(), keys.beside(compactor.Stats), keys.stats)) })
	}
	if c.Tiles != "" {
		if err := c.serveTiles(ctx, g, keys.store, log); err != nil {
			return err
		}
	}
	if c.ExpireEvery > 0 {
		g.Go(func() error { return c.expire(ctx, keys.store, log) })
	}
	g.Go(func() error { return keys.run(ctx) })
	g.Go(func() error { return compactor.Run(ctx) })
	log.Info("compacting", "archive", location.Redact(c.Archive), "from", location.Redact(c.From))
	return g.Wait()
}

// listen listens where figures are to be served. The default address may be taken, by another compactor say.
func (c *config) listen(log *slog.Logger) (net.Listener, error) {
	address := cmp.Or(c.Metrics, ready.Address)
	l, err := net.Listen("tcp", address)
	switch {
	case err != nil && c.Metrics == "":
		log.Warn("no figures are served, the default address is taken; choose another with --metrics", "address", address)
		return nil, nil
	case err != nil:
		return nil, badSetup("choose another address with --metrics", "metrics: %w", err)
	}
	return l, nil
}
