package control_test

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	. "github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
)

// machine says whatever anybody may think of, in any order, and holds the log against the model.
type machine struct {
	*world
	model
	actors  []string
	held    []string // keys of approvers that they have
	queue   []said   // signed and not in the log yet
	all     []said   // signed ever
	objects [][]byte
	entries []string
	times   []time.Time // of the objects of entries
	counted int
	known   map[string]note.Signer // by name and key
}

// keyNames are the names of the keys behind those of the model; all others are approvers.
var keyNames = map[string]string{"root": "test/root", "legal": "test/holder/legal", "reader": "test/reader/reader",
	"keys": "test/keyservice/default", "first": "test/compactor/default", "second": "test/compactor/second"}

var (
	people   = []string{"anna", "bert", "carl", "dora"}
	theKeys  = []string{"A", "B", "C", "D"}
	everyone = append(slices.Sorted(maps.Keys(keyNames)), people...)
)

func (m *machine) signer(v voice) string {
	name := keyNames[v.name]
	if name == "" {
		name = "test/approver/" + v.name
	}
	m.keyed(name, v.key)
	return name[len("test/"):]
}

// write makes a policy of rules.
func (m *machine) write(r *rules) Policy {
	p := Policy{Root: m.keyed("test/root", "root"), Classes: []Class{{Name: "default", Keep: 30}}, Lock: Lock{Mode: "governance", Keep: 30}, Partitions: 1, Period: "quarter",
		Holders: []Named{{"legal", m.keyed(keyNames["legal"], "legal")}}, KeyServices: []Named{{"default", m.keyed(keyNames["keys"], "keys")}},
		Readers: []Reader{{"reader", []byte{1}, m.keyed(keyNames["reader"], "reader")}}, Intake: []Intake{{keyscope.Week(epoch), []byte{1}}}}
	for _, name := range slices.Sorted(maps.Keys(r.approvers)) {
		p.Approvers = append(p.Approvers, Named{Name: name, Key: m.keyed("test/approver/"+name, r.approvers[name])})
	}
	for _, c := range r.compactors {
		p.Compactors = append(p.Compactors, Named{Name: strings.TrimPrefix(keyNames[c], "test/compactor/"), Key: m.keyed(keyNames[c], c)})
	}
	for _, c := range r.revoked {
		p.Revoked = append(p.Revoked, Revocation{Key: m.keyed(keyNames[c], c), Last: map[string]uint64{}})
	}
	for i, revoked := range r.writers {
		w := Writer{Name: fmt.Sprint("w", i), Key: []byte{byte(i)}}
		if revoked {
			w.Revoked = &epoch
		}
		p.Writers = append(p.Writers, w)
	}
	return p
}

func (m *machine) begin(t *rapid.T, approvers map[string]string) {
	m.world = &world{t: t, now: epoch, keys: map[string]note.Signer{}, vkeys: map[string]string{}, id: [16]byte{1}}
	m.state = m.fresh(t)
	m.model = model{first: map[string]bool{}, seen: map[string]bool{}, roots: map[uint64]bool{}}
	for _, key := range approvers {
		m.first[key] = true
	}
	first := said{kind: TypePolicy, version: 1, weeks: []uint16{keyscope.Week(epoch)}, voice: voice{"root", "root"}, at: m.now,
		next: rules{approvers: approvers, compactors: []string{"first", "second"}, writers: []bool{false}}}
	p := m.write(&first.next)
	p.Version = 1
	m.sign(&first, p)
	m.commit(t, m.queue)
	m.queue = nil
}

// sign makes the entry of what is said.
func (m *machine) sign(s *said, body any) {
	s.file = m.signAt(m.signer(s.voice), s.kind, s.at, body)
	s.id = sha256.Sum256([]byte(s.file))
	m.queue, m.all = append(m.queue, *s), append(m.all, *s)
}

func (m *machine) commit(t *rapid.T, batch []said) {
	var entries []string
	for _, s := range batch {
		entries = append(entries, s.file)
	}
	data, err := m.state.Build(chain.Tail{Next: m.n}, entries, m.now, m.keys["test/control"])
	if err != nil {
		t.Fatal(err)
	}
	m.accept(t, m.state, m.n, data)
	m.n++
	m.objects = append(m.objects, data)
	for _, s := range batch {
		m.entries, m.times = append(m.entries, s.file), append(m.times, m.now)
		ok := m.take(s, m.now)
		if l := m.state.Listed[m.size-1]; (l.Unauthorised == nil) != ok {
			t.Fatalf("entry %d, %s of %v: has an effect: %v, and should: %v (%v)", l.Index, s.kind, s.voice, !ok, ok, l.Unauthorised)
		}
	}
}

