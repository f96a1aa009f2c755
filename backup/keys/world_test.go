package keys_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/custodian/custodiantest"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/internal/spool"
)

// world is an archive with a spool, writers that only grant, and custodians in memory.
type world struct {
	t       testing.TB
	store   *storetest.Memory
	disk    worm.Store // instead of store, if processes share the archive
	dir     string
	devices map[string]*custodiantest.Memory
	sets    [][]string
	writer  *identity.Writer
	reader  identity.Reader
	trust   identity.Trust
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newLocked(t, worm.LockNone)
}

func newLocked(t testing.TB, lock worm.LockMode) *world {
	t.Helper()
	w := &world{t: t, store: storetest.NewMemory(), dir: t.TempDir(), devices: map[string]*custodiantest.Memory{},
		sets: [][]string{{"a", "b"}, {"a", "c"}, {"b", "c"}}}
	for _, name := range []string{"a", "b", "c"} {
		w.devices[name] = custodiantest.NewMemory(custodian.Erasure{Class: custodian.Immediate})
	}
	w.found(lock)
	return w
}

// at is where the archive lies.
func (w *world) at() worm.Store {
	if w.disk != nil {
		return w.disk
	}
	return w.store
}

// found makes the archive.
func (w *world) found(lock worm.LockMode) {
	t := w.t
	t.Helper()
	_, err := admin.Init(t.Context(), admin.InitConfig{Store: w.at(), Name: "acme", To: "file://" + w.path("spool"), Dir: w.dir,
		Lock: lock, Custodians: w.custodians()})
	if err == nil {
		err = os.Mkdir(w.path("spool"), 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.roles()
}

// roles reads the files of the roles.
func (w *world) roles() {
	w.t.Helper()
	var err error
	w.writer, err = identity.ParseWriter(w.file("writer/default.stele"))
	if err == nil {
		err = identity.Parse(w.file("reader/reader.stele"), identity.ReaderFormat, &w.reader)
	}
	if err == nil {
		err = w.trust.UnmarshalText(w.file("trust.stele"))
	}
	w.must(err)
}

func (w *world) path(name string) string { return filepath.Join(w.dir, filepath.FromSlash(name)) }

func (w *world) file(name string) []byte {
	w.t.Helper()
	data, err := os.ReadFile(w.path(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return data
}

func (w *world) custodians() keys.Custodians {
	c := keys.Custodians{URLs: map[string]string{}, Sets: w.sets}
	if w.disk != nil {
		for _, name := range []string{"a", "b", "c"} {
			c.URLs[name] = "file://" + w.path("custodian-"+name)
		}
		return c
	}
	for name := range w.devices {
		c.URLs[name] = "memory:" + name
	}
	c.Dial = func(_ string, id custodian.Identity) (custodian.Custodian, error) {
		return w.devices[id.Name].Open(id), nil
	}
	return c
}

func (w *world) config() keys.Config {
	return keys.Config{Store: w.at(), Trust: w.file("trust.stele"), Identity: w.file("keys/keyservice.stele"), Custodians: w.custodians(),
		From: "file://" + w.path("spool")}
}

func (w *world) open(cfg keys.Config) *keys.Service {
	w.t.Helper()
	s, err := keys.Open(w.t.Context(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { s.Close() })
	return s
}

// granter is a stream that grants.
type granter struct {
	w      *world
	cert   *keyscope.Cert
	key    ed25519.PrivateKey
	lane   *spool.Writer
	read   *keyscope.ReadWrap
	intake *keyscope.IntakeWrap
}

func (w *world) granter() *granter {
	w.t.Helper()
	g := &granter{w: w}
	var id [16]byte
	rand.Read(id[:])
	_, g.key, _ = ed25519.GenerateKey(nil)
	now := time.Now()
	var err error
	g.cert, err = keyscope.SignCert(keyscope.Cert{Archive: w.writer.Archive, Stream: id, StreamKey: [32]byte(g.key.Public().(ed25519.PublicKey)),
		Time: now.UnixNano(), BeatEvery: 10_000, Durability: keyscope.Memory, Service: w.writer.Service, Software: "test"}, w.writer.SigningKey())
	w.must(err)
	dir, err := spool.Open(w.path("spool"), spool.Options{})
	w.must(err)
	g.lane, err = dir.CreateLane(id)
	w.must(err)
	w.t.Cleanup(func() { g.lane.Close() })
	readKey, err := keyscope.KEM().NewPublicKey(w.writer.Read[0].Key)
	w.must(err)
	g.read, err = keyscope.NewReadWrap(readKey, w.writer.Archive, id, keyscope.Day(now))
	w.must(err)
	g.intake = w.intakeWrap(id)
	return g
}

// intakeWrap is a wrap to the intake key of this week.
func (w *world) intakeWrap(stream [16]byte) *keyscope.IntakeWrap {
	w.t.Helper()
	in := w.writer.Intake[0]
	for _, k := range w.writer.Intake {
		if k.Week == keyscope.Week(time.Now()) {
			in = k
		}
	}
	intakeKey, err := keyscope.KEM().NewPublicKey(in.Key)
	w.must(err)
	wrap, err := keyscope.NewIntakeWrap(intakeKey, w.writer.Archive, stream, in.Week)
	w.must(err)
	return wrap
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// message grants scopes of a subject, session and class.
func (g *granter) message(n int, subject, session, class string, expires uint16) (msg []byte, scopes [][16]byte) {
	m := keyscope.Grants{Cert: g.cert, Week: g.intake.Week, Intake: g.intake.Encapsulation}
	tags := keyscope.MakeTags((*[32]byte)(g.w.writer.Pepper), nil, []byte(subject), []byte(session))
	for range n {
		var key [32]byte
		var random [14]byte
		rand.Read(key[:])
		rand.Read(random[:])
		b := keyscope.Binding{Archive: g.w.writer.Archive, Stream: g.cert.Stream, Scope: keyscope.ScopeID(keyscope.Day(time.Now())+expires, random),
			Start: time.Now().UnixNano(), Class: class}
		grant, _, err := keyscope.MakeGrant(&key, &tags, &b, g.read, g.intake)
		g.w.must(err)
		m.Grants = append(m.Grants, grant)
		scopes = append(scopes, b.Scope)
	}
	msg, err := m.Sign(g.key)
	g.w.must(err)
	return msg, scopes
}

func (g *granter) send(msg []byte) {
	g.w.t.Helper()
	_, err := g.lane.Append(spool.Grants, msg)
	g.w.must(err)
	g.w.must(g.lane.Sync(context.Background()))
}

// grant grants scopes of a subject in the default class.
func (g *granter) grant(n int, subject string) [][16]byte {
	g.w.t.Helper()
	msg, scopes := g.message(n, subject, "", "default", 0)
	g.send(msg)
	return scopes
}

func (w *world) tag(subject string) [][16]byte {
	tags := keyscope.MakeTags((*[32]byte)(w.writer.Pepper), nil, []byte(subject), nil)
	return [][16]byte{tags.Subject}
}

// ask asks as the reader does, and returns states by scope.
func (w *world) ask(s keys.Source, scopes [][16]byte, tags [][16]byte) (map[[16]byte]string, error) {
	w.t.Helper()
	signer, err := identity.Signer(identity.KeyName("acme", "reader", "reader"), w.reader.Sign)
	w.must(err)
	q := keys.Request{Archive: commit.Hex16(w.reader.Archive), Reader: signer.Name(), Time: time.Now().UTC(), Why: "test"}
	for _, id := range scopes {
		q.Scopes = append(q.Scopes, id)
	}
	for _, t := range tags {
		q.Tags = append(q.Tags, t)
	}
	note, err := q.Sign(signer)
	w.must(err)
	answer, err := s.Keys(w.t.Context(), note)
	if err != nil {
		return nil, err
	}
	out := map[[16]byte]string{}
	for _, k := range answer.Keys {
		out[k.Scope] = k.State
		if (k.State == "live") != (len(k.Wrapped) == keyscope.InnerSize) || bytes.Count(k.Wrapped, []byte{0}) > 40 {
			w.t.Errorf("scope %v is %s with a key of %d bytes", k.Scope, k.State, len(k.Wrapped))
		}
	}
	return out, nil
}

// all wants one state of all scopes.
func (w *world) all(s keys.Source, want string, scopes ...[][16]byte) {
	w.t.Helper()
	for _, part := range scopes {
		got, err := w.ask(s, part, nil)
		w.must(err)
		for _, id := range part {
			if got[id] != want {
				w.t.Fatalf("scope %x is %q, want %q", id, got[id], want)
			}
		}
	}
}

// sequence takes the inbox into the control log, as a compactor does.
func (w *world) sequence() { w.t.Helper(); w.sequenceIn(w.log()) }

func (w *world) sequenceIn(log *ledger.Log) {
	w.t.Helper()
	w.must(log.Refresh(w.t.Context()))
	var c identity.Compactor
	w.must(identity.Parse(w.file("compactor/compactor.stele"), identity.CompactorFormat, &c))
	signer, err := identity.Signer(identity.ControlOrigin("acme"), c.Control)
	w.must(err)
	for {
		entries, _, err := log.Inbox(w.t.Context())
		w.must(err)
		if len(entries) == 0 {
			break
		}
		w.must(log.Append(w.t.Context(), signer, entries...))
	}
	log.View(func(s *control.State) {
		for _, l := range s.Listed {
			if l.Unauthorised != nil {
				w.t.Errorf("control entry %d, %s: %v", l.Index, l.Type, l.Unauthorised)
			}
		}
	})
}

// keysOf lists the keys under a prefix.
func (w *world) keysOf(prefix string) (out []string) {
	w.t.Helper()
	for v, err := range w.at().Versions(w.t.Context(), prefix, "") {
		w.must(err)
		out = append(out, v.Key)
	}
	return out
}
