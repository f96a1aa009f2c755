package keyroot

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/keyring"
)

// Verifiers says which keys may sign records when the control log had a size. An error beside keys is about a record that one
// of them has signed; without keys it is about any, and one that wraps chain.ErrUndecided means that this cannot be said now.
type Verifiers func(control uint64) (note.Verifiers, error)

// State is what the records so far amount to. Not safe for concurrent use.
type State struct {
	archive     [16]byte
	last        *Record
	lastHash    commit.Hex32
	generations []Generation
	numbers     map[commit.Hex32]uint64     // of all records by hash
	hashes      map[uint64]commit.Hex32     // and the other way round
	live        map[uint64]recoverableState // records of the newest generation
	recoveries  []Recovered
}

// Recovered is a record that lets an older one stand in. Whether anybody approved it, the chain does not say.
type Recovered struct {
	N, Generation, Control uint64
	Time                   time.Time
	Stood                  Lost   // the older one
	Live, Had              uint64 // scopes of the older one, and of the record before this
	Recovery
}

// recoverableState is what a recovery from a record must give.
type recoverableState struct {
	held commit.Hex32 // hash over runs, packs and positions
	hash commit.Hex32
	live uint64
}

// held is what a record and one that stands in for it have in common.
func (r *Record) held() commit.Hex32 {
	h := sha256.New()
	for _, part := range []any{r.Runs, r.Packs, &r.Folded} {
		line, err := commit.MarshalLine(part)
		if err != nil {
			panic(err) // a record that was read can be written
		}
		h.Write([]byte(line))
	}
	return commit.Hex32(h.Sum(nil))
}

// NewState starts an empty chain.
func NewState(archive [16]byte) *State {
	return &State{archive: archive, numbers: map[commit.Hex32]uint64{}, hashes: map[uint64]commit.Hex32{},
		live: map[uint64]recoverableState{}}
}

// Last is the newest record that counts, with its hash; nil before the first.
func (s *State) Last() (*Record, commit.Hex32) { return s.last, s.lastHash }

// Generations lists all generations, oldest first.
func (s *State) Generations() []Generation { return s.generations }

// Recoveries lists the records that let older ones stand in, oldest first.
func (s *State) Recoveries() []Recovered { return s.recoveries }

// StandIns lists the records of the newest generation, the newest first: those that may stand in for it.
func (s *State) StandIns() (all []Lost) {
	for n, r := range s.live {
		all = append(all, Lost{n, r.hash})
	}
	slices.SortFunc(all, func(a, b Lost) int { return cmp.Compare(b.N, a.N) })
	return all
}

// Require reports whether a record is in the chain that somebody has seen there, the control log above all. The error
// wraps [ErrLost] if it is not.
func (s *State) Require(n uint64, hash commit.Hex32) error {
	if s.hashes[n] != hash {
		return fmt.Errorf("%w: record %d with hash %s", ErrLost, n, hash)
	}
	return nil
}

// Judge is the chain.Judge of root records that may be signed with some keys.
func (s *State) Judge(o chain.Object, by Verifiers) (burnt []uint64, accept func(), err error) {
	peek, err := Peek(o.Data)
	if err != nil {
		return nil, nil, err
	}
	keys, ahead := by(peek.Control)
	if keys == nil {
		return nil, nil, ahead
	}
	r, err := Parse(o.Data, keys)
	if err = cmp.Or(err, ahead); err != nil {
		return nil, nil, err
	}
	if r.N != o.N || r.Archive != s.archive {
		return nil, nil, fmt.Errorf("keyroot: this is record %d of archive %s", r.N, r.Archive)
	}
	if err := s.child(r); err != nil {
		return nil, nil, err
	}
	return r.Burnt, func() { s.accept(r, Hash(o.Data)) }, nil
}

