// Package keys is the key service of an archive: it takes in grants, keeps wrapped scope keys, and answers readers.
package keys

import (
	"context"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/keystore"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/internal/objstore"
	"github.com/stelelog/stele/internal/transport"
)

// Config configures a [Service]. Store, Trust, Identity, Path and From are required.
type Config struct {
	Store    objstore.Store
	Trust    []byte // content of trust.stele
	Identity []byte // content of keyservice.stele
	Path     string // of the key store's file
	From     string // the frames transport; the grants transport follows from it

	Username, Password string
	TLS                *tls.Config
	FoldEvery          time.Duration // 1 s
	// Reload reads keyservice.stele again when a grant is under an intake key that Identity lacks: 'stele key renew' adds
	// keys while the service runs. Without it such a grant is dead on arrival.
	Reload func() ([]byte, error)
	Logger *slog.Logger
}

// Service takes in grants and answers scope ids or tags with wrapped keys, which only readers can open. In this
// version it keeps them in a local file: a development store, for which no certificate of erasure can be given.
type Service struct {
	cfg     Config
	trust   identity.Trust
	intake  map[uint16]hpke.PrivateKey
	store   *keystore.Store
	control *ledger.Log
	log     *slog.Logger

	mu     sync.Mutex // one Fold at a time; guards what follows
	grants grantSource
	weeks  map[wrapID]*keyscope.IntakeWrap
	nonces map[string]time.Time
}

// ErrBusy says that another process holds the role of the key service.
var ErrBusy = keystore.ErrBusy

// DevelopmentStore is what reports say of keys that were erased in a store like this one.
const DevelopmentStore = "development store, no certificate"

// wrapID names an opened intake wrap.
type wrapID struct {
	stream [16]byte
	enc    [16]byte
}

// grantSource reads the grants transport.
type grantSource interface {
	// ends lists the lanes and their ends.
	ends(ctx context.Context) (map[string]int64, error)
	// read returns messages of a lane from a position on, or none.
	read(ctx context.Context, lane string, from int64) ([]message, error)
	// folded says that what lies below the positions is in the key store, durably.
	folded(next map[string]int64)
	close()
}

// Open takes the role: its store is locked until Close. A second process gets an error that says so.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	k := &Service{cfg: cfg, log: cfg.Logger, intake: map[uint16]hpke.PrivateKey{},
		weeks: map[wrapID]*keyscope.IntakeWrap{}, nonces: map[string]time.Time{}}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	if k.cfg.FoldEvery <= 0 {
		k.cfg.FoldEvery = time.Second
	}
	if err := k.trust.UnmarshalText(cfg.Trust); err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	if err := k.load(cfg.Identity); err != nil {
		return nil, err
	}
	var err error
	if k.control, err = ledger.Open(ctx, cfg.Store, k.trust); err != nil {
		return nil, err
	}
	if k.grants, err = openGrants(cfg); err != nil {
		return nil, err
	}
	if k.store, err = keystore.Open(cfg.Path); err != nil {
		k.grants.close()
		return nil, err
	}
	return k, nil
}

// load takes in the intake keys of the role file.
func (k *Service) load(file []byte) error {
	var id identity.KeyService
	if err := identity.Parse(file, identity.KeyServiceFormat, &id); err != nil {
		return fmt.Errorf("key service identity: %w", err)
	}
	if id.Archive != identity.ID(k.trust.Archive) {
		return errors.New("key service identity and trust file are of different archives")
	}
	for _, w := range id.Intake {
		key, err := keyscope.KEM().NewPrivateKey(w.Seed)
		if err != nil {
			return fmt.Errorf("intake key of week %d: %w", w.Week, err)
		}
		k.intake[w.Week] = key
	}
	return nil
}

// Close gives the role up.
func (k *Service) Close() error {
	k.grants.close()
	return k.store.Close()
}

// Run folds grants until ctx ends, and returns ctx.Err() then.
func (k *Service) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := k.Fold(ctx); err != nil && ctx.Err() == nil {
			k.log.Error("folding grants", "err", err)
		}
		objstore.Pause(ctx, k.cfg.FoldEvery)
	}
	return ctx.Err()
}

// Fold takes in all grants that the transport holds now. When it returns nil they are durable in the key store.
func (k *Service) Fold(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.control.Refresh(ctx); err != nil {
		return err
	}
	next, err := k.store.Positions()
	if err != nil {
		return err
	}
	ends, err := k.grants.ends(ctx)
	if err != nil {
		return fmt.Errorf("grants transport: %w", err)
	}
	for lane, end := range ends {
		for next[lane] < end {
			messages, err := k.grants.read(ctx, lane, next[lane])
			if err != nil {
				return fmt.Errorf("grants transport, lane %s: %w", lane, err)
			}
			if len(messages) == 0 {
				break
			}
			var keys []keystore.Key
			for _, m := range messages {
				got, err := k.open(lane, m)
				if err != nil {
					return err
				}
				keys = append(keys, got...)
				next[lane] = m.Pos + 1
			}
			if err := k.store.Fold(keys, map[string]int64{lane: next[lane]}); err != nil {
				return err
			}
		}
	}
	k.grants.folded(next)
	return nil
}

