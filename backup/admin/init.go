// Package admin makes archives and changes their access policies. It holds the policy root.
package admin

import (
	"context"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/probe"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/internal/objstore"
)

// intakeWeeks is how many weekly intake keys a credential holds.
const intakeWeeks = 26

// InitConfig describes a new archive. Store, Name, To and Dir are required.
type InitConfig struct {
	Store      worm.Store
	Name       string         // of the archive: 1 to 63 of a–z 0–9 . -
	To         string         // URL of the transport, written into credentials
	Dir        string         // where the trust file, credentials and role directories go; must not hold an archive yet
	Lock       worm.LockMode  // how objects are held; governance if empty
	Keep       time.Duration  // how long objects are locked at least, in whole days; 30 days if 0
	Partitions int            // 1 if 0
	Period     string         // after which a log is closed and the next begun: year, quarter, month (day, hour, minute for tests); quarter if empty
	Probe      []probe.Result // what the store was seen to enforce; goes into the control log
	// Custodians hold the top key of the key store. Without any it is a file in Dir/keys/custodian: for development, whoever
	// keeps a copy of it can undo every erasure.
	Custodians keys.Custodians
}

// Setup says where Init has put what.
type Setup struct {
	Trust    string            // path of trust.stele: public, give it to auditors
	Writer   string            // path of the first writer credential
	Roles    map[string]string // role → its directory
	Offline  []string          // paths that belong offline
	Archive  string            // id, hex
	Checksum string            // SHA-256 of the trust file, to compare over the phone
}

// Init makes an archive: keys for all roles, the first entries of the control log, and the files of each role. It
// refuses a store that holds an archive already, and a directory that does.
func Init(ctx context.Context, cfg InitConfig) (*Setup, error) {
	if !identity.ValidName(cfg.Name) {
		return nil, fmt.Errorf("archive name %q: use 1 to 63 of a–z 0–9 . -", cfg.Name)
	}
	if cfg.Lock == "" {
		cfg.Lock = worm.LockGovernance
	}
	if cfg.Keep <= 0 {
		cfg.Keep = 30 * 24 * time.Hour
	}
	cfg.Partitions = max(1, cfg.Partitions)
	if cfg.Period == "" {
		cfg.Period = "quarter"
	}
	if _, err := commit.PeriodOf(cfg.Period, time.Now()); err != nil {
		return nil, err
	}
	for _, prefix := range []string{ledger.Prefix, "logs/", "keys/"} {
		for v, err := range cfg.Store.Versions(ctx, prefix, "") {
			if err != nil {
				return nil, fmt.Errorf("the store cannot be listed: %w", err)
			}
			return nil, fmt.Errorf("the store holds an archive already (%s); choose another prefix", v.Key)
		}
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, "trust.stele")); err == nil {
		return nil, fmt.Errorf("%s holds an archive already; choose another directory with --out", cfg.Dir)
	}
	n, err := newArchive(cfg)
	if err != nil {
		return nil, err
	}
	// Keys first: an archive whose keys were never written would be lost. The trust file comes last and says that all is made.
	setup, trust, err := n.write(cfg)
	if err != nil {
		return nil, fmt.Errorf("role files: %w", err)
	}
	if err := n.bootstrap(ctx, cfg); err != nil {
		return nil, fmt.Errorf("control log (nothing uses the role files in %s, remove them before the next try): %w", cfg.Dir, err)
	}
	if err := n.keyStore(ctx, cfg, trust); err != nil {
		return nil, fmt.Errorf("key store (nothing uses the role files in %s, nor this prefix; remove them before the next try): %w", cfg.Dir, err)
	}
	return setup, os.WriteFile(setup.Trust, trust, 0o644)
}

// newKeys are the secrets of a new archive while it is being made.
type newKeys struct {
	trust      identity.Trust
	root       identity.Root
	compactor  identity.Compactor
	keyService identity.KeyService
	intake     map[uint16][]byte // seeds, by week
	readers    []identity.Reader
	policy     control.Policy
	readKey    control.ReadKey
	writer     identity.Writer
}

