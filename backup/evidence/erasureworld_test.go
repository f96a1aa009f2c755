package evidence

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/keytrie"
	"github.com/stelelog/stele/merkle"
)

// world is an archive's control log and key store, as far as one erasure needs them.
type world struct {
	t       testing.TB
	archive [16]byte
	at      time.Time
	signers map[string]note.Signer // by key name
	vkeys   map[string]string
	policy  control.Policy

	entries []string
	packs   packs
	records [][]byte
	state   *keyroot.State
	list    []byte
	proofs  [][]byte
	erased  control.Erased
}

type packs map[uint64][]byte

func (p packs) ReadPack(_ context.Context, pack, offset uint64, n int) ([]byte, error) {
	if data := p[pack]; offset+uint64(n) <= uint64(len(data)) {
		return data[offset : offset+uint64(n)], nil
	}
	return nil, fmt.Errorf("pack %d has no %d bytes at %d", pack, n, offset)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// key gives a name the key of a seed.
func (w *world) key(name, seed string) {
	h := sha256.Sum256([]byte(seed))
	key := ed25519.NewKeyFromSeed(h[:])
	var err error
	w.signers[name], err = merkle.NewSigner(name, key)
	w.must(err)
	w.vkeys[name], err = note.NewEd25519VerifierKey(name, key.Public().(ed25519.PublicKey))
	w.must(err)
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, archive: [16]byte{0xa5, 1}, at: time.Date(2026, 10, 5, 8, 0, 0, 0, time.UTC), packs: packs{},
		signers: map[string]note.Signer{}, vkeys: map[string]string{}}
	for _, name := range []string{"acme/root", "acme/control", "acme/approver/anna", "acme/approver/bert", "acme/keyservice/keys", "acme/reader/rita"} {
		w.key(name, name)
	}
	named := func(role, name string) []control.Named {
		return []control.Named{{Name: name, Key: w.vkeys["acme/"+role+"/"+name]}}
	}
	w.policy = control.Policy{Version: 1, Root: w.vkeys["acme/root"], Approvers: append(named("approver", "anna"), named("approver", "bert")...),
		KeyServices: named("keyservice", "keys"), Readers: []control.Reader{{Name: "rita", Sign: w.vkeys["acme/reader/rita"]}}}
	w.state = keyroot.NewState(w.archive)
	return w
}

func (w *world) trust() []byte {
	t := identity.Trust{Archive: w.archive, Name: "acme", Root: w.vkeys["acme/root"], Log: w.vkeys["acme/control"]}
	text, err := t.MarshalText()
	w.must(err)
	return text
}

// say adds an entry and returns its hash.
func (w *world) say(kind, by string, body any) commit.Hex32 {
	w.at = w.at.Add(time.Minute)
	e, err := control.Sign(w.archive, kind, w.at, body, w.signers[by])
	w.must(err)
	w.entries = append(w.entries, e)
	return commit.Hash([]byte(e))
}

