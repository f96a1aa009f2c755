// Package local is a whole archive in one directory, for one machine and without any server: writers and their spool, a
// compactor, a key service whose custodian is a file, and the archive. It is what the demo and small services use; nothing in it differs
// from the pieces that a large installation runs apart.
package local

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/dirstore"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/logpipe"
)

// Options configures [Open]. The zero Options works.
type Options struct {
	Name       string         // of a new archive; "local" if empty
	Keep       time.Duration  // how long objects of a new archive are to be kept; 30 days if 0
	Pipe       logpipe.Config // Credential and To are filled in
	SegmentAge time.Duration  // see [compact.Config]
	Logger     *slog.Logger
}

// Local is an open directory.
type Local struct {
	Pipe *logpipe.Pipe

	dir   string
	opt   Options
	store worm.Store
	trust []byte
}

// Open opens the archive in dir, and makes it if there is none. The pipe runs when Open returns; nothing is compacted
// before Run or Once.
func Open(ctx context.Context, dir string, opt Options) (*Local, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	l := &Local{dir: dir, opt: opt}
	if l.store, err = dirstore.Open(l.path("archive"), dirstore.Options{Create: true}); err != nil {
		return nil, err
	}
	l.trust, err = os.ReadFile(l.path("trust.stele"))
	if errors.Is(err, fs.ErrNotExist) {
		err = l.init(ctx)
	}
	if err != nil {
		return nil, err
	}
	cfg := opt.Pipe
	cfg.Credential, cfg.To = l.path("writer", "default.stele"), l.spool()
	if l.Pipe, err = logpipe.Open(ctx, cfg); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Local) path(parts ...string) string {
	return filepath.Join(append([]string{l.dir}, parts...)...)
}

func (l *Local) spool() string { return "file://" + filepath.ToSlash(l.path("spool")) }

func (l *Local) init(ctx context.Context) error {
	name := l.opt.Name
	if name == "" {
		name = "local"
	}
	_, err := admin.Init(ctx, admin.InitConfig{Store: l.store, Name: name, To: l.spool(), Dir: l.dir, Lock: worm.LockAdvisory, Keep: l.opt.Keep})
	if err != nil {
		return err
	}
	l.trust, err = os.ReadFile(l.path("trust.stele"))
	return err
}

// Keys takes the role of the key service. One process at a time can hold it.
func (l *Local) Keys(ctx context.Context) (*keys.Service, error) {
	id, err := os.ReadFile(l.path("keys", "keyservice.stele"))
	if err != nil {
		return nil, err
	}
	return keys.Open(ctx, keys.Config{Store: l.store, Trust: l.trust, Identity: id,
		Custodians: keys.Custodians{URLs: map[string]string{"default": admin.DefaultCustodian(l.dir)}}, From: l.spool(), Logger: l.opt.Logger})
}

func (l *Local) compactor(ctx context.Context, keys *keys.Service) (*compact.Compactor, error) {
	id, err := os.ReadFile(l.path("compactor", "compactor.stele"))
	if err != nil {
		return nil, err
	}
	return compact.Open(ctx, compact.Config{Store: l.store, Trust: l.trust, Identity: id, From: l.spool(),
		SegmentAge: l.opt.SegmentAge, Keys: keys, Logger: l.opt.Logger})
}

// Run compacts until ctx ends, and returns ctx.Err() then. Of several processes with one directory, one compacts; the
// others wait here and take over when it is gone.
func (l *Local) Run(ctx context.Context) error {
	for {
		service, err := l.Keys(ctx)
		if err == nil {
			defer service.Close()
			c, err := l.compactor(ctx, service)
			if err != nil {
				return err
			}
			return c.Run(ctx)
		}
		if !errors.Is(err, keys.ErrBusy) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// Once hands over what the pipe holds, compacts all of it, and returns when it is committed and its keys are folded.
func (l *Local) Once(ctx context.Context, keys *keys.Service) error {
	if err := l.Pipe.Flush(ctx); err != nil && !errors.Is(err, logpipe.ErrClosed) {
		return err
	}
	c, err := l.compactor(ctx, keys)
	if err != nil {
		return err
	}
	return c.Once(ctx)
}

// Archive opens the archive as an auditor would, with the trust file alone.
func (l *Local) Archive(ctx context.Context) (*backup.Archive, error) {
	return backup.OpenArchive(ctx, l.store, l.trust)
}

// Reader opens the archive with the reader's identity, which lies in the same directory here.
func (l *Local) Reader(ctx context.Context, keys keys.Source) (*backup.Reader, error) {
	id, err := os.ReadFile(l.path("reader", "reader.stele"))
	if err != nil {
		return nil, err
	}
	a, err := l.Archive(ctx)
	if err != nil {
		return nil, err
	}
	return a.Unlock(id, keys)
}

// Desk opens the control log for a person: who asks for an erasure, who approves one, or, with the content of
// admin/root.stele, who lets them in. See package erase.
func (l *Local) Desk(ctx context.Context, who []byte) (*erase.Desk, error) {
	return erase.Open(ctx, l.store, l.trust, who)
}

// Close closes the pipe within ctx.
func (l *Local) Close(ctx context.Context) error { return l.Pipe.Close(ctx) }
