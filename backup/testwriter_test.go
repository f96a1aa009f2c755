package backup_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/seal"
	"github.com/stelelog/stele/internal/spool"
	"github.com/stelelog/stele/merkle"
)

// testArchive is a new archive over a spool, with all its roles.
type testArchive struct {
	t     *testing.T
	store worm.Store
	dir   string // of the roles
	spool string
	setup *admin.Setup

	spoolOptions spool.Options // of the writers
}

func newTestArchive(t *testing.T, store worm.Store) *testArchive {
	t.Helper()
	return newLockedArchive(t, store, worm.LockNone)
}

func newLockedArchive(t *testing.T, store worm.Store, lock worm.LockMode) *testArchive {
	t.Helper()
	a := &testArchive{t: t, store: store, dir: t.TempDir(), spool: t.TempDir()}
	var err error
	a.setup, err = admin.Init(t.Context(), admin.InitConfig{Store: store, Name: "test", To: a.url(), Dir: a.dir, Lock: lock})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// clone is the same archive once more, with its spool and roles, in a world of its own. The archive must be in memory.
func (a *testArchive) clone(t *testing.T) *testArchive {
	t.Helper()
	c := *a
	c.t, c.store, c.dir, c.spool = t, a.store.(*storetest.Memory).Clone(), t.TempDir(), t.TempDir()
	for to, from := range map[string]string{c.dir: a.dir, c.spool: a.spool} {
		err := os.CopyFS(to, os.DirFS(from))
		if err == nil { // CopyFS gives everybody the right to read
			err = fs.WalkDir(os.DirFS(to), ".", func(path string, d fs.DirEntry, err error) error {
				return errors.Join(err, os.Chmod(filepath.Join(to, path), map[bool]os.FileMode{true: 0o700, false: 0o600}[d.IsDir()]))
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return &c
}

func (a *testArchive) url() string { return "file://" + a.spool }

func (a *testArchive) file(role, name string) []byte {
	a.t.Helper()
	data, err := os.ReadFile(filepath.Join(a.dir, role, name))
	if err != nil {
		a.t.Fatal(err)
	}
	return data
}

func (a *testArchive) trust() []byte { return a.file("", "trust.stele") }

func (a *testArchive) keys() *keys.Service {
	a.t.Helper()
	k, err := keys.Open(a.t.Context(), keys.Config{Store: a.store, Trust: a.trust(), Identity: a.file("keys", "keyservice.stele"),
		Custodians: keys.Custodians{URLs: map[string]string{"default": admin.DefaultCustodian(a.dir)}}, From: a.url()})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { k.Close() })
	return k
}

func (a *testArchive) compactor(store worm.Store, keys *keys.Service) *compact.Compactor {
	a.t.Helper()
	c, err := compact.Open(a.t.Context(), compact.Config{Store: store, Trust: a.trust(), Identity: a.file("compactor", "compactor.stele"),
		From: a.url(), Keys: keys})
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

// once compacts all that is there, with a new compactor.
func (a *testArchive) once(keys *keys.Service) {
	a.t.Helper()
	if err := a.compactor(a.store, keys).Once(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
}

func (a *testArchive) open() *Archive {
	a.t.Helper()
	ar, err := OpenArchive(a.t.Context(), a.store, a.trust())
	if err != nil {
		a.t.Fatal(err)
	}
	return ar
}

func (a *testArchive) reader(keys *keys.Service) *Reader {
	a.t.Helper()
	r, err := a.open().Unlock(a.file("reader", "reader.stele"), keys)
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}

func (a *testArchive) verify(opt VerifyOptions) *Report {
	a.t.Helper()
	r, err := a.open().Verify(a.t.Context(), opt)
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}

// testStream is a writer's stream made by hand, so that tests can make it lie.
type testStream struct {
	class     string // of its records
	t         *testing.T
	cred      *identity.Writer
	cert      *keyscope.Cert
	id        [16]byte
	key       ed25519.PrivateKey
	lane      *spool.Writer
	codec     *seal.Codec
	next      uint64
	head      merkle.Hash
	partition uint32
	read      *keyscope.ReadWrap
	intake    *keyscope.IntakeWrap
	scopes    map[string]*testScope
	sent      [][]byte                // frames, as they were sent
	grants    func(msg []byte) []byte // changes a message of grants, nil drops it

	// For tests with many scopes and many days.
	opened   func(sc *testScope, key [32]byte, b keyscope.Binding, r testRecord)
	batch    *[]keyscope.Grant // grants wait here for one message
	renewed  bool              // the encapsulation to the read key is another one since the last frame
	unsalted bool              // broken variant: commitments without salts
	week     uint16            // of the intake key; 0 for that of the first
}

type testScope struct {
	id  [16]byte
	key *seal.Scope
}

type testRecord struct {
	subject, session, body string
	back                   uint64 // the body is that of the record so many before, and only referred to
}

func (a *testArchive) stream(prev keyscope.Link) *testStream {
	a.t.Helper()
	cred, err := identity.ParseWriter(a.file("writer", "default.stele"))
	if err != nil {
		a.t.Fatal(err)
	}
	s := &testStream{t: a.t, cred: cred, codec: seal.NewCodec(seal.Options{}), scopes: map[string]*testScope{}, class: "default"}
	rand.Read(s.id[:])
	_, s.key, _ = ed25519.GenerateKey(nil)
	s.cert, err = keyscope.SignCert(keyscope.Cert{Archive: cred.Archive, Stream: s.id, StreamKey: [32]byte(s.key.Public().(ed25519.PublicKey)),
		Time: time.Now().UnixNano(), BeatEvery: 10_000, Durability: keyscope.Memory, Prev: prev, Service: cred.Service, Software: "test"}, cred.SigningKey())
	if err != nil {
		a.t.Fatal(err)
	}
	dir, err := spool.Open(a.spool, a.spoolOptions)
	if err != nil {
		a.t.Fatal(err)
	}
	if s.lane, err = dir.CreateLane(s.id); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { s.lane.Close() })
	s.wraps()
	return s
}

func (s *testStream) wraps() {
	now := time.Now()
	readKey, err := keyscope.KEM().NewPublicKey(s.cred.Read[0].Key)
	if err == nil {
		s.read, err = keyscope.NewReadWrap(readKey, s.cred.Archive, s.id, keyscope.Day(now))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	in := s.cred.Intake[0]
	for _, k := range s.cred.Intake {
		if k.Week == s.week {
			in = k
		}
	}
	intakeKey, err := keyscope.KEM().NewPublicKey(in.Key)
	if err == nil {
		s.intake, err = keyscope.NewIntakeWrap(intakeKey, s.cred.Archive, s.id, in.Week)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// draft makes a frame of records, one block each; the first frame opens the stream.
func (s *testStream) draft(records ...testRecord) *frame.Draft {
	s.t.Helper()
	d := &frame.Draft{Archive: s.cred.Archive, Partition: s.partition, Stream: s.id, First: s.next, Prev: s.head}
	if s.next == 0 {
		d.Rows = append(d.Rows, frame.Row{Leaf: record.Leaf{Type: record.Open, Time: time.Now().UnixNano(), Class: "default", Detail: s.cert.Bytes()}, Block: -1})
	}
	if s.next == 0 || s.renewed {
		s.renewed = false
		entry := frame.EncapEntry{Day: keyscope.Day(time.Now()), Year: s.cred.Read[0].Year, Enc: s.read.Encapsulation[:]}
		d.Entries = append(d.Entries, entry.Append(nil))
	}
	for _, r := range records {
		scope := s.scope(d, r)
		seq := s.next + uint64(len(d.Rows))
		f := &seal.Fields{Body: [][]byte{[]byte(r.body)}, ContentType: []byte("text/plain")}
		var b seal.Block
		commitment := scope.key.Commit(seq, f)
		if s.unsalted {
			commitment = unsaltedCommitment(f)
		}
		if err := b.Scope(nil, []byte(r.subject), []byte(r.session)); err != nil {
			s.t.Fatal(err)
		}
		part := seal.Part{Kind: seal.Literal, Data: []byte(r.body)}
		if r.back > 0 {
			part = seal.Part{Kind: seal.Reference, Distance: r.back}
		}
		if err := b.Add(seq, commitment, f, []seal.Part{part}); err != nil {
			s.t.Fatal(err)
		}
		sealed, err := s.codec.Seal(nil, scope.key, &seal.Place{Archive: s.cred.Archive, Partition: s.partition, Stream: s.id, Scope: scope.id, Class: s.class}, &b, seal.PackZstd)
		if err != nil {
			s.t.Fatal(err)
		}
		leaf := record.Leaf{Type: record.Plain, Kind: 1, Time: time.Now().UnixNano(), Scope: scope.id, Commitment: commitment,
			Class: s.class, Clear: record.Clear{record.Model: "m1"}, Buckets: [4]uint8{record.Bucket(uint64(len(r.body)))}}
		rand.Read(leaf.ID[:])
		d.Rows = append(d.Rows, frame.Row{Leaf: leaf, Block: len(d.Blocks)})
		d.Blocks = append(d.Blocks, sealed)
	}
	return d
}

// scope opens a scope for a session, grants it, and adds its entry to the frame.
func (s *testStream) scope(d *frame.Draft, r testRecord) *testScope {
	name := r.subject + "\x00" + r.session
	if sc := s.scopes[name]; sc != nil {
		return sc
	}
	var key [32]byte
	var random [14]byte
	rand.Read(key[:])
	rand.Read(random[:])
	sc := &testScope{id: keyscope.ScopeID(keyscope.Day(time.Now()), random)}
	var err error
	if sc.key, err = seal.NewScope(key); err != nil {
		s.t.Fatal(err)
	}
	start := time.Now().UnixNano()
	tags := keyscope.MakeTags((*[32]byte)(s.cred.Pepper), nil, []byte(r.subject), []byte(r.session))
	g, check, err := keyscope.MakeGrant(&key, &tags, &keyscope.Binding{Archive: s.cred.Archive, Stream: s.id, Scope: sc.id, Start: start, Class: s.class}, s.read, s.intake)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.opened != nil {
		s.opened(sc, key, keyscope.Binding{Archive: s.cred.Archive, Stream: s.id, Scope: sc.id, Start: start, Class: s.class}, r)
	}
	if s.batch != nil {
		*s.batch = append(*s.batch, g)
	} else {
		s.grant(g)
	}
	h := sc.key.CommitScope(nil, []byte(r.subject), []byte(r.session))
	if s.unsalted {
		h = [3][32]byte{unsaltedField(seal.FieldTenant, nil), unsaltedField(seal.FieldSubject, []byte(r.subject)), unsaltedField(seal.FieldSession, []byte(r.session))}
	}
	e := frame.ScopeEntry{ID: sc.id, Start: start, Grant: g.Hash(), KCV: check, Tenant: h[0], Subject: h[1], Session: h[2], Class: s.class}
	d.Entries = append(d.Entries, e.Append(nil))
	s.scopes[name] = sc
	return sc
}

// grant sends grants in one message.
func (s *testStream) grant(all ...keyscope.Grant) {
	s.t.Helper()
	msg, err := (&keyscope.Grants{Cert: s.cert, Week: s.intake.Week, Intake: s.intake.Encapsulation, Grants: all}).Sign(s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.grants != nil {
		msg = s.grants(msg)
	}
	if msg != nil {
		s.append(spool.Grants, msg)
	}
}

// newDay makes new wraps and new scopes, as a writer does each day.
func (s *testStream) newDay(week uint16) {
	s.scopes, s.renewed, s.week = map[string]*testScope{}, true, week
	s.wraps()
}

// unsaltedField is what a field hash would be without a salt.
func unsaltedField(f seal.Field, value []byte) [32]byte {
	return seal.FieldHash([seal.SaltSize]byte{}, f, value)
}

func unsaltedCommitment(f *seal.Fields) [32]byte {
	return seal.Commitment(&[seal.FieldCount][32]byte{unsaltedField(seal.FieldBody, bytes.Join(f.Body, nil)), unsaltedField(seal.FieldCallerID, f.CallerID),
		unsaltedField(seal.FieldTrace, f.Trace), unsaltedField(seal.FieldAttributes, f.Attributes),
		unsaltedField(seal.FieldContentType, f.ContentType), unsaltedField(seal.FieldMore, f.More)})
}

// readKey opens the read key of the archive as a reader does.
func (a *testArchive) readKey(id *identity.Reader) hpke.PrivateKey {
	a.t.Helper()
	own, err := keyscope.KEM().NewPrivateKey(id.Key)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, key := range keysOf(a.t, a.store, "control/log/") {
		for _, e := range a.entries(key) {
			var k control.ReadKey
			if e.Type != control.TypeReadKey || e.Into(&k) != nil {
				continue
			}
			for _, w := range k.Wraps {
				s := keyscope.SealedReadKey{Encapsulation: [1120]byte(w.Enc), Sealed: [48]byte(w.Sealed)}
				if seed, err := s.Open(own, id.Archive, k.Year); err == nil {
					read, err := keyscope.KEM().NewPrivateKey(seed[:])
					if err != nil {
						a.t.Fatal(err)
					}
					return read
				}
			}
		}
	}
	a.t.Fatal("no read key")
	return nil
}

func (s *testStream) append(kind spool.Kind, msg []byte) {
	s.t.Helper()
	if _, err := s.lane.Append(kind, msg); err != nil {
		s.t.Fatal(err)
	}
	if err := s.lane.Sync(context.Background()); err != nil {
		s.t.Fatal(err)
	}
}

// encode signs a frame and advances the stream, without sending it.
func (s *testStream) encode(d *frame.Draft) []byte {
	s.t.Helper()
	raw, head, err := d.Encode(nil, s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.next, s.head = d.First+uint64(len(d.Rows)), head
	return raw
}

// send makes and sends a frame of records.
func (s *testStream) send(records ...testRecord) []byte {
	raw := s.encode(s.draft(records...))
	s.append(spool.Frames, raw)
	s.sent = append(s.sent, bytes.Clone(raw))
	return raw
}

// close sends the close leaf.
func (s *testStream) close() {
	d := s.draft()
	d.Rows = append(d.Rows, frame.Row{Leaf: record.Leaf{Type: record.Close, Time: time.Now().UnixNano(), Class: "default",
		Detail: record.CloseDetail{Reason: 1}.Append(nil)}, Block: -1})
	raw := s.encode(d)
	s.append(spool.Frames, raw)
}

func (s *testStream) beat() {
	b := frame.Beat{Archive: s.cred.Archive, Partition: s.partition, Stream: s.id, Seq: s.next - 1, Head: s.head, Time: time.Now().UnixNano()}
	s.append(spool.Frames, b.Append(nil, s.key))
}

// some makes n records of a few subjects.
func some(n int) (out []testRecord) {
	for i := range n {
		out = append(out, testRecord{subject: fmt.Sprintf("subject-%d", i%3), session: fmt.Sprintf("session-%d", i%5), body: fmt.Sprintf("body %d %s", i, bytes.Repeat([]byte("x"), i%50))})
	}
	return out
}
