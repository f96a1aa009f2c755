// Package keys is the key service of an archive. It takes in grants, keeps the wrapped keys of scopes in erasable tries
// in the archive's own store, answers readers, and erases: docs/formats/keys.md.
//
// [Open] opens the key store with the custodians of its top key. Any number of services may have one archive; the
// create-only write of a root record decides which of them made the next version, and the others read on.
package keys

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/cosign"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/internal/objstore"
	"github.com/stelelog/stele/internal/sealhook"
)

// Config configures a [Service]. Store, Trust and Custodians are required.
type Config struct {
	Store      worm.Store
	Trust      []byte // content of trust.stele
	Custodians Custodians

	// Replica is a second store, at another place and under other hands, that gets all that the key store writes. Nothing is
	// destroyed, and no grant removed, before it was read back from there; nil if there is none.
	Replica worm.Store

	// Identity is the content of keyservice.stele. Without it the service reads: it answers, and never writes.
	Identity []byte
	// From is the frames transport; the grants transport follows from it. Empty where there is none any more: then nothing is
	// taken in, and what is in the key store can be read and erased.
	From               string
	Username, Password string
	TLS                *tls.Config

	FoldEvery time.Duration // how often grants go into the key store; 1 minute
	// EraseEvery is how long approved requests that are not urgent wait for others, to be carried out together, and how often
	// what policy asks for is erased at most; 1 hour.
	EraseEvery time.Duration
	Logger     *slog.Logger

	most     int                                    // tests: scopes of one generation
	together bool                                   // tests: leave the role beside a spool alone
	spoil    func(at string, what *keyring.Erasure) // tests: a mistake in what is "chosen", or then "made"
	step     func(name string) error                // tests: called between steps, an error is a crash
	now      func() time.Time                       // tests: the clock of this machine
	grants   grantSource                            // tests: the transport
}

// Service takes in grants, answers scope ids or tags with wrapped keys, which only readers can open, and erases keys.
// Its methods are safe for concurrent use.
type Service struct {
	cfg     Config
	trust   identity.Trust
	signer  note.Signer // nil: read only
	control *ledger.Log
	custody *custody
	log     *slog.Logger
	random  io.Reader
	now     func() time.Time // the clock of this machine
	release func() error     // of the role

	cosigners *cosign.Policy // of whom the trust file wants that they vouch for the time

	mu      sync.Mutex // one operation at a time; guards what follows
	depot   *keydepot.Depot
	replica *keydepot.Replica // nil without one
	grants  grantSource       // nil without a transport
	version version
	pending *pending
	cut     map[string]bool // lanes of the transport that lost what was folded
	guard   *guard          // of what other archives have in the transport
	seen    keydepot.Known  // of the control log: those records are there

	clocks   clocks
	told     told
	answers  answers
	requests carrying
	policy   byPolicy
	dead     deadGenerations

	step  func(name string) error // called between steps; tests stop there
	spoil func(at string, what *keyring.Erasure)

	statsMu sync.Mutex // guards stats
	stats   Stats
}

// version is a root record with what it opens.
type version struct {
	*keyroot.Record
	hash commit.Hex32
	top  keyroot.Top
	ring *keyring.Ring
}

// ErrBusy says that another process holds the role of the key service beside this spool.
var ErrBusy = errors.New("another process holds the key service role")

const (
	defaultFoldEvery  = time.Minute
	defaultEraseEvery = time.Hour
)

