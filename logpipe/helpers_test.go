package logpipe

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/seal"
	"github.com/stelelog/stele/internal/spool"
	"github.com/stelelog/stele/merkle"
)

// archive is what stands at the other end in tests: private keys for everything in the credential.
type archive struct {
	writer     identity.Writer
	credential string // path
	read       hpke.PrivateKey
	intake     hpke.PrivateKey
}

func newArchive(t testing.TB, to string) *archive {
	t.Helper()
	a := &archive{}
	var err error
	if a.read, err = keyscope.KEM().GenerateKey(); err != nil {
		t.Fatal(err)
	}
	if a.intake, err = keyscope.KEM().GenerateKey(); err != nil {
		t.Fatal(err)
	}
	seed, pepper := make([]byte, ed25519.SeedSize), make([]byte, 32)
	rand.Read(seed)
	rand.Read(pepper)
	a.writer = identity.Writer{Stele: identity.WriterFormat, Name: "test", Service: "chat", To: to, Partitions: 3, Key: seed, Pepper: pepper,
		Read:    []identity.ReadKey{{Year: uint16(time.Now().UTC().Year()), Key: a.read.PublicKey().Bytes()}},
		Intake:  []identity.PublicKey{{Week: keyscope.Week(time.Now()), Key: a.intake.PublicKey().Bytes()}},
		Classes: []identity.Class{{Name: "default"}, {Name: "state", TTLDays: 30}}}
	rand.Read(a.writer.Archive[:])
	a.credential = filepath.Join(t.TempDir(), "w.stele")
	a.save(t)
	return a
}

