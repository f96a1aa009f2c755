package control_test

import (
	"crypto/ed25519"
	"fmt"
	"maps"
	"time"

	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"github.com/stelelog/stele/internal/chain"
	. "github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
)

// keyed makes a signer for a name and a key, once.
func (m *machine) keyed(name, key string) string {
	if m.known == nil {
		m.known = map[string]note.Signer{}
	}
	if m.known[name+" "+key] == nil {
		m.vkeys[name+" "+key] = m.keyFrom(name, key)
		m.known[name+" "+key] = m.keys[name]
	}
	m.keys[name] = m.known[name+" "+key]
	return m.vkeys[name+" "+key]
}

func (m *machine) trust() identity.Trust {
	return identity.Trust{Archive: m.id, Name: "test", Root: m.keyed("test/root", "root"), Log: m.keyed("test/control", "control")}
}

// compare holds what follows from the log against the model: now, and at every size before.
func (m *machine) compare(t *rapid.T) {
	if m.size != m.state.Size() || len(m.requests) != len(m.state.Requests) || len(m.holds) != len(m.state.Holds) {
		t.Fatalf("%d entries, %d requests, %d holds; want %d, %d, %d", m.state.Size(), len(m.state.Requests), len(m.state.Holds), m.size, len(m.requests), len(m.holds))
	}
	for i, r := range m.state.Requests {
		want := m.requests[i]
		if r.ID != want.id || r.Standing != want.standing || len(r.Yes) != len(want.yes) || r.Standing == Approved && r.Single != want.single {
			t.Fatalf("request %d for %s is %s with %d approvals, single control %v; want %s, %d, %v", i, r.What, r.Standing, len(r.Yes), r.Single, want.standing, len(want.yes), want.single)
		}
	}
	p := m.state.Policy()
	approvers := map[string]string{}
	for _, a := range p.Approvers {
		for _, key := range theKeys {
			if a.Key == m.vkeys["test/approver/"+a.Name+" "+key] {
				approvers[a.Name] = key
			}
		}
	}
	if !maps.Equal(approvers, m.rules.approvers) || p.Version != m.version || m.state.Single() != m.rules.byRoot {
		t.Fatalf("approvers %v, version %d, single control %v; want %v, %d, %v", approvers, p.Version, m.state.Single(), m.rules.approvers, m.version, m.rules.byRoot)
	}
	m.compareAt(t, m.size, &m.past[m.size-1])
}

func (m *machine) compareAt(t *rapid.T, size uint64, then *moment) {
	for _, r := range m.state.Requests {
		if r.What != WhatErase {
			continue // nobody asks that of others
		}
		single, ok := r.ApprovedAt(size)
		if wantSingle, want := then.approved[r.ID]; ok != want || ok && single != wantSingle {
			t.Fatalf("at size %d a request was approved: %v, single control %v; want %v, %v", size, ok, single, want, wantSingle)
		}
	}
	for _, h := range m.state.Holds {
		if h.StandsAt(size) != then.standing[h.Entry] {
			t.Fatalf("at size %d a hold stood: %v", size, !then.standing[h.Entry])
		}
	}
	for i, revoked := range then.rules.writers {
		if _, err := m.state.Service(ed25519.PublicKey{byte(i)}, size); (err != nil) != revoked {
			t.Fatalf("at size %d writer %d: %v, revoked %v", size, i, err, revoked)
		}
	}
	if _, err := m.state.Service(ed25519.PublicKey{byte(len(then.rules.writers))}, size); err == nil {
		t.Fatalf("at size %d there was a writer too many", size)
	}
	_, err := m.state.Compactor("test/compactor/second", size)
	if (err == nil) != (len(then.rules.compactors) == 2) {
		t.Fatalf("at size %d the second compactor: %v, of %v", size, err, then.rules.compactors)
	}
}

// restart reads the log again: as it is, and with an object for each entry and other entries where they had no effect.
func (m *machine) restart(t *rapid.T) {
	for i := range m.past {
		m.compareAt(t, uint64(i)+1, &m.past[i])
	}
	replayed, without := m.fresh(t), m.fresh(t)
	for n, data := range m.objects {
		m.accept(t, replayed, uint64(n), data)
	}
	if !Same(m.state, replayed, true) {
		t.Fatal("the log read again amounts to something else")
	}
	m.keyed(keyNames["first"], "first")
	for n, entry := range m.entries {
		if m.state.Listed[n].Unauthorised != nil {
			entry = m.signAt("compactor/default", TypeProbe, epoch.Add(time.Duration(n)), Probe{Store: fmt.Sprint(n)})
		}
		data, err := without.Build(chain.Tail{Next: uint64(n)}, []string{entry}, m.times[n], m.keys["test/control"])
		if err != nil {
			t.Fatal(err)
		}
		m.accept(t, without, uint64(n), data)
	}
	if !Same(m.state, without, false) {
		t.Fatal("entries without effect had one, or it matters in which objects they come")
	}
}

func (m *machine) fresh(t *rapid.T) *State {
	s, err := NewState(m.trust())
	if err != nil {
		t.Fatal(err)
	}
	return s
}