func newArchive(cfg InitConfig) (*newKeys, error) {
	now := time.Now().UTC()
	var id [16]byte
	rand.Read(id[:])
	pepper := secret()
	n := &newKeys{
		root:       identity.Root{Stele: identity.RootFormat, Archive: id, Name: cfg.Name, Key: secret(), Control: secret(), Pepper: pepper},
		keyService: identity.KeyService{Stele: identity.KeyServiceFormat, Archive: id, Name: cfg.Name, By: "default", Key: secret()},
	}
	n.compactor = identity.Compactor{Stele: identity.CompactorFormat, Archive: id, Name: cfg.Name, By: "default", Key: secret(), Control: n.root.Control}
	var err error
	if n.trust, err = trustOf(id, cfg.Name, n.root); err != nil {
		return nil, err
	}
	n.policy = control.Policy{Version: 1, Classes: shippedClasses(cfg.Keep), Root: n.trust.Root,
		Lock: control.Lock{Mode: string(cfg.Lock), Keep: days(cfg.Keep)}, Partitions: uint32(cfg.Partitions), Period: cfg.Period}
	vkey, err := vkeyOf(identity.KeyName(cfg.Name, "compactor", "default"), n.compactor.Key)
	if err != nil {
		return nil, err
	}
	n.policy.Compactors = []control.Named{{Name: "default", Key: vkey}}
	if vkey, err = vkeyOf(identity.KeyName(cfg.Name, control.RoleKeyService, "default"), n.keyService.Key); err != nil {
		return nil, err
	}
	n.policy.Erasure = &control.Erasure{Session: []string{"state"}, TTL: true}
	n.policy.KeyServices = []control.Named{{Name: "default", Key: vkey}}
	if n.policy.Intake, n.intake, err = newIntake(keyscope.Week(now), intakeWeeks); err != nil {
		return nil, err
	}
	if err := n.addReaders(cfg.Name, uint16(now.Year()), pepper); err != nil {
		return nil, err
	}
	n.writer, err = newWriter(&n.policy, n.policy.Intake, []control.ReadKey{n.readKey}, n.root, "default", cfg.To)
	return n, err
}

func trustOf(id [16]byte, name string, root identity.Root) (t identity.Trust, err error) {
	t = identity.Trust{Archive: id, Name: name}
	if t.Root, err = vkeyOf(identity.RootName(name), root.Key); err != nil {
		return t, err
	}
	t.Log, err = vkeyOf(identity.ControlOrigin(name), root.Control)
	return t, err
}

// newIntake makes the intake keys of n weeks from week on: the public halves for the policy, the seeds for the key store.
func newIntake(week uint16, n int) (public []control.Intake, seeds map[uint16][]byte, err error) {
	seeds = map[uint16][]byte{}
	for i := range uint16(n) {
		key, err := keyscope.KEM().GenerateKey()
		if err != nil {
			return nil, nil, err
		}
		seed, err := key.Bytes()
		if err != nil {
			return nil, nil, err
		}
		seeds[week+i] = seed
		public = append(public, control.Intake{Week: week + i, Key: key.PublicKey().Bytes()})
	}
	return public, seeds, nil
}

// addReaders makes the read key of the year and wraps it to a reader and to the offline recovery reader.
func (n *newKeys) addReaders(name string, year uint16, pepper []byte) error {
	seed := secret()
	key, err := keyscope.KEM().NewPrivateKey(seed)
	if err != nil {
		return err
	}
	n.readKey = control.ReadKey{Year: year, Key: key.PublicKey().Bytes()}
	for _, by := range []string{"reader", "recovery"} {
		r := identity.Reader{Stele: identity.ReaderFormat, Archive: n.root.Archive, Name: name, By: by, Key: secret(), Sign: secret(), Pepper: pepper}
		priv, err := keyscope.KEM().NewPrivateKey(r.Key)
		if err != nil {
			return err
		}
		vkey, err := vkeyOf(identity.KeyName(name, "reader", by), r.Sign)
		if err != nil {
			return err
		}
		wrap, err := wrapReadKey(by, priv.PublicKey(), n.root.Archive, year, seed)
		if err != nil {
			return err
		}
		n.readers = append(n.readers, r)
		n.readKey.Wraps = append(n.readKey.Wraps, wrap)
		n.policy.Readers = append(n.policy.Readers, control.Reader{Name: by, Key: priv.PublicKey().Bytes(), Sign: vkey})
	}
	return nil
}

