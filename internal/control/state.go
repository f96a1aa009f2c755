package control

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/merkle"
)

// State is what the entries so far amount to. The zero State is not usable; see NewState.
type State struct {
	Trust       identity.Trust
	Listed      []Listed
	ReadKeys    []ReadKey
	Heads       map[string][]Head // of each log, in order of commits
	Acks        []Ack
	Policies    []InForce
	Divergences []Divergence

	log      note.Verifier
	root     note.Verifier
	frontier merkle.Frontier
	known    map[commit.Hex32]bool  // entries already in the log
	roots    map[uint64]merkle.Hash // by size, at the ends of objects
}

// Listed is an entry of the log with its verdict.
type Listed struct {
	Entry
	Index        uint64
	Hash         commit.Hex32
	Unauthorised error // why it has no effect; nil if it has
}

// InForce is a policy and the size of the log from which on it holds.
type InForce struct {
	Size uint64
	*Policy
}

// NewState starts from the trust file.
func NewState(t identity.Trust) (*State, error) {
	log, err := t.LogVerifier()
	if err != nil {
		return nil, fmt.Errorf("trust file: control log key: %w", err)
	}
	root, err := t.RootVerifier()
	if err != nil {
		return nil, fmt.Errorf("trust file: policy root: %w", err)
	}
	return &State{Trust: t, log: log, root: root, Heads: map[string][]Head{}, known: map[commit.Hex32]bool{}, roots: map[uint64]merkle.Hash{}}, nil
}

// Size is the number of entries.
func (s *State) Size() uint64 { return s.frontier.Size() }

// Has reports whether an entry is in the log.
func (s *State) Has(entry string) bool { return s.known[sha256.Sum256([]byte(entry))] }

// HasHash reports whether the entry with this SHA-256 is in the log.
func (s *State) HasHash(sum commit.Hex32) bool { return s.known[sum] }

// Policy is the newest policy, nil before the first.
func (s *State) Policy() *Policy { return s.PolicyAt(s.Size()) }

// PolicyAt is the policy in force when the log had the given size.
func (s *State) PolicyAt(size uint64) *Policy {
	for i := len(s.Policies) - 1; i >= 0; i-- {
		if s.Policies[i].Size <= size {
			return s.Policies[i].Policy
		}
	}
	return nil
}

// apply takes an entry into the state, or lists it as not authorised.
func (s *State) apply(file string) {
	hash := commit.Hex32(sha256.Sum256([]byte(file)))
	l := Listed{Index: s.Size(), Hash: hash}
	e, err := s.open(file)
	if e != nil {
		l.Entry = *e
	}
	s.frontier.Append(merkle.LeafHash([]byte(file)))
	s.known[hash] = true
	if err == nil {
		err = s.effect(e)
	}
	l.Unauthorised = err
	s.Listed = append(s.Listed, l)
}

// Check reports whether an entry would have an effect now: who signed it, and whether they may.
func (s *State) Check(file string) error {
	_, err := s.open(file)
	return err
}

func (s *State) open(file string) (*Entry, error) {
	e, err := peek(file)
	if err != nil {
		return nil, err
	}
	if e.Archive != s.Trust.Archive {
		return e, errors.New("control: entry is for another archive")
	}
	v, err := s.verifier(e)
	if err != nil {
		return e, err
	}
	if _, err := note.Open([]byte(file), note.VerifierList(v)); err != nil {
		return e, fmt.Errorf("control: %s entry: %w", e.Type, err)
	}
	return e, nil
}

// verifier is the key that may write e: the one of its signer, if the policy lets it.
func (s *State) verifier(e *Entry) (note.Verifier, error) {
	root := e.By == s.root.Name()
	var key string
	p := s.Policy()
	switch e.Type {
	case TypePolicy, TypeReadKey:
		if root {
			return s.root, nil
		}
	case TypeProbe:
		if root {
			return s.root, nil
		}
		key = p.compactor(s.Trust.Name, e.By)
	case TypeAck:
		if root {
			return s.root, nil
		}
		key = p.reader(s.Trust.Name, e.By)
	case TypeDisclosure:
		key = p.reader(s.Trust.Name, e.By)
	case TypeHeads, TypeQuarantine, TypeDivergence:
		key = p.compactor(s.Trust.Name, e.By)
	default:
		return nil, fmt.Errorf("control: entries of type %q are not known here; a newer stele may know them", e.Type)
	}
	if key == "" {
		return nil, fmt.Errorf("control: %s may not write %s entries", e.By, e.Type)
	}
	return note.NewVerifier(key)
}

