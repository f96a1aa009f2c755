package keyroot

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/keytrie"
	"github.com/stelelog/stele/merkle"
)

// counting is a source of bytes that can be made again: H(u64 0), H(u64 1), …
type counting struct {
	n   uint64
	buf []byte
}

func (c *counting) Read(p []byte) (int, error) {
	for len(c.buf) < len(p) {
		h := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, c.n))
		c.buf = append(c.buf, h[:]...)
		c.n++
	}
	n := copy(p, c.buf)
	c.buf = c.buf[n:]
	return n, nil
}

type packs map[uint64][]byte

func (p packs) ReadPack(_ context.Context, pack, offset uint64, n int) ([]byte, error) {
	if data := p[pack]; offset+uint64(n) <= uint64(len(data)) {
		return data[offset : offset+uint64(n)], nil
	}
	return nil, fmt.Errorf("pack %d has no %d bytes at %d", pack, n, offset)
}

// space is a numbered row of objects in memory, with versions.
type space map[uint64][][]byte

func (s space) From(_ context.Context, n uint64) iter.Seq2[chain.Object, error] {
	return func(yield func(chain.Object, error) bool) {
		var all []uint64
		for i := range s {
			if i >= n {
				all = append(all, i)
			}
		}
		slices.Sort(all)
		for _, i := range all {
			if !yield(chain.Object{N: i, Key: fmt.Sprintf("keys/roots/%020d", i), Data: s[i][0], Newer: len(s[i]) - 1}, nil) {
				return
			}
		}
	}
}

func (s space) Create(_ context.Context, n uint64, data []byte) error {
	if s[n] != nil {
		return fs.ErrExist
	}
	s[n] = [][]byte{data}
	return nil
}

var archive = [16]byte{0xa5, 1}

// service is a key service with all it needs: a chain, packs, custodians in memory.
type service struct {
	state   *State
	tail    chain.Tail
	space   space
	objects map[commit.Hex32][]byte // packs as they lie in the store
	packs   packs                   // by number, as the newest record names them
	random  io.Reader
	signer  note.Signer
	vkey    string
	ring    *keyring.Ring
	tops    map[uint64]Top // by generation
	found   []chain.Finding
	serial  uint64
	sets    [][]string
	control uint64
	at      time.Time
}

func newService(t testing.TB) *service {
	t.Helper()
	s := &service{space: space{}, objects: map[commit.Hex32][]byte{}, packs: packs{}, random: new(counting), tops: map[uint64]Top{},
		sets: [][]string{{"a", "b"}, {"a", "c"}, {"b", "c"}}, at: time.Date(2026, 10, 5, 8, 0, 0, 0, time.UTC)}
	seed := sha256.Sum256([]byte("key service"))
	var err error
	if s.signer, err = merkle.NewSigner("acme/keys/keys", ed25519.NewKeyFromSeed(seed[:])); err != nil {
		t.Fatal(err)
	}
	if s.vkey, err = note.NewEd25519VerifierKey(s.signer.Name(), ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)); err != nil {
		t.Fatal(err)
	}
	s.state = NewState(archive)
	s.ring = &keyring.Ring{Archive: archive, Packs: s.packs}
	return s
}

func (s *service) judge(o chain.Object) ([]uint64, func(), error) {
	return s.state.Judge(o, s.verifiers)
}

func (s *service) verifiers(control uint64) (note.Verifiers, error) {
	if control > 1000 {
		return nil, fmt.Errorf("%w: the control log has no %d entries here", chain.ErrUndecided, control)
	}
	return note.VerifierList(s.signer.(note.Verifier)), nil
}

// twin is another key service on the same store.
func (s *service) twin(t testing.TB) *service {
	other := *s
	other.state, other.tail, other.found = NewState(archive), chain.Tail{}, nil
	other.packs = packs{}
	other.random = &counting{n: 1 << 32}
	other.tops = map[uint64]Top{}
	for g, top := range s.tops {
		other.tops[g] = top
	}
	other.read(t)
	return &other
}

// read follows the chain and opens its end.
func (s *service) read(t testing.TB) {
	t.Helper()
	tail, err := chain.Read(context.Background(), s.space, s.tail, s.judge, func(f chain.Finding) { s.found = append(s.found, f) })
	if err != nil {
		t.Fatal(err)
	}
	s.tail = tail
	if last, _ := s.state.Last(); last != nil {
		for _, p := range last.Packs {
			s.packs[p.N] = s.objects[p.SHA256]
		}
		top, ok := s.tops[last.Generation]
		if !ok {
			return
		}
		if s.ring, err = last.Open(&top, s.packs); err != nil {
			t.Fatal(err)
		}
	}
}

// put tries to make the next record, and reads what won.
func (s *service) put(t testing.TB, x Next) bool {
	t.Helper()
	file, err := s.state.Build(s.tail, x, s.random, s.signer)
	if err != nil {
		t.Fatal(err)
	}
	won, err := chain.Append(context.Background(), s.space, s.tail, file)
	if err != nil {
		t.Fatal(err)
	}
	s.read(t)
	return won
}