func wrapReadKey(by string, pub hpke.PublicKey, archive [16]byte, year uint16, seed []byte) (control.Wrap, error) {
	sealed, err := keyscope.SealReadKey(pub, archive, year, (*[32]byte)(seed))
	if err != nil {
		return control.Wrap{}, err
	}
	return control.Wrap{Reader: by, Key: sha256.Sum256(pub.Bytes()), Enc: sealed.Encapsulation[:], Sealed: sealed.Sealed[:]}, nil
}

// shippedClasses are default, state (30 days) and audit (at least 184 days).
func shippedClasses(keep time.Duration) []control.Class {
	return []control.Class{
		{Name: "default", Keep: days(keep)},
		{Name: "state", Keep: 30, TTL: 30},
		{Name: "audit", Keep: max(184, days(keep)), Min: 184},
	}
}

func days(d time.Duration) control.Days {
	return control.Days((d + 24*time.Hour - 1) / (24 * time.Hour))
}

// newWriter makes a credential and puts its key into the policy.
func newWriter(p *control.Policy, intake []control.Intake, read []control.ReadKey, root identity.Root, service, to string) (identity.Writer, error) {
	w := identity.Writer{Stele: identity.WriterFormat, Archive: root.Archive, Name: root.Name, Service: service, To: to,
		Partitions: p.Partitions, Key: secret(), Pepper: root.Pepper}
	fillWriter(&w, p, intake, read)
	p.Writers = append(p.Writers, control.Writer{Name: service, Key: ed25519.NewKeyFromSeed(w.Key).Public().(ed25519.PublicKey)})
	return w, w.Check()
}

// fillWriter gives a credential the public keys and classes of now.
func fillWriter(w *identity.Writer, p *control.Policy, intake []control.Intake, read []control.ReadKey) {
	w.Read, w.Intake, w.Classes = nil, nil, nil
	for _, k := range read {
		if slices.ContainsFunc(w.Read, func(have identity.ReadKey) bool { return have.Year == k.Year }) {
			continue // wrapped to a further reader
		}
		w.Read = append(w.Read, identity.ReadKey{Year: k.Year, Key: k.Key})
	}
	this := keyscope.Week(time.Now())
	for _, k := range intake {
		if k.Week >= this {
			w.Intake = append(w.Intake, identity.PublicKey{Week: k.Week, Key: k.Key})
		}
	}
	slices.SortFunc(w.Read, func(a, b identity.ReadKey) int { return int(a.Year) - int(b.Year) })
	slices.SortFunc(w.Intake, func(a, b identity.PublicKey) int { return int(a.Week) - int(b.Week) })
	for _, c := range p.Classes {
		w.Classes = append(w.Classes, identity.Class{Name: c.Name, TTLDays: uint16(c.TTL)})
	}
}

// bootstrap writes the first object of the control log.
func (n *newKeys) bootstrap(ctx context.Context, cfg InitConfig) error {
	root, err := identity.Signer(identity.RootName(cfg.Name), n.root.Key)
	if err != nil {
		return err
	}
	sealer, err := identity.Signer(identity.ControlOrigin(cfg.Name), n.root.Control)
	if err != nil {
		return err
	}
	now := time.Now()
	var entries []string
	bodies := []struct {
		kind string
		body any
	}{{control.TypePolicy, n.policy}, {control.TypeReadKey, n.readKey}, {control.TypeRoster, control.NewRoster(&n.policy)}}
	if len(cfg.Probe) > 0 {
		bodies = append(bodies, struct {
			kind string
			body any
		}{control.TypeProbe, probeEntry(cfg.Lock, cfg.Probe)})
	}
	for _, b := range bodies {
		e, err := control.Sign(n.root.Archive, b.kind, now, b.body, root)
		if err != nil {
			return err
		}
		entries = append(entries, e)
	}
	log, err := n.log(ctx, cfg)
	if err != nil {
		return err
	}
	return log.Append(ctx, sealer, entries...)
}