// Open opens the key store. With an identity and a spool the role is taken until Close; a second process gets an error
// that wraps ErrBusy.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.sync(ctx), s.mayWrite()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// open opens all that the service needs, and reads nothing yet but the control log.
func open(ctx context.Context, cfg Config) (_ *Service, err error) {
	s := &Service{cfg: cfg, log: cfg.Logger, random: sealhook.Random(ctx), release: func() error { return nil }, step: func(string) error { return nil },
		answers: newAnswers(), requests: newCarrying(), told: told{waits: map[commit.Hex32]entry{}}, dead: deadGenerations{numbers: map[uint64]bool{}}}
	if cfg.step != nil {
		s.step = cfg.step
	}
	if s.spoil = cfg.spoil; s.spoil == nil {
		s.spoil = func(string, *keyring.Erasure) {}
	}
	if s.now = cfg.now; s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.cfg.FoldEvery <= 0 {
		s.cfg.FoldEvery = defaultFoldEvery
	}
	if s.cfg.EraseEvery <= 0 {
		s.cfg.EraseEvery = defaultEraseEvery
	}
	if err := s.trust.UnmarshalText(cfg.Trust); err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	s.guard, s.cut = newGuard(s.trust.Archive), map[string]bool{}
	if s.cosigners, err = s.trust.Cosigners(); err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	if err := s.identify(cfg.Identity); err != nil {
		return nil, err
	}
	if s.control, err = ledger.Open(ctx, cfg.Store, s.trust); err != nil {
		return nil, err
	}
	s.depot = keydepot.Open(keydepot.Config{Store: cfg.Store, Archive: s.trust.Archive, Keys: keydepot.Keepers(s.control), Lock: s.lock})
	if cfg.Replica != nil {
		s.replica = s.depot.Replica(cfg.Replica)
	}
	if s.custody, err = openCustody(cfg.Custodians, s.trust.Archive, s.existing(ctx)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if cfg.From != "" {
		if s.grants, err = openGrants(cfg, s.trust.Archive); err != nil {
			return nil, err
		}
		if s.signer != nil && !cfg.together {
			if err := s.mayWrite(); err != nil { // before it keeps the role from one that may
				return nil, err
			}
			release, err := s.grants.take()
			if err != nil {
				return nil, err
			}
			s.release = release
		}
	}
	return s, nil
}

// existing says which custodians have keys: those of the newest generation, and all where it cannot be read.
func (s *Service) existing(ctx context.Context) func(name string) bool {
	err := s.depot.Refresh(ctx)
	last, _ := s.depot.State().Last()
	made := err != nil
	s.control.View(func(c *control.State) { made = made || last == nil && len(c.KeyRoots) > 0 })
	return func(name string) bool {
		return made || last != nil && slices.ContainsFunc(last.Custody.Shares, func(x keyroot.Share) bool { return x.Custodian == name })
	}
}

// identify reads the role file.
func (s *Service) identify(file []byte) (err error) {
	if file == nil {
		return nil
	}
	s.signer, err = s.trust.KeyService(file)
	return err
}

// lock is that of an object made now.
func (s *Service) lock(keep time.Duration) worm.Lock {
	p := s.control.Policy()
	if p == nil {
		return worm.Lock{Mode: worm.LockNone}
	}
	if keep == 0 {
		keep = p.Longest()
	}
	return objstore.LockFor(p.Lock.Mode, keep, s.now())
}

// Close gives the role up. What was not folded stays in the transport.
func (s *Service) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version.top.Wipe()
	err := s.release()
	if s.grants != nil {
		s.grants.close()
	}
	return errors.Join(err, s.custody.close())
}

// sync reads the control log and the root records to their ends, and opens the newest one. Requires mu or a single caller.
func (s *Service) sync(ctx context.Context) error {
	if err := s.control.RefreshWhole(ctx); err != nil {
		return err
	}
	if err := s.depot.Refresh(ctx); err != nil {
		return err
	}
	for {
		_, hash := s.depot.State().Last()
		err := s.openLast(ctx)
		if err == nil {
			return nil
		}
		// Another service may have left this generation, and had it destroyed, since it was read.
		if failed := s.depot.Refresh(ctx); failed != nil {
			return errors.Join(err, failed)
		}
		if _, now := s.depot.State().Last(); now == hash {
			return err
		}
	}
}

// openLast opens the newest record that was read, if it is another one than is open.
func (s *Service) openLast(ctx context.Context) error {
	if err := s.depot.Complete(); err != nil {
		return err
	}
	last, hash := s.depot.State().Last()
	if last == nil {
		return fmt.Errorf("the archive has no key store: there is no root record at %s", s.depot.Next())
	}
	if err := s.whole(ctx, last); err != nil {
		return err
	}
	if hash == s.version.hash {
		return nil
	}
	top := s.version.top
	if s.version.Record == nil || s.version.Generation != last.Generation {
		var err error
		if top, err = s.custody.top(ctx, last); err != nil {
			return err
		}
	}
	ring, err := last.Open(&top, s.depot.Source(last.Packs))
	if err != nil {
		return err
	}
	s.version.top.Wipe()
	s.version = version{last, hash, top, ring}
	s.pending, err = s.begin(ctx)
	return err
}

// whole makes sure that no record is missing of which the control log or a custodian knows.
func (s *Service) whole(ctx context.Context, last *keyroot.Record) (err error) {
	if s.version.Record == nil {
		if err := s.custody.rollback(ctx, last.Generation); err != nil {
			return err
		}
	}
	var gone []keydepot.Gone
	known := s.seen
	s.control.View(func(c *control.State) {
		known = keydepot.KnownBy(c)
		gone = keydepot.Missing(c, s.depot.State(), s.seen, known)
	})
	gone = slices.DeleteFunc(gone, func(g keydepot.Gone) bool { return !g.Binds })
	if len(gone) > 0 {
		g := &gone[0]
		return fmt.Errorf("the control log knows a root record of the key store that is gone (%s): %d of generation %d with hash %s; put it back from a copy; 'stele recover status' says what else can be done: %w",
			keydepot.Roots, g.N, g.Generation, g.Hash, keyroot.ErrLost)
	}
	s.seen = known
	return nil
}