// write lets f make the next ring, and lays its packs down.
func (s *service) write(t testing.TB, f func(*keytrie.Writer) (*keyring.Ring, error)) (x Next) {
	t.Helper()
	first := uint64(1)
	old := map[uint64]Pack{}
	if last, _ := s.state.Last(); last != nil {
		first, x.Live, x.Folded = last.NextPack, last.Live, last.Folded
		for _, p := range last.Packs {
			old[p.N] = p
		}
	}
	w := keytrie.NewWriter(archive, first, 64<<20, s.random, func(n uint64, data []byte) error {
		old[n] = Pack{n, sha256.Sum256(data), int64(len(data))}
		s.packs[n] = bytes.Clone(data)
		s.objects[old[n].SHA256] = s.packs[n]
		return nil
	})
	ring, err := f(w)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	x.Ring, x.NextPack, x.Packs, x.Control = ring, w.Next(), named(ring, old), s.control
	s.at = s.at.Add(time.Minute)
	x.Time = s.at
	return x
}

// named are the packs that the runs of a ring name.
func named(ring *keyring.Ring, all map[uint64]Pack) (out []Pack) {
	seen := map[uint64]bool{}
	for _, run := range ring.Runs {
		for _, n := range run.Packs {
			if !seen[n] {
				seen[n] = true
				out = append(out, all[n])
			}
		}
	}
	slices.SortFunc(out, func(a, b Pack) int { return int(a.N) - int(b.N) })
	return out
}

// custody makes a top key and the shares of it. The blobs are the shares themselves with one byte more.
func (s *service) custody(t testing.TB, generation uint64) (*Top, *Custody) {
	t.Helper()
	top, err := NewTop(s.random)
	if err != nil {
		t.Fatal(err)
	}
	s.tops[generation] = top
	pieces, err := Split(&top, s.sets, s.random)
	if err != nil {
		t.Fatal(err)
	}
	c := &Custody{Sets: s.sets}
	for _, p := range pieces {
		c.Shares = append(c.Shares, Share{p.Set, p.Custodian, append(p.Share[:], 0)})
	}
	return &top, c
}

func (s *service) batch(scopes int) (b keyring.Batch) {
	for range scopes {
		s.serial++
		var x keyring.Scope
		h := sha256.Sum256(binary.LittleEndian.AppendUint64([]byte("scope"), s.serial))
		x.ID = keyscope.ScopeID(20_000, [14]byte(h[:]))
		x.Stream, x.Encap, x.Class, x.Start = [16]byte{byte(s.serial % 3)}, [16]byte{9, byte(s.serial % 3)}, "default", int64(20_000*24*time.Hour)
		x.Week = 2857
		copy(x.Inner[:], h[:])
		x.Tags[1] = keyring.Tag{1: byte(s.serial % 5), 2: 1}
		x.Place(keyscope.DayStart(20_000), 0)
		if s.serial%4 == 0 { // a class that expires, by a writer that does not know it
			x.Class = "state"
			x.Place(keyscope.DayStart(20_000), 3)
		}
		b.Scopes = append(b.Scopes, x)
	}
	return b
}

// foldNext is the record that a fold of some scopes makes.
func (s *service) foldNext(t testing.TB, scopes int) Next {
	t.Helper()
	b := s.batch(scopes)
	f := &Fold{Added: uint64(scopes)}
	for i := range b.Scopes {
		if b.Scopes[i].Expires {
			f.Moved++
		}
	}
	if last, _ := s.state.Last(); last == nil {
		b.Intake, f.Intake = []keyring.IntakeKey{{Week: 9000}}, 1
	}
	x := s.write(t, func(w *keytrie.Writer) (*keyring.Ring, error) { return s.ring.Fold(context.Background(), w, b) })
	x.Live += uint64(scopes)
	x.Fold = f
	x.Folded = commit.Source{Cluster: "c1", Topic: "t1", Lanes: map[string]commit.Lane{"0": {Next: int64(s.serial)}}}
	if last, _ := s.state.Last(); last != nil {
		top := s.tops[last.Generation]
		x.Top = &top
	} else {
		x.Top, x.Custody = s.custody(t, 1)
	}
	return x
}

func (s *service) fold(t testing.TB, scopes int) {
	t.Helper()
	if !s.put(t, s.foldNext(t, scopes)) {
		t.Fatal("the number was lost")
	}
}

// eraseNext is the record that erasing a tag makes.
func (s *service) eraseNext(t testing.TB, n byte) (Next, *keyring.Erased) {
	t.Helper()
	ctx := context.Background()
	found, err := s.ring.Tagged(ctx, keyring.Tag{1: n, 2: 1})
	if err != nil {
		t.Fatal(err)
	}
	var list *keyring.Erased
	x := s.write(t, func(w *keytrie.Writer) (next *keyring.Ring, err error) {
		next, list, err = s.ring.Erase(ctx, w, keyring.Erasure{Scopes: found})
		return next, err
	})
	data := list.Marshal(archive)
	x.Live -= list.Scopes()
	x.Erased = &Erased{Cause: "request", Requests: []Outcome{{Request: commit.Hex32{n}, Erased: list.Scopes()}}, Scopes: list.Scopes(), Removed: list.Paths(), Spent: uint64(len(list.Spent)), Root: list.Root(), List: sha256.Sum256(data), Size: int64(len(data))}
	last, _ := s.state.Last()
	x.Top, x.Custody = s.custody(t, last.Generation+1)
	return x, list
}

func (s *service) erase(t testing.TB, n byte) *keyring.Erased {
	t.Helper()
	x, list := s.eraseNext(t, n)
	if !s.put(t, x) {
		t.Fatal("the number was lost")
	}
	return list
}

// scopes are the paths of all live scopes of a ring.
func scopes(t testing.TB, ring *keyring.Ring) map[[16]byte]bool {
	t.Helper()
	out := map[[16]byte]bool{}
	for l, err := range ring.All(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		out[l.ID] = true
	}
	return out
}