func (m *machine) accept(t *rapid.T, s *State, n uint64, data []byte) {
	_, accept, err := s.Judge(chain.Object{N: n, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	accept()
}

// seldom is true one time in eight.
func seldom(t *rapid.T, what string) bool { return rapid.IntRange(0, 7).Draw(t, what) == 7 }

// draw begins an entry by anybody, with any key, at any time; most times by who may write it, and now.
func (m *machine) draw(t *rapid.T, kind string) said {
	m.counted++ // no two entries are the same by chance
	s := said{kind: kind, at: m.now.Add(time.Duration(m.counted))}
	if seldom(t, "wrong time") {
		s.at = s.at.Add(rapid.SampledFrom([]time.Duration{-time.Hour, 4 * time.Minute, time.Hour}).Draw(t, "clock"))
	}
	var all, fit []voice
	for _, name := range m.actors {
		keys := []string{name}
		if slices.Contains(people, name) {
			keys = m.held
		}
		for _, key := range keys {
			s.voice = voice{name, key}
			if all = append(all, s.voice); m.may(&s) {
				fit = append(fit, s.voice)
			}
		}
	}
	if len(fit) > 0 && !seldom(t, "wrong person") {
		all = fit
	}
	s.voice = all[rapid.IntRange(0, len(all)-1).Draw(t, "who")]
	return s
}

func (m *machine) ask(t *rapid.T) {
	s := m.draw(t, TypeRequest)
	s.what = rapid.SampledFrom([]string{WhatErase, WhatRelease, WhatPolicy, WhatPolicy}).Draw(t, "what")
	s.until = s.at.Add(2 * 24 * time.Hour)
	if seldom(t, "wrong end") {
		s.until = s.at.Add(rapid.SampledFrom([]time.Duration{time.Hour, 30 * 24 * time.Hour, 91 * 24 * time.Hour, 0}).Draw(t, "open"))
	}
	body := RequestBody{What: s.what, Until: s.until}
	switch s.what {
	case WhatErase:
		body.Select = m.selection()
		body.Select.Week = keyscope.Week(s.at)
	case WhatRelease:
		s.target = m.some(t, TypeHold)
		body.Hold = &s.target
	case WhatPolicy:
		s.base = m.rules.text()
		base := m.state.Policy().Governed()
		s.next = m.change(t)
		p := m.write(&s.next)
		p.Writers, p.Intake = nil, nil
		body.Base, body.Policy = &base, &p
	}
	m.sign(&s, body)
}

// change makes other rules of those in force.
func (m *machine) change(t *rapid.T) rules {
	next := m.rules
	next.approvers = maps.Clone(next.approvers)
	if next.approvers == nil {
		next.approvers = map[string]string{}
	}
	switch name := rapid.SampledFrom(people).Draw(t, "approver"); rapid.IntRange(0, 4).Draw(t, "change") {
	case 0:
		delete(next.approvers, name)
	case 1:
		if len(next.compactors) == 2 {
			next.compactors, next.revoked = []string{"first"}, []string{"second"}
		}
	default:
		key := rapid.SampledFrom(theKeys).Draw(t, "key")
		for other, k := range next.approvers {
			if k == key {
				delete(next.approvers, other)
			}
		}
		next.approvers[name] = key
	}
	return next
}

// some is the hash of an entry of a kind that was signed, or of none.
func (m *machine) some(t *rapid.T, kind string) commit.Hex32 {
	ids := []commit.Hex32{{9}}
	for _, s := range m.all {
		r, h := m.request(s.id), m.hold(s.id)
		if s.kind == kind && (r != nil && (r.standing == Pending || r.standing == Approved) || h != nil && !h.released || seldom(t, "any")) {
			ids = append(ids, s.id)
		}
	}
	return ids[len(ids)-1-rapid.IntRange(0, min(len(ids), 4)-1).Draw(t, kind)]
}

func (m *machine) decide(t *rapid.T) {
	s := m.draw(t, rapid.SampledFrom([]string{TypeApprove, TypeApprove, TypeReject}).Draw(t, "voice"))
	s.target = m.some(t, TypeRequest)
	m.sign(&s, Decision{Request: s.target})
}

func (m *machine) place(t *rapid.T) {
	s := m.draw(t, TypeHold)
	m.sign(&s, HoldBody{*m.selection()})
}

func (m *machine) announce(t *rapid.T) {
	s := m.draw(t, TypeIntake)
	week := keyscope.Week(epoch) + rapid.Uint16Range(1, 8).Draw(t, "week")
	s.weeks = []uint16{week, week + 1}
	m.sign(&s, IntakeKeys{[]Intake{{Week: week, Key: make([]byte, 1216)}, {Week: week + 1, Key: make([]byte, 1216)}}})
}

func (m *machine) heads(t *rapid.T) {
	s := m.draw(t, TypeHeads)
	m.sign(&s, Heads{})
}

// govern is a policy of the root alone.
func (m *machine) govern(t *rapid.T) {
	s := m.draw(t, TypePolicy)
	s.version = m.version + 1
	if seldom(t, "wrong version") {
		s.version += 1
	}
	s.next, s.weeks = m.rules, m.weeks
	if !m.rules.dual() || seldom(t, "rules") {
		s.next = m.change(t)
	}
	s.next.writers = slices.Clone(m.rules.writers)
	if i := rapid.IntRange(0, len(s.next.writers)).Draw(t, "writer"); i < len(s.next.writers) {
		s.next.writers[i] = !s.next.writers[i]
	} else {
		s.next.writers = append(s.next.writers, false)
	}
	p := m.write(&s.next)
	p.Version, p.Intake = s.version, slices.Clone(m.state.Policy().Intake)
	m.sign(&s, p)
}

// report is what a key service says that it did for a request.
func (m *machine) report(t *rapid.T) {
	s := m.draw(t, rapid.SampledFrom([]string{TypeOutcome, TypeErased}).Draw(t, "report"))
	s.target, s.left = m.some(t, TypeRequest), rapid.Uint64Range(0, 1).Draw(t, "left")
	o := Outcome{Request: s.target, Erased: 1, Left: s.left}
	if s.kind == TypeOutcome {
		m.sign(&s, o)
		return
	}
	s.size, s.root = m.size-min(m.size, rapid.Uint64Range(0, 5).Draw(t, "judged by")), rapid.Uint64Range(2, 40).Draw(t, "root")
	s.single = s.size > 0 && m.past[s.size-1].approved[s.target] != seldom(t, "wrong word")
	m.sign(&s, Erased{Cause: CauseRequest, Requests: []Outcome{o}, From: 1, To: 2, Before: RootRef{N: 1}, Root: RootRef{N: s.root}, Control: s.size, Single: s.single})
}

// again submits an entry once more, as it is or altered.
func (m *machine) again(t *rapid.T) {
	s := m.all[rapid.IntRange(0, len(m.all)-1).Draw(t, "entry")]
	if rapid.Bool().Draw(t, "altered") {
		s.bad = true
		i := rapid.IntRange(0, len(s.file)-1).Draw(t, "byte")
		b := []byte(s.file)
		b[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if s.file = string(b); !utf8.ValidString(s.file) {
			if _, err := m.state.Build(chain.Tail{Next: m.n}, []string{s.file}, m.now, m.keys["test/control"]); err == nil {
				t.Fatal("an object was made of an entry that JSON cannot hold")
			}
			t.Skip("goes into no log")
		}
	}
	m.queue = append(m.queue, s)
}

func (m *machine) wait(t *rapid.T) {
	m.now = m.now.Add(rapid.SampledFrom([]time.Duration{time.Second, time.Hour, -time.Hour, 26 * time.Hour}).Draw(t, "wait"))
}

// object puts some of what waits into the log, in any order.
func (m *machine) object(t *rapid.T) {
	if len(m.queue) == 0 {
		t.Skip("nothing waits")
	}
	var batch []said
	some := seldom(t, "some of them")
	for range len(m.queue) {
		i := 0
		if some {
			if i = rapid.IntRange(0, len(m.queue)-1).Draw(t, "next"); i == 0 && len(batch) > 0 {
				break
			}
		}
		batch = append(batch, m.queue[i])
		m.queue = slices.Delete(m.queue, i, i+1)
	}
	m.commit(t, batch)
}

func TestMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{actors: everyone, held: theKeys}
		approvers := map[string]string{}
		for i := range rapid.IntRange(0, 3).Draw(t, "approvers") {
			approvers[people[i]] = theKeys[i]
		}
		m.begin(t, approvers)
		t.Repeat(m.actions())
		t.Repeat(m.actions())                             // much comes of what came before
		if rapid.IntRange(0, 3).Draw(t, "restart") == 0 { // that takes most of the time
			m.restart(t)
		}
	})
}