// record makes the next root record.
func (w *world) record(x keyroot.Next, make func(*keytrie.Writer) (*keyring.Ring, error)) *keyring.Ring {
	last, _ := w.state.Last()
	first, all := uint64(1), map[uint64]keyroot.Pack{}
	if last != nil {
		first = last.NextPack
		for _, p := range last.Packs {
			all[p.N] = p
		}
	}
	out := keytrie.NewWriter(w.archive, first, 64<<20, rand.Reader, func(n uint64, data []byte) error {
		all[n], w.packs[n] = keyroot.Pack{N: n, SHA256: sha256.Sum256(data), Size: int64(len(data))}, bytes.Clone(data)
		return nil
	})
	ring, err := make(out)
	w.must(err)
	w.must(out.Close())
	for _, run := range ring.Runs {
		for _, n := range run.Packs {
			if !slices.ContainsFunc(x.Packs, func(p keyroot.Pack) bool { return p.N == n }) {
				x.Packs = append(x.Packs, all[n])
			}
		}
	}
	slices.SortFunc(x.Packs, func(a, b keyroot.Pack) int { return int(a.N) - int(b.N) })
	x.Ring, x.NextPack, x.Time, x.Control = ring, out.Next(), w.at, uint64(len(w.entries))
	top, err := keyroot.NewTop(rand.Reader)
	w.must(err)
	x.Top = &top
	x.Custody = &keyroot.Custody{Sets: [][]string{{"a"}, {"b"}}, Shares: []keyroot.Share{{Set: 0, Custodian: "a", Share: []byte{1}}, {Set: 1, Custodian: "b", Share: []byte{2}}}}
	if x.Erased != nil {
		x.Erased.Root, x.Erased.List = w.erased.Paths, w.erased.List
		x.Erased.Scopes, x.Erased.Removed, x.Erased.Spent, x.Erased.Size = w.erased.Scopes, w.erased.Removed, w.erased.Spent, int64(len(w.list))
		x.Live -= w.erased.Scopes
	}
	n := uint64(len(w.records))
	file, err := w.state.Build(chain.Tail{Next: n}, x, rand.Reader, w.signers["acme/keyservice/keys"])
	w.must(err)
	_, accept, err := w.state.Judge(chain.Object{N: n, Data: file}, func(uint64) (note.Verifiers, error) {
		return note.VerifierList(w.signers["acme/keyservice/keys"].(note.Verifier)), nil
	})
	w.must(err)
	accept()
	w.records = append(w.records, file)
	return ring
}

// erase does all of one erasure: 40 scopes, 7 of which go.
func (w *world) erase() { w.eraseOf(40, 6) }

// eraseOf does one of n scopes, of which each of so many subjects has as many, and one goes.
func (w *world) eraseOf(n, subjects int) {
	ctx := context.Background()
	w.say(control.TypeRoster, "acme/root", control.NewRoster(&w.policy))
	var scopes []keyring.Scope
	for i := range n {
		var x keyring.Scope
		h := sha256.Sum256(binary.LittleEndian.AppendUint64([]byte("scope"), uint64(i)))
		x.ID, x.Stream, x.Encap = keyscope.ScopeID(20_000, [14]byte(h[:])), [16]byte{1}, [16]byte{9}
		x.Class, x.Start, x.Week = "default", int64(20_000*24*time.Hour), 2857
		copy(x.Inner[:], h[:])
		x.Tags[1] = keyring.Tag{1: byte(i % subjects), 2: 1}
		x.Place(keyscope.DayStart(20_000), 0)
		scopes = append(scopes, x)
	}
	before := w.record(keyroot.Next{Live: uint64(n), Fold: &keyroot.Fold{Added: uint64(n), Intake: 1}, Folded: commit.Source{Cluster: "c1", Topic: "t1"}},
		func(out *keytrie.Writer) (*keyring.Ring, error) {
			return (&keyring.Ring{Archive: w.archive, Packs: w.packs}).Fold(ctx, out, keyring.Batch{Scopes: scopes, Intake: []keyring.IntakeKey{{Week: 9000}}})
		})
	salted := sha256.Sum256([]byte("whom"))
	request := w.say(control.TypeRequest, "acme/reader/rita", control.RequestBody{What: control.WhatErase, Until: w.at.Add(24 * time.Hour),
		Select: &control.Selection{Kind: control.KindSubject, Salted: salted, Sealed: salted}})
	w.say(control.TypeApprove, "acme/approver/anna", control.Decision{Request: request})
	w.say(control.TypeApprove, "acme/approver/bert", control.Decision{Request: request})
	found, err := before.Tagged(ctx, keyring.Tag{1: byte(min(2, subjects-1)), 2: 1})
	w.must(err)
	var list *keyring.Erased
	old, oldHash := w.state.Last()
	w.erased = control.Erased{Cause: control.CauseRequest, Requests: []control.Outcome{{Request: request, Erased: uint64(len(found))}},
		From: 1, To: 2, Before: control.RootRef{N: old.N, Hash: oldHash}, Control: uint64(len(w.entries))}
	w.record(keyroot.Next{Live: uint64(n), Folded: old.Folded, Erased: &keyroot.Erased{Cause: "request", Requests: []keyroot.Outcome{{Request: request, Erased: uint64(len(found))}}}},
		func(out *keytrie.Writer) (next *keyring.Ring, err error) {
			if next, list, err = before.Erase(ctx, out, keyring.Erasure{Scopes: found}); err != nil {
				return nil, err
			}
			w.list = list.Marshal(w.archive)
			e := &w.erased
			e.List, e.Paths, e.Scopes, e.Removed, e.Spent = sha256.Sum256(w.list), list.Root(), list.Scopes(), list.Paths(), uint64(len(list.Spent))
			return next, nil
		})
	proofs, err := keyring.ProveErasure(ctx, before, list)
	w.must(err)
	for _, p := range proofs {
		raw, err := p.MarshalBinary()
		w.must(err)
		w.proofs = append(w.proofs, raw)
	}
	now, nowHash := w.state.Last()
	w.erased.Root, w.erased.Transport = control.RootRef{N: now.N, Hash: nowHash}, w.at.Add(21*24*time.Hour)
	w.erased.Custody, w.erased.Watermark, w.erased.Open = []control.Destruction{w.destroyed("a", custodian.Immediate, 0)}, 1, []string{"custodian b"}
	hash := w.say(control.TypeErased, "acme/keyservice/keys", w.erased)
	archive := w.at.Add(48 * time.Hour)
	w.say(control.TypeDestroyed, "acme/keyservice/keys", control.Destroyed{Erased: hash,
		Custody: []control.Destruction{w.destroyed("b", custodian.Delayed, 48*time.Hour)}, Watermark: 2, Archive: &archive})
	w.say(control.TypeSupplement, "acme/keyservice/keys", control.Supplement{Request: &request, Root: control.RootRef{N: 7}, Buried: 3})
}

