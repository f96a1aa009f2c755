package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/worm"
)

// retryKeys is how often to try for the role while another process has it.
const retryKeys = 5 * time.Second

// keyRole is the key service beside the compactor. One process at a time has the role; the others wait for it.
type keyRole struct {
	*config
	store worm.Store
	log   *slog.Logger
	has   atomic.Pointer[keys.Service]
	fails atomic.Pointer[error] // why the key service does not work, while it is tried again
	said  string                // why this process is not the key service, as the log has it; only run uses it
}

// beside adds the key service to the parts of a compactor that fail.
func (k *keyRole) beside(stats func() compact.Stats) func() compact.Stats {
	return func() compact.Stats {
		s := stats()
		if err := k.failing(); err != nil {
			failing := map[string]error{partKeys: err}
			maps.Copy(failing, s.Failing)
			s.Failing = failing
		}
		return s
	}
}

// failing is why there is no key service here although there should be one, or why it takes in no grants.
func (k *keyRole) failing() error {
	if err := k.fails.Load(); err != nil {
		return *err
	}
	if st := k.stats(); st != nil {
		return st.Failing
	}
	return nil
}

const partKeys = "key service"

// stats are the figures of the key service, nil if this process is not it.
func (k *keyRole) stats() *keys.Stats {
	service := k.has.Load()
	if service == nil {
		return nil
	}
	st := service.Stats()
	return &st
}

// open takes the role. Without the folder there is none to take, and the service is nil.
func (k *keyRole) open(ctx context.Context) (*keys.Service, error) {
	id, err := os.ReadFile(filepath.Join(k.keysDir, "keyservice.stele"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	replica, err := k.OpenReplica(ctx)
	if err != nil {
		return nil, err
	}
	return keys.Open(ctx, keys.Config{Store: k.store, Replica: replica, Trust: k.trust, Identity: id,
		Custodians: k.KeyCustodians(k.keysDir), From: k.From, Username: k.KafkaUsername, Password: k.KafkaPassword,
		EraseEvery: k.EraseEvery, Logger: k.log})
}

// fold takes in all keys that were sent so far, unless another process does.
func (k *keyRole) fold(ctx context.Context) error {
	service, err := k.open(ctx)
	if errors.Is(err, keys.ErrBusy) {
		k.log.Info("keys are taken in by another process", "why", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("key service: %w", err)
	}
	if service == nil {
		k.log.Info("keys are taken in by the process that has the keys folder")
		return nil
	}
	err = service.Fold(ctx)
	if err == nil { // a request that cannot be carried out holds nothing else up
		_, err = service.CarryOut(ctx)
		err = errors.Join(err, service.EraseDue(ctx))
	}
	return errors.Join(err, service.Close())
}

// run is the key service as long as ctx lasts; while another process is, it waits to take over. What is wrong with the keys
// or with its identity stops no commits, and does not end the process: grants wait in the transport, another process may have
// the role, and what is mended here counts at the next try.
func (k *keyRole) run(ctx context.Context) error {
	for {
		service, err := k.open(ctx)
		if err == nil && service == nil {
			k.fails.Store(nil)
			k.log.Info("keys are taken in by the process that has the keys folder")
			return nil
		}
		if err == nil {
			err = k.serve(ctx, service)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if wrongSetting(err) {
			return fmt.Errorf("key service: %w", err)
		}
		k.waits(ctx, err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryKeys):
		}
	}
}

// waits says why this process is not the key service: in the log once, in the figures until it changes.
func (k *keyRole) waits(ctx context.Context, err error) {
	level, text, now := slog.LevelError, "the key service does not work and is tried again; commits go on, grants wait in the transport", fmt.Sprint(err)
	if errors.Is(err, keys.ErrBusy) {
		level, text, now = slog.LevelInfo, "another process is the key service; waiting to take over", keys.ErrBusy.Error()
		k.fails.Store(nil)
	} else {
		k.fails.Store(&err)
	}
	if now == k.said {
		level = slog.LevelDebug
	}
	k.said = now
	k.log.Log(ctx, level, text, "err", err)
}

// wrongSetting reports whether an error is about how a custodian is named, or about a socket where none can be, which waiting
// does not mend.
func wrongSetting(err error) bool {
	opened := new(custodian.Error)
	return errors.Is(err, syscall.EINVAL) || errors.As(err, &opened) && opened.Op == "open" && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) &&
		!errors.Is(err, custodian.ErrUnavailable)
}

// serve takes in keys and answers readers until ctx ends or the socket fails.
func (k *keyRole) serve(ctx context.Context, service *keys.Service) (err error) {
	defer func() { err = errors.Join(err, service.Close()) }()
	l, err := keys.Listen(k.socket())
	if err != nil {
		return fmt.Errorf("socket of the key service: %w", err)
	}
	k.fails.Store(nil)
	k.said = ""
	k.has.Store(service)
	defer k.has.Store(nil)
	k.log.Info("serving keys", "socket", k.socket())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serve(ctx, l, service.Handler()) })
	g.Go(func() error { return service.Run(ctx) })
	return g.Wait()
}

func (k *keyRole) socket() string {
	if k.Keys != "" {
		return k.Keys
	}
	return filepath.Join(k.keysDir, "keys.sock")
}
