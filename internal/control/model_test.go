package control_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	. "github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
)

// model is docs/formats/control.md once more, in short, as far as the machine in machine_test.go speaks of it: who decides
// what, until when, and what follows.
type model struct {
	size     uint64
	rules    rules
	version  uint64
	first    map[string]bool
	seen     map[string]bool // files
	requests []*asked
	holds    []*held
	weeks    []uint16        // of intake keys
	roots    map[uint64]bool // root records with an erasure
	past     []moment        // by size
}

// rules are what changes of a policy here.
type rules struct {
	approvers  map[string]string // key by name
	compactors []string
	revoked    []string
	writers    []bool // revoked
	byRoot     bool   // made by the root alone, or by fewer than two approvers with keys of their own
}

type moment struct {
	approved map[commit.Hex32]bool // requests, and whether that is single control
	standing map[commit.Hex32]bool // holds
	rules    rules
}

type voice struct{ name, key string }

type asked struct {
	said
	standing Standing
	yes, no  []voice
	noAt     map[voice]time.Time // dates of no
	single   bool
}

type held struct {
	id       commit.Hex32
	released bool
}

// said is an entry as who wrote it means it.
type said struct {
	file, kind string
	id         commit.Hex32
	at         time.Time
	voice
	bad bool // altered, of another archive, or signed by whom nobody knows

	what   string // request
	until  time.Time
	target commit.Hex32 // hold, or request
	base   string       // rules that it was made from
	next   rules

	version uint64   // policy
	weeks   []uint16 // policy, intake
	left    uint64   // outcome, erased
	size    uint64   // erased: by which it was judged
	root    uint64   // erased
	single  bool     // erased
}

// text is what only two approvers change.
func (r *rules) text() string { return fmt.Sprint(r.approvers, r.compactors, r.revoked) }

func (r *rules) dual() bool { return len(r.approvers) >= 2 }

func (m *model) request(id commit.Hex32) *asked {
	for _, r := range m.requests {
		if r.id == id {
			return r
		}
	}
	return nil
}

// may says whether a name may write a kind of entry with a key.
func (m *model) may(s *said) bool {
	alone := !m.rules.dual()
	role := s.name
	if key, ok := m.rules.approvers[s.name]; ok && key == s.key {
		role = "approver"
	} else if s.name != s.key {
		return false
	}
	switch s.kind {
	case TypeRequest, TypeReject:
		return slices.Contains([]string{"root", "approver", "legal", "reader"}, role)
	case TypeApprove:
		return role == "approver" || role == "root" && alone
	case TypeHold:
		return role == "approver" || role == "legal" || role == "root" && alone
	case TypePolicy:
		return role == "root"
	case TypeIntake, TypeOutcome, TypeErased:
		return role == "keys"
	case TypeHeads:
		return slices.Contains(m.rules.compactors, role)
	}
	return false
}

// take takes an entry in, which comes in an object of the given time, and reports whether it has an effect.
func (m *model) take(s said, at time.Time) bool {
	replayed := m.seen[s.file]
	m.seen[s.file] = true
	m.size++
	ok := !replayed && !s.bad && m.may(&s) && m.judge(&s, at)
	now := moment{map[commit.Hex32]bool{}, map[commit.Hex32]bool{}, m.rules}
	for _, r := range m.requests {
		if r.standing == Approved {
			now.approved[r.id] = r.single
		}
	}
	for _, h := range m.holds {
		now.standing[h.id] = !h.released
	}
	m.past = append(m.past, now)
	return ok
}

func (m *model) judge(s *said, at time.Time) bool {
	switch s.kind {
	case TypeRequest, TypeApprove, TypeReject, TypeHold:
		if s.at.After(at.Add(5 * time.Minute)) {
			return false
		}
	}
	switch s.kind {
	case TypePolicy:
		return m.rootPolicy(s)
	case TypeHold:
		m.holds = append(m.holds, &held{id: s.id})
	case TypeRequest:
		return m.ask(s)
	case TypeApprove, TypeReject:
		r := m.request(s.target)
		if r == nil || r.standing != Pending && r.standing != Approved {
			return false
		}
		if s.kind == TypeReject {
			return m.reject(r, s.voice, s.at)
		}
		return !s.at.After(r.until) && !at.After(r.until) && m.approve(r, s.voice, s.at)
	case TypeIntake:
		for i, w := range s.weeks {
			if slices.Contains(m.weeks, w) || i > 0 && w <= s.weeks[i-1] {
				return false
			}
		}
		m.weeks = append(slices.Clip(m.weeks), s.weeks...)
		m.version++
	case TypeOutcome:
		r := m.request(s.target)
		if r == nil || r.what != WhatErase || r.standing != Approved {
			return false
		}
		r.carriedOut(s)
	case TypeErased:
		return m.erase(s)
	}
	return true
}