func (w *world) destroyed(name string, class custodian.Class, delay time.Duration) control.Destruction {
	at := w.at
	from := at.Add(delay)
	statement, err := custodian.Attestation{Identity: custodian.Identity{Archive: w.archive, Name: name}, Kind: "vault", Generation: 1,
		State: custodian.Destroyed, Class: class, Declared: true, Time: at, Destroyed: at, From: from}.Marshal()
	w.must(err)
	return control.Destruction{Custodian: name, Generation: 1, Class: string(class), Destroyed: &at, Irrecoverable: &from, Statement: string(statement)}
}

// parts are those of a certificate, as the control log has it now.
func (w *world) parts() (parts []Part) {
	var hashes []merkle.Hash
	for _, e := range w.entries {
		hashes = append(hashes, merkle.LeafHash([]byte(e)))
	}
	head, err := merkle.Checkpoint{Origin: "acme/control", Size: uint64(len(hashes)), Root: merkle.Root(hashes)}.Sign(w.signers["acme/control"])
	w.must(err)
	names := w.policy.Names()
	for i, e := range w.entries {
		proof, err := merkle.TLogProof{Index: uint64(i), Path: w.path(hashes, i), Checkpoint: head}.MarshalText()
		w.must(err)
		parts = append(parts, Part{KindEntry, []byte(e)}, Part{KindControl, proof})
		switch entry, _ := control.ParseEntry(e); entry.Type {
		case control.TypeRoster:
			parts = append(parts, namesOf(names, func(string) bool { return true })...)
		case control.TypeErased:
			parts = append(parts, Part{KindRoot, w.records[0]}, Part{KindRoot, w.records[1]}, Part{KindErased, w.list}, TriesPart(w.proofs))
		}
	}
	return parts
}

// namesOf is the part of those of all names that are kept; none without any.
func namesOf(names []string, keep func(line string) bool) []Part {
	var shown []int
	for i, n := range names {
		if keep(n) {
			shown = append(shown, i)
		}
	}
	if shown == nil {
		return nil
	}
	return []Part{NamesPart(names, shown)}
}