func (m *machine) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){"ask": m.ask, "decide": m.decide, "decide too": m.decide, "decide as well": m.decide, "place": m.place, "announce": m.announce, "heads": m.heads,
		"govern": m.govern, "report": m.report, "again": m.again, "wait": m.wait, "object": m.object, "object too": m.object, "object as well": m.object, "ask too": m.ask, "": m.compare}
}

// TestOnePersonAlone: whoever has one approver's key, and all keys of all other roles, gets nothing past two-person control.
func TestOnePersonAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{actors: append(slices.Sorted(maps.Keys(keyNames)), "anna", "bert"), held: []string{"A"}}
		m.begin(t, map[string]string{"anna": "A", "bert": "B", "carl": "C"})
		rules := m.state.Policy().Governed()
		actions := m.actions()
		actions[""] = func(t *rapid.T) {
			m.compare(t)
			for _, r := range m.state.Requests {
				if r.Effect != 0 || r.Standing != Pending && r.Standing != Rejected {
					t.Fatalf("a request for %s is %s", r.What, r.Standing)
				}
			}
			for _, h := range m.state.Holds {
				if h.Released != 0 {
					t.Fatal("a hold is released")
				}
			}
			if m.state.Policy().Governed() != rules || len(m.state.Erasures) > 0 {
				t.Fatal("the policy was changed, or something was erased")
			}
		}
		t.Repeat(actions)
	})
}