// save writes the credential.
func (a *archive) save(t testing.TB) {
	t.Helper()
	data, err := json.Marshal(&a.writer)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.credential, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// message is one message of a lane.
type message struct {
	kind spool.Kind
	data []byte
}

// readLane returns all messages of a lane.
func readLane(t testing.TB, dir *spool.Dir, lane [16]byte) (out []message) {
	t.Helper()
	for _, kind := range []spool.Kind{spool.Grants, spool.Frames} {
		r := dir.Reader(lane, kind)
		for from := uint64(0); ; {
			ms, err := r.Read(from, 0)
			if errors.Is(err, io.EOF) || err == nil && len(ms) == 0 {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range ms {
				out = append(out, message{kind, bytes.Clone(m.Payload)})
			}
			from += uint64(len(ms))
		}
		r.Close()
	}
	return out
}

// leaf is what the archive makes of one leaf.
type leaf struct {
	record.Leaf
	tenant, subject, session string
	caller, attrs, ctype     string
	trace, more              []byte
	body                     []byte
	parts                    []seal.Part
}

// opened is one stream, verified and opened.
type opened struct {
	head   merkle.Hash
	cert   *keyscope.Cert
	leaves []leaf
	frames int
	beats  int
	ends   []*keyscope.SessionEnd
	bytes  int
}

// records returns the captured records.
func (o *opened) records() (out []leaf) {
	for _, l := range o.leaves {
		if l.Type == record.Plain {
			out = append(out, l)
		}
	}
	return out
}

// lost sums up the declared losses.
func (o *opened) lost(t testing.TB) (n uint64) {
	for _, l := range o.leaves {
		if l.Type == record.Loss {
			d, err := record.ParseLoss(l.Detail)
			if err != nil {
				t.Fatal(err)
			}
			n += d.Count
		}
	}
	return n
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (o *opened) closed() bool {
	return len(o.leaves) > 0 && o.leaves[len(o.leaves)-1].Type == record.Close
}

// opener verifies and opens the messages of a stream.
type opener struct {
	*archive
	*opened
	keys   map[[16]byte]*seal.Scope
	names  map[[16]byte][3]string
	hashes map[[16]byte]frame.ScopeEntry
	reads  map[[16]byte]*keyscope.ReadWrap
	inners map[[16]byte]pendingKey
	codec  *seal.Codec
	prev   merkle.Hash
}

type pendingKey struct {
	inner [keyscope.InnerSize]byte
	bind  keyscope.Binding
	enc   [16]byte
	hash  merkle.Hash
}

// open verifies every signature, chain, digest and commitment of one stream and opens its blocks.
func (a *archive) open(messages []message) (*opened, error) {
	o := &opener{archive: a, opened: &opened{}, keys: map[[16]byte]*seal.Scope{}, names: map[[16]byte][3]string{},
		hashes: map[[16]byte]frame.ScopeEntry{}, reads: map[[16]byte]*keyscope.ReadWrap{}, inners: map[[16]byte]pendingKey{},
		codec: seal.NewCodec(seal.Options{})}
	defer o.codec.Close()
	for i, m := range messages {
		o.bytes += len(m.data)
		var err error
		switch {
		case m.kind == spool.Grants && bytes.HasPrefix(m.data, []byte("STLE")):
			var end *keyscope.SessionEnd
			end, err = keyscope.ParseSessionEnd(m.data)
			o.ends = append(o.ends, end)
		case m.kind == spool.Grants:
			err = o.grants(m.data)
		case frame.IsBeat(m.data):
			o.beats++
			var b frame.Beat
			if b, err = frame.ParseBeat(m.data); err == nil && !frame.VerifyBeat(m.data, o.cert.StreamKey[:]) {
				err = fmt.Errorf("beat after %d is not signed", b.Seq)
			}
		default:
			err = o.frame(m.data)
		}
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", i, err)
		}
	}
	return o.opened, nil
}

func (o *opener) grants(data []byte) error {
	g, err := keyscope.ParseGrants(data)
	if err != nil {
		return err
	}
	w, err := keyscope.OpenIntakeWrap(o.intake, g.Cert.Archive, g.Cert.Stream, g.Week, &g.Intake)
	if err != nil {
		return err
	}
	for i := range g.Grants {
		b := g.Binding(i)
		inner, _, err := w.Unwrap(&g.Grants[i].Outer, &b)
		if err != nil {
			return err
		}
		o.inners[b.Scope] = pendingKey{inner, b, g.Grants[i].Encapsulation, g.Grants[i].Hash()}
	}
	return nil
}

func (o *opener) entries(f *frame.Frame) error {
	for _, raw := range f.EntryList {
		sc, enc, err := frame.ParseEntry(raw)
		if err != nil {
			return err
		}
		if enc != nil {
			w, err := keyscope.OpenReadWrap(o.read, o.writer.Archive, f.Stream, enc.Day, (*[keyscope.EncapsulationSize]byte)(enc.Enc))
			if err != nil {
				return err
			}
			o.reads[w.ID] = w
			continue
		}
		p, ok := o.inners[sc.ID]
		if !ok || p.hash != sc.Grant {
			return fmt.Errorf("scope %x has no grant before its first frame", sc.ID)
		}
		w := o.reads[p.enc]
		if w == nil {
			return fmt.Errorf("scope %x: its encapsulation was not in a frame", sc.ID)
		}
		if keyscope.KeyCheck(sc.ID, p.enc, &p.inner) != sc.KCV {
			return fmt.Errorf("scope %x: check value", sc.ID)
		}
		key, err := w.Unwrap(&p.inner, &p.bind)
		if err != nil {
			return err
		}
		if o.keys[sc.ID], err = seal.NewScope(key); err != nil {
			return err
		}
		o.hashes[sc.ID] = *sc
	}
	return nil
}

func (o *opener) frame(raw []byte) error {
	f := &frame.Frame{}
	if err := f.Decode(bytes.Clone(raw)); err != nil {
		return err
	}
	o.frames++
	if _, err := f.LeafHashes(); err != nil {
		return err
	}
	if f.First != uint64(len(o.leaves)) || f.Prev != o.prev {
		return fmt.Errorf("frame begins at %d, want %d, or its chain is broken", f.First, len(o.leaves))
	}
	if f.First == 0 {
		var err error
		if o.cert, err = keyscope.ParseCert(f.Detail(0)); err != nil {
			return err
		}
	}
	if !frame.Verify(raw, o.cert.StreamKey[:]) {
		return errors.New("frame is not signed by the stream")
	}
	o.prev = frame.Head(raw)
	o.head = o.prev
	if err := o.entries(f); err != nil {
		return err
	}
	plains := make([]seal.Plaintext, len(f.Blocks))
	for i := range f.Blocks {
		b := &f.Blocks[i]
		scope := f.Scopes[b.Scope]
		at := seal.Place{Archive: f.Archive, Partition: f.Partition, Stream: f.Stream, Scope: scope, Class: b.Class}
		plain, err := o.codec.Open(nil, o.keys[scope], &at, f.First+uint64(b.First), b.Data)
		if err != nil {
			return err
		}
		if err := plains[i].Parse(plain); err != nil {
			return err
		}
		if plains[i].HasScope {
			p := &plains[i]
			o.names[scope] = [3]string{string(p.Tenant), string(p.Subject), string(p.Session)}
			e := o.hashes[scope]
			if o.keys[scope].CommitScope(p.Tenant, p.Subject, p.Session) != [3][32]byte{e.Tenant, e.Subject, e.Session} {
				return errors.New("scope does not commit to its names")
			}
		}
	}
	for i := range int(f.Count) {
		var l leaf
		f.Leaf(i, &l.Leaf)
		if n := f.BlockOf(i); n >= 0 {
			if err := o.leaf(&l, &plains[n].Records[l.Slot]); err != nil {
				return fmt.Errorf("leaf %d: %w", l.Seq, err)
			}
		}
		o.leaves = append(o.leaves, l)
	}
	return nil
}

func (o *opener) leaf(l *leaf, r *seal.Record) error {
	names, ok := o.names[l.Scope]
	if !ok {
		return errors.New("no scope header before")
	}
	l.tenant, l.subject, l.session = names[0], names[1], names[2]
	l.caller, l.attrs, l.ctype, l.trace, l.more = string(r.CallerID), string(r.Attributes), string(r.ContentType), r.Trace, r.More
	for p := range r.Parts() {
		l.parts = append(l.parts, p)
		at := l.Seq - p.Distance
		switch p.Kind {
		case seal.Literal:
			l.body = append(l.body, p.Data...)
		case seal.Piece:
			l.body = append(l.body, o.leaves[at].body...)
		case seal.Reference:
			to := &o.leaves[at]
			if to.Scope != l.Scope || to.parts[p.Number].Kind != seal.Literal {
				return errors.New("a reference to what is no literal of the scope")
			}
			l.body = append(l.body, to.parts[p.Number].Data...)
		}
	}
	fields := seal.Fields{Body: [][]byte{l.body}, CallerID: r.CallerID, Trace: r.Trace, Attributes: r.Attributes, ContentType: r.ContentType, More: r.More}
	if o.keys[l.Scope].Commit(l.Seq, &fields) != l.Commitment {
		return errors.New("does not have the commitment of its leaf")
	}
	return nil
}

// spooled opens all streams in a spool directory.
func (a *archive) spooled(t testing.TB, path string) (out []*opened) {
	t.Helper()
	dir, err := spool.Open(path, spool.Options{MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	lanes, err := dir.Lanes()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lanes {
		o, err := a.open(readLane(t, dir, l.ID))
		if err != nil {
			t.Fatalf("lane %x: %v", l.ID, err)
		}
		out = append(out, o)
	}
	return out
}