// keepNames keeps some lines of rosters of which all are shown.
func (w *world) keepNames(parts []Part, keep func(line string) bool) (out []Part) {
	for _, p := range parts {
		if p.Kind != KindNames {
			out = append(out, p)
			continue
		}
		all, err := parseNames(p.Data)
		w.must(err)
		out = append(out, namesOf(all.lines, keep)...)
	}
	return out
}

func (w *world) path(hashes []merkle.Hash, index int) []merkle.Hash {
	proof, err := merkle.ProveInclusion(uint64(index), uint64(len(hashes)), func(nodes []merkle.Node, out []merkle.Hash) error {
		for i, n := range nodes {
			out[i] = merkle.Root(hashes[n.Index<<n.Level:][:1<<n.Level])
		}
		return nil
	})
	w.must(err)
	return proof.Path
}

func (w *world) file(parts []Part) []byte {
	file, err := Marshal(w.archive, parts)
	w.must(err)
	return file
}

// approve puts other words in the place of the n-th entry.
func (w *world) approve(n int, by string) {
	var request control.Decision
	entry, err := control.ParseEntry(w.entries[n])
	w.must(err)
	w.must(entry.Into(&request))
	w.replace(control.TypeApprove, n, by, request)
}

// asked puts another request, approved by the same, in the place of the one to erase.
func (w *world) asked(body control.RequestBody) {
	body.Until = w.at.Add(24 * time.Hour)
	w.replace(control.TypeRequest, 1, "acme/reader/rita", body)
	id := commit.Hash([]byte(w.entries[1]))
	w.replace(control.TypeApprove, 2, "acme/approver/anna", control.Decision{Request: id})
	w.replace(control.TypeApprove, 3, "acme/approver/bert", control.Decision{Request: id})
	w.told(func(x *keyroot.Erased) { x.Requests[0].Request = id })
	w.rewrite(func(e *control.Erased) { e.Requests[0].Request = id })
	w.late(6, "acme/keyservice/keys", func(u *control.Supplement) { u.Request = &id })
}

// told has the key service say something else of the erasure in its root record.
func (w *world) told(change func(*keyroot.Erased)) {
	r, err := keyroot.Peek(w.records[1])
	w.must(err)
	change(r.Erased)
	line, err := commit.MarshalLine(r)
	w.must(err)
	w.records[1], err = note.Sign(&note.Note{Text: string(line)}, w.signers["acme/keyservice/keys"])
	w.must(err)
	w.erased.Root.Hash = keyroot.Hash(w.records[1])
}

func (w *world) replace(kind string, n int, by string, body any) {
	if by == "" {
		w.entries = slices.Delete(w.entries, n, n+1)
		return
	}
	e, err := control.Sign(w.archive, kind, w.at, body, w.signers[by])
	w.must(err)
	w.entries[n] = e
}

// rewrite has the key service say something else in its erased entry; what follows it names the new one.
func (w *world) rewrite(change func(*control.Erased)) {
	change(&w.erased)
	w.replace(control.TypeErased, 4, "acme/keyservice/keys", w.erased)
	var d control.Destroyed
	entry, err := control.ParseEntry(w.entries[5])
	w.must(err)
	w.must(entry.Into(&d))
	d.Erased = commit.Hash([]byte(w.entries[4]))
	w.replace(control.TypeDestroyed, 5, "acme/keyservice/keys", d)
}

// late has somebody say something else of what came after the erasure.
func (w *world) late(n int, by string, change func(*control.Supplement)) {
	var u control.Supplement
	entry, err := control.ParseEntry(w.entries[n])
	w.must(err)
	w.must(entry.Into(&u))
	change(&u)
	w.replace(control.TypeSupplement, n, by, u)
}

func (w *world) erasedList() *keyring.Erased {
	list, err := keyring.ParseErased(w.archive, w.list)
	w.must(err)
	return list
}