// log opens the control log. Its first objects are locked as long as anything.
func (n *newKeys) log(ctx context.Context, cfg InitConfig) (*ledger.Log, error) {
	log, err := ledger.Open(ctx, cfg.Store, n.trust)
	if err == nil {
		log.LockWith(func() worm.Lock { return objstore.LockFor(string(cfg.Lock), n.policy.Longest(), time.Now()) })
	}
	return log, err
}

// keyStore makes the first root record of the key store, and enters it into the control log.
func (n *newKeys) keyStore(ctx context.Context, cfg InitConfig, trust []byte) error {
	id, err := jsonFile(n.keyService)
	if err != nil {
		return err
	}
	custodians := cfg.Custodians
	if len(custodians.URLs) == 0 {
		custodians.URLs = map[string]string{"default": DefaultCustodian(cfg.Dir)}
	}
	entry, err := keys.Create(ctx, keys.Config{Store: cfg.Store, Trust: trust, Identity: id, Custodians: custodians}, n.intake)
	if err != nil {
		return err
	}
	sealer, err := identity.Signer(identity.ControlOrigin(cfg.Name), n.root.Control)
	if err != nil {
		return err
	}
	log, err := n.log(ctx, cfg)
	if err != nil {
		return err
	}
	return log.Append(ctx, sealer, entry)
}

// DefaultCustodian is the URL of the custodian, named "default", of an archive whose role folders are in dir.
func DefaultCustodian(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return "file://" + filepath.ToSlash(filepath.Join(dir, "keys", "custodian"))
}

func probeEntry(mode worm.LockMode, results []probe.Result) control.Probe {
	p := control.Probe{Lock: string(mode)}
	for _, r := range results {
		p.Results = append(p.Results, control.ProbeResult(r))
	}
	return p
}

// write puts the files where they belong, those of each role in a directory of its own.
func (n *newKeys) write(cfg InitConfig) (s *Setup, trust []byte, err error) {
	s = &Setup{Trust: filepath.Join(cfg.Dir, "trust.stele"), Archive: n.root.Archive.String(), Roles: map[string]string{}}
	if trust, err = n.trust.MarshalText(); err != nil {
		return nil, nil, err
	}
	s.Checksum = fmt.Sprintf("%x", sha256.Sum256(trust))
	files := []struct {
		role, name string
		body       any
	}{
		{"admin", "root.stele", n.root}, {"compactor", "compactor.stele", n.compactor},
		{"keys", "keyservice.stele", n.keyService}, {"reader", "reader.stele", n.readers[0]},
		{"recovery", "recovery.stele", n.readers[1]}, {"writer", "default.stele", n.writer},
	}
	for _, f := range files {
		dir := filepath.Join(cfg.Dir, f.role)
		if err := identity.Save(filepath.Join(dir, f.name), f.body); err != nil {
			return nil, nil, err
		}
		s.Roles[f.role] = dir
	}
	s.Writer = filepath.Join(s.Roles["writer"], "default.stele")
	s.Offline = []string{s.Roles["admin"], s.Roles["recovery"]}
	return s, trust, nil
}

func secret() []byte {
	b := make([]byte, 32)
	rand.Read(b)
	return b
}

func vkeyOf(name string, seed []byte) (string, error) {
	return note.NewEd25519VerifierKey(name, ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
}

// jsonFile is how credentials are written.
func jsonFile(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", " ")
	return append(b, '\n'), err
}