// child checks that r may be the next record.
func (s *State) child(r *Record) error {
	if r.Prev != s.lastHash {
		err := fmt.Errorf("keyroot: record %d names the parent %s, not %s", r.N, r.Prev, s.lastHash)
		if _, known := s.numbers[r.Prev]; known || r.Prev == (commit.Hex32{}) {
			return fmt.Errorf("%w: %w", chain.ErrFork, err)
		}
		return fmt.Errorf("%w: %w", chain.ErrOrphan, err)
	}
	err := r.follows(s.last)
	if err == nil && r.Recovery != nil {
		err = s.recovers(r)
	}
	if err != nil {
		return fmt.Errorf("%w: record %d: %w", ErrRule, r.N, err)
	}
	return nil
}

// recovers checks that what stands in is a record of the same generation.
func (s *State) recovers(r *Record) error {
	from, ok := s.live[r.Recovery.From]
	switch {
	case !ok:
		return fmt.Errorf("record %d is none of generation %d", r.Recovery.From, r.Generation)
	case from.held != r.held() || from.live != r.Live:
		return fmt.Errorf("it does not have what record %d had", r.Recovery.From)
	case r.Live+r.Recovery.Missing < s.last.Live:
		return fmt.Errorf("%d keys are missing, and it says %d", s.last.Live-r.Live, r.Recovery.Missing)
	case r.Recovery.Approval == commit.Hex32{}:
		return errors.New("a recovery names its approval")
	case slices.ContainsFunc(s.recoveries, func(x Recovered) bool { return x.Approval == r.Recovery.Approval }):
		return fmt.Errorf("request %s was used already: each recovery needs its own", r.Recovery.Approval)
	}
	return nil
}

func (s *State) accept(r *Record, hash commit.Hex32) {
	if s.last == nil || s.last.Generation != r.Generation {
		s.generations = append(s.generations, Generation{r.Generation, r.N, r.Custody.Sets})
		clear(s.live)
	}
	if r.Recovery != nil {
		from := s.live[r.Recovery.From]
		s.recoveries = append(s.recoveries, Recovered{N: r.N, Generation: r.Generation, Control: r.Control, Time: r.Time, Stood: Lost{r.Recovery.From, from.hash},
			Live: from.live, Had: s.last.Live, Recovery: *r.Recovery})
	}
	s.live[r.N] = recoverableState{r.held(), hash, r.Live}
	s.numbers[hash], s.hashes[r.N] = r.N, hash
	s.last, s.lastHash = r, hash
}

// Next is a record to be: what [State.Build] cannot know. Custody is needed with Erased, and for the first record.
type Next struct {
	Ring     *keyring.Ring
	Top      *Top // of the generation that the record belongs to
	Packs    []Pack
	NextPack uint64
	Folded   commit.Source
	Live     uint64
	Control  uint64
	Time     time.Time
	Custody  *Custody
	Fold     *Fold
	Erased   *Erased
	Recovery *Recovery
}

// Build makes the file of the next record, to be put at number t.Next. It refuses what Judge would not accept. The file
// depends on the number: whoever loses it builds anew, from what won.
func (s *State) Build(t chain.Tail, x Next, random io.Reader, signer note.Signer) ([]byte, error) {
	r := &Record{Stele: version, Archive: s.archive, N: t.Next, Prev: s.lastHash, Burnt: t.Burnt, By: signer.Name(),
		Time: x.Time.UTC().Truncate(time.Second), Control: x.Control, Generation: 1, Folded: x.Folded, Live: x.Live,
		NextPack: x.NextPack, Packs: append([]Pack{}, x.Packs...), Fold: x.Fold, Erased: x.Erased, Recovery: x.Recovery}
	if s.last != nil {
		r.Generation, r.Custody = s.last.Generation, s.last.Custody
		if r.Time.Before(s.last.Time) {
			r.Time = s.last.Time // another clock
		}
	}
	if x.Erased != nil {
		r.Generation++
	}
	if x.Custody != nil {
		r.Custody = *x.Custody
	}
	if err := r.seal(x.Top, x.Ring, random); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := s.child(r); err != nil {
		return nil, err
	}
	line, err := commit.MarshalLine(r)
	if err != nil {
		return nil, err
	}
	file, err := note.Sign(&note.Note{Text: string(line)}, signer)
	if err == nil && len(file) > MaxLen {
		err = fmt.Errorf("keyroot: record of %d bytes", len(file))
	}
	return file, err
}