// open checks a message of the grants transport and opens the grants in it. What is wrong with it is logged: a scope
// whose grant was not taken shows as unreadable. An error says that the message is to be opened later.
func (k *Service) open(lane string, m message) (keys []keystore.Key, err error) {
	refuse := func(err error) ([]keystore.Key, error) {
		if errors.Is(err, errWait) {
			return nil, err
		}
		k.log.Warn("grant message refused", "lane", lane, "position", m.Pos, "err", err)
		return keys, nil
	}
	if m.Err != nil {
		return refuse(m.Err)
	}
	if strings.HasPrefix(string(m.Data), "STLE") {
		return nil, nil // a session end asks for erasure, which this store does only on demand
	}
	g, err := keyscope.ParseGrants(m.Data)
	if err != nil {
		return refuse(err)
	}
	if g.Cert.Archive != k.trust.Archive {
		return refuse(errors.New("it is for another archive"))
	}
	// A writer that was revoked goes on with the streams that it had opened, so its name is enough.
	var name string
	k.control.View(func(s *control.State) { name, err = s.Service(ed25519.PublicKey(g.Cert.ServiceKey[:]), s.Size()) })
	if name == "" {
		return refuse(err)
	}
	wrap, err := k.wrap(g)
	if err != nil {
		return refuse(err)
	}
	for i := range g.Grants {
		b := g.Binding(i)
		inner, tags, err := wrap.Unwrap(&g.Grants[i].Outer, &b)
		if err != nil {
			refuse(err)
			continue
		}
		keys = append(keys, keystore.Key{Scope: b.Scope, Stream: b.Stream, Start: b.Start, Class: b.Class,
			Encap: g.Grants[i].Encapsulation, Inner: inner, Tags: [3][16]byte{tags.Tenant, tags.Subject, tags.Session}})
	}
	return keys, nil
}

// errWait says that a message cannot be opened now. Nothing behind it is taken in, so that nothing is lost.
var errWait = errors.New("grants wait")

// wrap opens the intake wrap of a message, or finds the one that was opened for the message before.
func (k *Service) wrap(g *keyscope.Grants) (*keyscope.IntakeWrap, error) {
	id := wrapID{g.Cert.Stream, keyscope.EncapsulationID(&g.Intake)}
	if w := k.weeks[id]; w != nil {
		return w, nil
	}
	key := k.intake[g.Week]
	if key == nil && k.cfg.Reload != nil {
		file, err := k.cfg.Reload()
		if err == nil {
			err = k.load(file)
		}
		if err != nil {
			return nil, fmt.Errorf("%w for the intake key of week %d: %w", errWait, g.Week, err)
		}
		key = k.intake[g.Week]
	}
	if key == nil && k.behind(g.Week) {
		return nil, fmt.Errorf("%w: keyservice.stele has no intake key of week %d, and the access policy has; bring the file that 'stele key renew' has written",
			errWait, g.Week)
	}
	if key == nil {
		return nil, fmt.Errorf("no intake key of week %d: dead on arrival", g.Week)
	}
	w, err := keyscope.OpenIntakeWrap(key, k.trust.Archive, g.Cert.Stream, g.Week, &g.Intake)
	if err != nil {
		return nil, err
	}
	if len(k.weeks) > 10_000 {
		clear(k.weeks)
	}
	k.weeks[id] = w
	return w, nil
}

// behind reports whether the access policy has intake keys up to a week, and the role file ends before.
func (k *Service) behind(week uint16) bool {
	for have := range k.intake {
		if have >= week {
			return false
		}
	}
	p := k.control.Policy()
	return p != nil && slices.ContainsFunc(p.Intake, func(i control.Intake) bool { return i.Week == week })
}

// Erase deletes the keys of all scopes that carry the tag of a subject. It is the development store's erasure: at once,
// without approvals, and without a certificate.
func (k *Service) Erase(ctx context.Context, pepper []byte, subject string) (scopes int, err error) {
	if err := k.Fold(ctx); err != nil {
		return 0, err
	}
	if len(pepper) != 32 {
		return 0, errors.New("the pepper has 32 bytes")
	}
	tag := keyscope.MakeTags((*[32]byte)(pepper), nil, []byte(subject), nil).Subject
	ids, err := k.store.Tagged(tag)
	if err != nil {
		return 0, err
	}
	return len(ids), k.store.Erase(ids, time.Now())
}

// openGrants opens the grants transport that belongs to a frames transport.
func openGrants(cfg Config) (grantSource, error) {
	if !strings.HasPrefix(cfg.From, "file:") {
		_, grants, err := transport.Open(cfg.From, transport.Access{Username: cfg.Username, Password: cfg.Password, TLS: cfg.TLS, Logger: cfg.Logger})
		if err != nil {
			return nil, err
		}
		return &kafkaGrants{grants}, nil
	}
	path, err := transport.FilePath(cfg.From)
	if err != nil {
		return nil, err
	}
	dir, err := transport.OpenSpool(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; if it is lost, and this is to read with a copy of keys.db, an empty directory will do", err)
	}
	if err != nil {
		return nil, err
	}
	return &spoolGrants{dir: dir}, nil
}
