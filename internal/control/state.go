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
	Heads       map[string][]LoggedHead // of each log, in order of entries
	Acks        []Ack
	Policies    []InForce
	Divergences []Divergence
	Requests    []*Request // in order; callers do not change them
	Holds       []*Hold    // as Requests
	KeyRoots    []LoggedKeyRoot
	Erasures    []LoggedErasure
	Expiries    []LoggedExpired
	Supplements []LoggedSupplement
	Lists       []LoggedLogs // of logs
	Former      []LoggedHead // of those who are compactors no longer; without effect

	log      note.Verifier
	root     note.Verifier
	frontier merkle.Frontier
	newest   map[string]map[string][]logHead // of each log and author, in order of entries and sizes
	known    map[commit.Hex32]bool           // entries already in the log
	roots    map[uint64]merkle.Hash          // by size, at the ends of objects
	made     map[string]bool                 // keys of the approvers of the first policy
	refused  map[commit.Hex32]bool
	refusals map[string]int // by day and author

	announced map[uint16]announced // intake keys, by week
	recovered uint64               // size of the log when the last recovery of the key store was done
	reckoning Reckoning
	revoked   map[string]revokedKey // by vkey
	dead      map[string]uint64     // generation, all before which are destroyed, by the key name of who says so
	levels    [][]merkle.Hash       // all complete nodes
	places    []Place
	rosters   []commit.Hex32 // entries of them, in order
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
	Size   uint64
	Entry  commit.Hex32 // that put it in force
	Single bool         // not decided by two approvers with keys that init did not make
	*Policy
}

// LoggedErasure is an erasure and its entry.
type LoggedErasure struct {
	Entry commit.Hex32
	Index uint64
	By    string
	Time  time.Time
	Erased
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
	return &State{Trust: t, log: log, root: root, Heads: map[string][]LoggedHead{}, newest: map[string]map[string][]logHead{}, known: map[commit.Hex32]bool{}, roots: map[uint64]merkle.Hash{},
		made: map[string]bool{}, refused: map[commit.Hex32]bool{}, refusals: map[string]int{},
		announced: map[uint16]announced{}, revoked: map[string]revokedKey{}, dead: map[string]uint64{}}, nil
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

// apply takes an entry of an object of the given time into the state, or lists it as not authorised.
func (s *State) apply(file string, at time.Time) {
	hash := commit.Hex32(sha256.Sum256([]byte(file)))
	l := Listed{Index: s.Size(), Hash: hash}
	e, err := s.open(file)
	if e != nil {
		l.Entry = *e
	}
	var effect func()
	if err == nil {
		effect, err = s.plan(&l, at)
	} else if e != nil && e.Archive == s.Trust.Archive && (e.Type == TypeLogs || e.Type == TypeHeads) {
		err = s.former(file, &l, err)
	}
	if s.known[hash] {
		err = refuse(whyReplayed, "it is in the log already")
	}
	s.levels = s.frontier.AppendLevels(s.levels, LeafHash(file))
	s.known[hash] = true
	if err == nil && effect != nil {
		effect()
	}
	l.Unauthorised = err
	s.Listed = append(s.Listed, l)
}

// Check reports whether an entry would have an effect if it came into the log now: who signed it, whether they may, and
// whether what it says can be. The error is a [*Refused]; made is the entry's own time.
func (s *State) Check(file string, now time.Time) (made time.Time, err error) {
	e, err := s.open(file)
	if err != nil {
		return made, err
	}
	_, err = s.plan(&Listed{Entry: *e, Index: s.Size(), Hash: sha256.Sum256([]byte(file))}, now)
	return e.Time, err
}

// Refused reports whether the log holds a refusal of the entry with this SHA-256.
func (s *State) Refused(sum commit.Hex32) bool { return s.refused[sum] }

// open reads an entry and verifies that its author may write such.
func (s *State) open(file string) (*Entry, error) {
	e, err := peek(file)
	if err != nil {
		return nil, refuse(whyInvalid, "%w", err)
	}
	if e.Archive != s.Trust.Archive {
		return e, refuse(whyArchive, "entry is for another archive")
	}
	v, err := s.verifier(e)
	if err != nil {
		return e, err
	}
	if _, err := note.Open([]byte(file), note.VerifierList(v)); err != nil {
		return e, refuse(whyAltered, "%s entry: %w", e.Type, err)
	}
	if !canonical([]byte(file)) {
		return e, refuse(whyAltered, "%s entry: not written as it must be", e.Type)
	}
	return e, nil
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

// Compactor is the key of the compactor with a key name, by the policy at size.
func (s *State) Compactor(by string, size uint64) (note.Verifier, error) {
	key := s.PolicyAt(size).keyOf(s.Trust.Name, RoleCompactor, by)
	if key == "" {
		return nil, fmt.Errorf("control: %s was no compactor at size %d", by, size)
	}
	return note.NewVerifier(key)
}

// MayCommit reports whether the newest policy names a compactor with this key name.
func (s *State) MayCommit(by string) bool {
	return s.Policy().keyOf(s.Trust.Name, RoleCompactor, by) != ""
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

// DeadBefore is the generation all before which are destroyed, as the key service with a key name has said; 0 if it has not.
func (s *State) DeadBefore(by string) uint64 { return s.dead[by] }

// ReaderKey is the vkey of the reader with a key name, "" if the newest policy knows none.
func (s *State) ReaderKey(by string) string { return s.Policy().keyOf(s.Trust.Name, RoleReader, by) }

func strictJSON(raw []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}