func (r *asked) carriedOut(s *said) {
	if s.left == 0 {
		r.standing = Done
	}
}

// erase: it is the past that counts, so long as the request is known.
func (m *model) erase(s *said) bool {
	r := m.request(s.target)
	if r == nil || r.what != WhatErase || s.size >= m.size || m.roots[s.root] {
		return false
	}
	if s.size == 0 {
		return false
	}
	if single, ok := m.past[s.size-1].approved[r.id]; !ok || single != s.single {
		return false
	}
	m.roots[s.root] = true
	r.carriedOut(s)
	return true
}

func (m *model) ask(s *said) bool {
	if !s.until.After(s.at) || s.until.Sub(s.at) > 90*24*time.Hour {
		return false
	}
	switch s.what {
	case WhatErase:
		if s.until.After(keyscope.WeekStart(keyscope.Week(s.at)).Add(21 * 24 * time.Hour)) {
			return false
		}
	case WhatRelease:
		h := m.hold(s.target)
		if h == nil || h.released {
			return false
		}
	case WhatPolicy:
		if s.base != m.rules.text() || m.rules.dual() && !s.next.dual() {
			return false
		}
	}
	m.requests = append(m.requests, &asked{said: *s, standing: Pending})
	return true
}

func (m *model) hold(id commit.Hex32) *held {
	for _, h := range m.holds {
		if h.id == id {
			return h
		}
	}
	return nil
}

func same(v voice) func(voice) bool {
	return func(o voice) bool { return o.name == v.name || o.key == v.key }
}

// persons are those of some voices who are approvers now, with the key that they had.
func (m *model) persons(vs []voice) (n, own int) {
	for _, v := range vs {
		if m.rules.approvers[v.name] == v.key {
			n++
			if !m.first[v.key] {
				own++
			}
		}
	}
	return n, own
}

func (m *model) enough(r *asked) bool {
	if n, _ := m.persons(r.yes); m.rules.dual() {
		return n >= 2
	}
	return slices.Contains(r.yes, voice{"root", "root"})
}

func (m *model) approve(r *asked, v voice, at time.Time) bool {
	if slices.ContainsFunc(r.yes, same(v)) || slices.ContainsFunc(r.no, func(o voice) bool { return same(v)(o) && r.noAt[o].After(at) }) {
		return false
	}
	r.no = slices.DeleteFunc(r.no, same(v))
	r.yes = append(r.yes, v)
	if r.standing != Pending || !m.enough(r) {
		return true
	}
	_, own := m.persons(r.yes)
	r.single = own < 2
	switch r.what {
	case WhatErase:
		r.standing = Approved
	case WhatRelease:
		r.standing = Done
		m.hold(r.target).released = true
	case WhatPolicy:
		r.standing = Superseded
		if r.base == m.rules.text() && (!m.rules.dual() || r.next.dual()) {
			r.standing = Done
			next := r.next
			next.writers, next.byRoot = m.rules.writers, r.single
			m.enact(next)
		}
	}
	return true
}

func (m *model) reject(r *asked, v voice, at time.Time) bool {
	approver := m.rules.approvers[v.name] == v.key || v.name == "root" && !m.rules.dual()
	author := v.name == r.name
	withdrawn := author && r.standing == Pending
	if !approver && !author || !withdrawn && slices.ContainsFunc(r.no, same(v)) {
		return false
	}
	r.yes = slices.DeleteFunc(r.yes, same(v))
	r.no = append(slices.DeleteFunc(r.no, same(v)), v)
	if r.noAt == nil {
		r.noAt = map[voice]time.Time{}
	}
	r.noAt[v] = at
	switch n, _ := m.persons(r.no); {
	case withdrawn, m.rules.dual() && n >= 2, !m.rules.dual() && v.name == "root":
		r.standing = Rejected
	case r.standing == Approved && !m.enough(r):
		r.standing = Pending
	}
	return true
}

// enact puts rules in force; who is no approver under them, or has another key, is counted no longer.
func (m *model) enact(next rules) {
	m.rules = next
	m.version++
	for _, r := range m.requests {
		if r.standing == Approved && !m.enough(r) {
			r.standing = Pending
		}
	}
}

func (m *model) rootPolicy(s *said) bool {
	if s.version != m.version+1 {
		return false
	}
	next := s.next
	if m.rules.dual() {
		if next.text() != m.rules.text() || len(next.writers) < len(m.rules.writers) || !slices.Equal(s.weeks, m.weeks) {
			return false
		}
		for i, revoked := range m.rules.writers {
			if revoked && !next.writers[i] {
				return false
			}
		}
		next.byRoot = m.rules.byRoot
	} else {
		next.byRoot = true
	}
	m.weeks = s.weeks
	m.enact(next)
	return true
}