// effect takes an authorised entry into the state.
func (s *State) effect(e *Entry) error {
	switch e.Type {
	case TypePolicy:
		p := new(Policy)
		if err := e.Into(p); err != nil {
			return err
		}
		if old := s.Policy(); old != nil && p.Version != old.Version+1 || old == nil && p.Version != 1 {
			return fmt.Errorf("control: policy version %d does not follow", p.Version)
		}
		s.Policies = append(s.Policies, InForce{s.Size(), p})
	case TypeReadKey:
		var k ReadKey
		if err := e.Into(&k); err != nil {
			return err
		}
		s.ReadKeys = append(s.ReadKeys, k)
	case TypeHeads:
		var h Heads
		if err := e.Into(&h); err != nil {
			return err
		}
		for _, head := range h.Heads {
			s.Heads[head.Log] = append(s.Heads[head.Log], head)
		}
	case TypeDivergence:
		var d Divergence
		if err := e.Into(&d); err != nil {
			return err
		}
		s.Divergences = append(s.Divergences, d)
	case TypeAck:
		var a Ack
		if err := e.Into(&a); err != nil {
			return err
		}
		s.Acks = append(s.Acks, a)
	}
	return nil
}

// Commits verifies commit files made when the control log had the given size.
func (s *State) Commits(size uint64) (note.Verifiers, error) {
	p := s.PolicyAt(size)
	if p == nil || size > s.Size() {
		return nil, fmt.Errorf("control: no policy at size %d", size)
	}
	var vs []note.Verifier
	for _, c := range p.Compactors {
		v, err := note.NewVerifier(c.Key)
		if err != nil {
			return nil, fmt.Errorf("control: key of compactor %s: %w", c.Name, err)
		}
		vs = append(vs, v)
	}
	return note.VerifierList(vs...), nil
}

// MayCommit reports whether the newest policy names a compactor with this key name.
func (s *State) MayCommit(by string) bool { return s.Policy().compactor(s.Trust.Name, by) != "" }

// Accepts reports whether the newest policy lets commit n of log, signed under the key name by, stand.
func (s *State) Accepts(by, log string, n uint64) bool {
	for _, r := range s.Policy().Revoked {
		v, err := note.NewVerifier(r.Key)
		if err != nil || v.Name() != by {
			continue
		}
		if last, ok := r.Last[log]; !ok || n > last {
			return false
		}
	}
	return true
}

// Service returns the name of the writer that holds a service key and may open a stream, by the policy at size.
func (s *State) Service(key ed25519.PublicKey, size uint64) (string, error) {
	p := s.PolicyAt(size)
	if p == nil {
		return "", errors.New("no access policy yet")
	}
	for _, w := range p.Writers {
		if bytes.Equal(w.Key, key) {
			if w.Revoked != nil {
				return w.Name, fmt.Errorf("writer %s was revoked on %s", w.Name, w.Revoked.Format("2006-01-02"))
			}
			return w.Name, nil
		}
	}
	return "", errors.New("the service key is in no policy")
}

// ReaderKey is the vkey of the reader with a key name, "" if the newest policy knows none.
func (s *State) ReaderKey(by string) string { return s.Policy().reader(s.Trust.Name, by) }

// Class returns a retention class of the policy; one that it does not name is treated as default.
func (p *Policy) Class(name string) Class {
	for _, c := range p.Classes {
		if c.Name == name {
			return c
		}
	}
	return Class{Name: name, Keep: p.Lock.Keep}
}

// Longest is how long the longest-kept class is kept: as long as that, commits, indexes and the control log are needed.
func (p *Policy) Longest() time.Duration {
	keep := p.Lock.Keep
	for _, c := range p.Classes {
		keep = max(keep, c.Keep)
	}
	return keep.Duration()
}

func (p *Policy) compactor(archive, by string) string {
	if p == nil {
		return ""
	}
	for _, c := range p.Compactors {
		if identity.KeyName(archive, "compactor", c.Name) == by {
			return c.Key
		}
	}
	return ""
}

func (p *Policy) reader(archive, by string) string {
	if p == nil {
		return ""
	}
	for _, r := range p.Readers {
		if identity.KeyName(archive, "reader", r.Name) == by {
			return r.Sign
		}
	}
	return ""
}

func strictJSON(raw []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}
