package evidence

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/seal"
	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/merkle"
)

// seed is a file that holds, and the keys with which it could be made anew; none for the files that others made.
type seed struct {
	name    string
	trust   []byte
	archive [16]byte
	parts   []Part
	keys    *forger
	was     *Report
}

// seeds are files of all kinds.
func seeds(t testing.TB) (all []*seed) {
	add := func(name string, w *world, trust []byte, parts []Part, vouch func([]byte) []Part) {
		stream, service := sha256.Sum256([]byte(logA)), sha256.Sum256([]byte("service"))
		all = append(all, &seed{name: name, trust: trust, archive: w.archive, parts: parts,
			keys: &forger{signers: w.signers, stream: ed25519.NewKeyFromSeed(stream[:]), service: ed25519.NewKeyFromSeed(service[:]), vouch: vouch}})
	}
	c := newWorld(t)
	c.eraseOf(12, 3)
	add("certificate", c, c.trust(), selected(c), nil)
	f := newForgotten(t)
	add("forgotten", f.world, f.trust(), f.forgotten(), nil)
	r := newRangeWorld(t)
	q := rangeproof.Query{Model: "m-1"}
	add("answer", r.world, r.trust(), r.whole(q), nil)
	_, timed := r.timed()
	add("answer about a time", r.world, r.trust(), timed, nil)
	one := rosterWorld{r}
	add("answer with a record", r.world, r.trust(), slices.Insert(r.whole(rangeproof.Query{}), 6, one.record()[0]), nil)
	n := newRosterWorld(t)
	roster, names := n.roster(honestRoot, honest)
	n.put(roster)
	heads := n.heads(honest, roster)
	add("record", n.world, n.trust(), slices.Concat(n.record(), n.bare(roster, names), n.proven(heads, nil)), nil)
	p := newRangeWorld(t)
	p.entries = slices.Delete(p.entries, 1, 2)
	p.entries = p.entries[:1]
	p.logHeads(honest)
	add("record under a policy", p.world, p.trust(), slices.Concat(rosterWorld{p}.record(), rosterWorld{p}.proven(0, nil)[:2], rosterWorld{p}.proven(1, nil)[:2]), nil)
	add("vouched", n.world, vouchers(n.world), slices.Concat(n.record(), n.bare(roster, names), n.proven(heads, nil), seen(n.world, controlHead(n.proven(heads, nil)))),
		func(head []byte) []Part { return seen(n.world, head) })
	for _, name := range fixtures() {
		archive, parts, err := Parse(load(t, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &seed{name: name, trust: load(t, trustOf(name)), archive: archive, parts: parts})
	}
	for _, s := range all {
		v, r := judge(t, s.trust, s.file(s.parts))
		if v.Err != "" || !r.Whole() {
			_, err := Check(s.trust, s.file(s.parts))
			t.Fatalf("%s: %+v: %v", s.name, v, err)
		}
		s.was = r
	}
	return all
}

const honestRoot = "acme/root"

func controlHead(parts []Part) []byte {
	_, head, _ := bytes.Cut(parts[1].Data, []byte("\n\n"))
	return head
}

// selected is a certificate that says what was selected.
func selected(w *world) []Part {
	f := &forger{r: rand.New(rand.NewPCG(0, 0)), signers: w.signers, parts: w.parts()}
	line := control.Selector{Archive: w.archive, Kind: control.KindSubject, Value: "anna.k@example.com", Tag: &commit.Hex16{7}, Reason: "asked for it", Salt: [32]byte{9}}
	text, err := line.Line()
	w.must(err)
	old := sha256.Sum256([]byte("whom"))
	f.replace(`"salted":"`+word32(old)+`"`, `"salted":"`+control.Salted(text).String()+`"`)
	i := slices.IndexFunc(f.parts, func(p Part) bool { return p.Kind == KindEntry && bytes.Contains(p.Data, []byte(`"type":"request"`)) })
	f.parts = slices.Insert(f.parts, i+2, Part{KindSelect, text})
	f.relog()
	return f.parts
}

// forgottenWorld has a record of a scope that went.
type forgottenWorld struct {
	*rangeWorld
	entry  []byte // of the scope
	fields [seal.FieldCount]Value
	names  [3]Value
	path   int // number of the erased path
}

func newForgotten(t testing.TB) *forgottenWorld {
	w := &forgottenWorld{rangeWorld: &rangeWorld{world: newWorld(t), logs: map[string][]record.Leaf{logA: someLeaves(1, 77), logB: someLeaves(2, 32)}, heads: map[string][]byte{},
		certs: map[string]*keyscope.Cert{}, streams: map[string]ed25519.PrivateKey{}}}
	w.enrol(honest)
	w.enrolStreams()
	w.policy.Compactors = []control.Named{{Name: "c1", Key: w.vkeys[honest]}}
	w.eraseOf(12, 3)
	l := &w.logs[logA][8]
	for i, p := range w.erasedList().Removed[0] {
		if len(p) == 35 && p[0] == 0x10 {
			w.path = i
			copy(l.Scope[:], p[3:19])
			w.entry = slices.Concat([]byte{1}, p[3:19], make([]byte, 8+32), p[19:35], make([]byte, 16))
			break
		}
	}
	for i, v := range []string{"tenant", "anna", ""} {
		w.names[i] = Value{Shown: i < 2, Salt: [16]byte{byte(i)}, Value: []byte(v)}
		h := seal.FieldHash(w.names[i].Salt, seal.FieldTenant+seal.Field(i), w.names[i].Value)
		w.entry = append(w.entry, h[:]...)
	}
	w.entry = append(append(w.entry, byte(len(l.Class))), l.Class...)
	var hashes [seal.FieldCount][32]byte
	for i := range w.fields {
		w.fields[i] = Value{Shown: i < 2, Salt: [16]byte{byte(i)}, Value: bytes.Repeat([]byte{'x'}, i)}
		w.fields[i].Hash = seal.FieldHash(w.fields[i].Salt, seal.Field(i+1), w.fields[i].Value)
		hashes[i] = w.fields[i].Hash
	}
	l.Commitment = seal.Commitment(&hashes)
	w.logHeads(honest)
	return w
}

// forgotten are the parts of that record, and of the erasure.
func (w *forgottenWorld) forgotten() []Part {
	parts := rosterWorld{w.rangeWorld}.record()
	_, signed := w.frame(logA, 8)
	header := signed[:frameHeader]
	other := merkle.LeafHash([]byte("another entry"))
	root := merkle.NodeHash(other, merkle.LeafHash(w.entry))
	copy(header[120:], root[:])
	signed = append(header, ed25519.Sign(w.streams[logA], append([]byte("stele/frame/v1\n"), header...))...)
	parts = slices.Insert(parts, 2, FieldsPart(w.fields), ScopePart(w.entry, signed, []Step{{false, other}}, w.names))
	list := slices.Concat(w.erasedList().Removed...)
	hashes := make([]merkle.Hash, len(list))
	for i, p := range list {
		hashes[i] = merkle.LeafHash(p)
	}
	for _, p := range w.world.parts() {
		switch p.Kind {
		case KindErased:
			parts = append(parts, RemovedPart(uint64(w.path), w.world.path(hashes, w.path), list[w.path]))
		case KindTries:
		default:
			parts = append(parts, p)
		}
	}
	return parts
}

// vouchers is a trust file that wants a witness and an anchor.
func vouchers(w *world) []byte {
	_, line := w.anchor("anchor.example/a", nil)
	return append(w.trust(), fmt.Sprintf("witness A %s\nquorum A\n%s\n", newWitness("a.example").vkey, line)...)
}

// seen are the parts of who has seen a head.
func seen(w *world, head []byte) []Part {
	proof, _ := w.anchor("anchor.example/a", head)
	return []Part{CosignedPart(nil, append(bytes.Clone(head), newWitness("a.example").sign(w, head, 1800000000)...)), AnchoredPart(nil, nil, proof)}
}

func (s *seed) file(parts []Part) []byte {
	return literally(s.archive, plain(parts))
}

// mutate makes one file of a seed. others are parts of all seeds.
func (s *seed) mutate(r *rand.Rand, others []Part) (m *mutant, keyless, alone bool) {
	parts, what := slices.Clone(s.parts), []string{s.name}
	alone, keyless = true, true
	say := func(w string) { what = append(what, w) }
	forged := s.keys != nil && r.IntN(3) > 0
	for range 1 + r.IntN(10)/7 {
		var w string
		switch k := r.IntN(12); {
		case len(parts) == 0:
		case forged && k < 9:
			f := *s.keys
			f.r, f.parts = r, parts
			w = f.forge()
			f.relog()
			parts, keyless = f.parts, false
		case k < 4:
			i := r.IntN(len(parts))
			parts[i].Data, w = changePart(r, parts[i].Data)
			w = fmt.Sprintf("part %d: %s", i, w)
		case k < 6:
			w = otherWord(r, parts)
		case k < 7:
			w = otherSignature(r, parts)
		case k < 8:
			if i := slices.IndexFunc(parts, func(p Part) bool { return p.Kind == rangeproof.KindLeaves }); i >= 0 {
				parts[i].Data, w = changeColumn(r, parts[i].Data)
			}
		default:
			parts, w = changeParts(r, parts, others)
			alone = alone && !strings.Contains(w, "foreign") && !strings.Contains(w, "another part") && !strings.Contains(w, "moved") // behind other heads, a roster is before others
		}
		say(w)
	}
	if s.keys != nil && r.IntN(3) == 0 {
		f := *s.keys
		f.r, f.parts = r, parts
		f.relog()
		parts, keyless = f.parts, false
		say("logged anew")
	}
	m = &mutant{trust: s.trust, was: s.was}
	if r.IntN(12) == 0 {
		var w string
		m.file, w = changePacking(r, s.archive, parts)
		say(w)
	} else {
		m.file = s.file(parts)
	}
	m.name = strings.Join(what, "; ")
	return m, keyless, alone
}

// Go and Python say the same of any file that somebody can make of ours, with keys and without, and whoever has no key makes none that shows more, or as much
// with another content. 400 files; 60,000 with STELE_LONG.
func TestBothVerifiersAgree(t *testing.T) {
	n := 400
	if testbed.Long() {
		n = 60_000
	}
	all, r := seeds(t), rand.New(rand.NewPCG(20, 26))
	var others []Part
	for _, s := range all {
		others = append(others, s.parts...)
	}
	python, outcomes, differ := newPython(t), map[string]int{}, 0
	for done := 0; done < n; {
		var batch []*mutant
		for range min(200, n-done) {
			s := all[r.IntN(len(all))]
			m, keyless, alone := s.mutate(r, others)
			if !keyless || !alone {
				m.was = nil
			}
			batch = append(batch, m)
		}
		done += len(batch)
		for i, got := range python.ask(batch) {
			m := batch[i]
			want, report := judge(t, m.trust, m.file)
			outcomes[want.Err]++
			why := got.differs(want)
			if code := exitCode(want, report); why == "" && code != got.code {
				why = fmt.Sprintf("exit code %d, Python %d", code, got.code)
			}
			if why != "" {
				if differ++; differ <= 40 {
					_, err := Check(m.trust, m.file)
					t.Errorf("%.400s: %s; Go: %.300v; Python: %.300s", m.name, why, err, got.why)
				}
			}
			if report != nil && m.was != nil && !sameParts(m.file, all) {
				if why := weaker(m.was, report); why != "" {
					t.Errorf("%s: accepted, and %s", m.name, why)
				}
			}
		}
	}
	t.Logf("%d files: %v, %d with another answer", n, outcomes, differ)
	if outcomes["failed"] < n/3 || outcomes[""] < n/20 || outcomes["format"] == 0 {
		t.Errorf("the changes do not reach what they should: %v", outcomes)
	}
}

// sameParts reports whether a file is one of the seeds, packed in another way or order.
func sameParts(file []byte, all []*seed) bool {
	_, parts, err := Parse(file)
	order := func(a, b Part) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), bytes.Compare(a.Data, b.Data)) }
	slices.SortFunc(parts, order)
	return err == nil && slices.ContainsFunc(all, func(s *seed) bool {
		return slices.EqualFunc(slices.SortedFunc(slices.Values(s.parts), order), parts, func(a, b Part) bool { return order(a, b) == 0 })
	})
}
