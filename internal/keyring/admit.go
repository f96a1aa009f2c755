package keyring

import (
	"bytes"
	"context"
	"slices"

	"github.com/stelelog/stele/internal/keytrie"
)

// Verdict is what becomes of a grant that was opened.
type Verdict uint8

// The verdicts, see docs/formats/keys.md, Folding.
const (
	Added    Verdict = iota // its key belongs in the next fold
	Repeated                // it is there already
	Replayed                // its key was erased: a copy of the grant came back
	Refused                 // the stream granted another key under this id, or the encapsulation is another stream's
	Buried                  // a tombstone destroys it: its Spent belongs in the next fold
)

// Admission judges grants for one fold, in several calls: what was admitted before counts as there. It holds what it has
// admitted in memory. Not safe for concurrent use.
type Admission struct {
	HoldAll  bool   // there is a hold of which nobody knows what it holds: nothing is buried
	Released []Hold // that are there, and hold nothing any more
	// Retained says that the minimum retention of a scope is not over: it is not buried. Nil: there is none.
	Retained func(*Scope) bool

	ring  *Ring
	weeks [][]byte // heads of spent paths in the ring, nil before they were looked up

	spent   map[grantKey]bool
	known   map[[16]byte][]*Scope
	streams map[[16]byte][16]byte // by encapsulation, of what is known
	marks   marks

	now judged
}

// judged is what the ring has of the grants that are judged now.
type judged struct {
	gone    map[grantKey]bool // as spent
	live    map[[16]byte][]*Scope
	streams map[[16]byte][16]byte
}

// grantKey names a key: who knows it can have it wrapped to the intake key of more than one week.
type grantKey struct{ id, check [16]byte }

// Admission begins to judge the grants of the next fold.
func (r *Ring) Admission() *Admission {
	return &Admission{ring: r, spent: map[grantKey]bool{}, known: map[[16]byte][]*Scope{}, streams: map[[16]byte][16]byte{}, marks: marks{}}
}

// Admit judges grants in the order in which the transport has them. Scopes are placed, and must not change afterwards. Whether the intake
// key of the week was there, and whether the grant was Stale, comes before.
func (a *Admission) Admit(ctx context.Context, scopes []Scope) ([]Verdict, error) {
	a.now = judged{map[grantKey]bool{}, map[[16]byte][]*Scope{}, map[[16]byte][16]byte{}}
	if err := a.load(ctx, a.ring, scopes); err != nil {
		return nil, err
	}
	out := make([]Verdict, len(scopes))
	for i := range scopes {
		out[i] = a.judge(&scopes[i])
	}
	return out, nil
}

func (a *Admission) load(ctx context.Context, r *Ring, scopes []Scope) error {
	var ids [][16]byte
	for i := range scopes {
		ids = append(ids, scopes[i].ID)
	}
	live, err := r.Find(ctx, ids)
	if err != nil {
		return err
	}
	for i := range live {
		a.now.live[live[i].ID] = append(a.now.live[live[i].ID], &live[i].Scope)
	}
	if err := a.loadSpent(ctx, r, scopes); err != nil {
		return err
	}
	if err := a.loadStreams(ctx, r, scopes); err != nil {
		return err
	}
	return a.marks.load(ctx, r, scopes, a.Released)
}

// loadSpent looks for the keys among those that were erased, whatever week they had come in.
func (a *Admission) loadSpent(ctx context.Context, r *Ring, scopes []Scope) error {
	if a.weeks == nil {
		a.weeks = [][]byte{}
		if err := r.heads(ctx, spaceSpent, func(head []byte) { a.weeks = append(a.weeks, bytes.Clone(head)) }); err != nil {
			a.weeks = nil
			return err
		}
		a.weeks = sortSet(a.weeks)
	}
	var paths [][]byte
	for i := range scopes {
		check := scopes[i].Check()
		for _, week := range a.weeks {
			paths = append(paths, slices.Concat(week, scopes[i].ID[:], check[:]))
		}
	}
	return r.public(ctx, sortSet(paths), func(_ int, e keytrie.Entry) error {
		id, check, _ := SpentScope(e.Path)
		a.now.gone[grantKey{id, check}] = true
		return nil
	})
}

// loadStreams looks up of which streams the encapsulations are.
func (a *Admission) loadStreams(ctx context.Context, r *Ring, scopes []Scope) error {
	var paths [][]byte
	for i := range scopes {
		paths = append(paths, join(indexStream, scopes[i].Encap[:]))
	}
	paths = sortSet(paths)
	for i := range r.Runs {
		err := r.index().Visit(ctx, r.Runs[i].Index, paths, func(e keytrie.Entry) error {
			if len(e.Path) != 33 {
				return corrupt("index path %x", e.Path)
			}
			a.now.streams[[16]byte(e.Path[1:])] = [16]byte(e.Path[17:])
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *Admission) judge(s *Scope) Verdict {
	key := grantKey{s.ID, s.Check()}
	if a.spent[key] || a.now.gone[key] {
		return Replayed
	}
	there := slices.Concat(a.now.live[s.ID], a.known[s.ID])
	for _, k := range there {
		if k.Check() == key.check {
			return Repeated
		}
	}
	for _, k := range there {
		if k.Stream == s.Stream {
			return Refused
		}
	}
	if a.ofAnother(s) {
		return Refused
	}
	if !a.HoldAll && a.marks.buries(s) && (a.Retained == nil || !a.Retained(s)) {
		a.spent[key] = true
		return Buried
	}
	a.known[s.ID] = append(a.known[s.ID], s)
	a.streams[s.Encap] = s.Stream
	return Added
}

// ofAnother reports whether the encapsulation is another stream's. A value has the beginning of its id only: with two streams
// under it nobody could tell any more whose key it is, and the other one's would not open.
func (a *Admission) ofAnother(s *Scope) bool {
	for _, streams := range []map[[16]byte][16]byte{a.streams, a.now.streams} {
		if stream, known := streams[s.Encap]; known && stream != s.Stream {
			return true
		}
	}
	return false
}

// BuriedBy lists the requests, ascending, under whose tombstones a scope that Admit said Buried of came.
func (a *Admission) BuriedBy(s *Scope) (requests [][32]byte) {
	for _, t := range s.Tags {
		for _, stone := range a.marks[t].stones {
			if t != (Tag{}) && s.Start <= stone.Cutoff && stone.Request != [32]byte{} {
				requests = append(requests, stone.Request)
			}
		}
	}
	slices.SortFunc(requests, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(requests)
}

// marks are tombstones and holds by tag: what the tombstones are, and whether there is a hold.
type marks map[Tag]mark

type mark struct {
	stones []Tombstone
	held   bool
}

// load reads the marks on the tags of some scopes, but for holds that were released.
func (m marks) load(ctx context.Context, r *Ring, scopes []Scope, released []Hold) error {
	var prefixes [][]byte
	for i := range scopes {
		for _, t := range scopes[i].Tags {
			if t != (Tag{}) {
				prefixes = append(prefixes, join(indexTombstone, t[:]), join(indexHold, t[:]))
			}
		}
	}
	prefixes = sortSet(prefixes)
	for i := range r.Runs {
		err := r.index().Visit(ctx, r.Runs[i].Index, prefixes, func(e keytrie.Entry) error {
			stone, ok := tombstone(e.Path)
			if !ok && e.Path[0] != indexHold || len(e.Path) < 13 {
				return corrupt("index path %x", e.Path)
			}
			tag := Tag(e.Path[1:13])
			k := m[tag]
			if !ok {
				k.held = k.held || !slices.ContainsFunc(released, func(h Hold) bool { return bytes.Equal(h.path(), e.Path) })
			} else if !slices.Contains(k.stones, stone) {
				k.stones = append(k.stones, stone)
			}
			m[tag] = k
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (m marks) held(s *Scope) bool {
	return slices.ContainsFunc(s.Tags[:], func(t Tag) bool { return t != (Tag{}) && m[t].held })
}

func (m marks) denies(s *Scope) bool {
	return slices.ContainsFunc(s.Tags[:], func(t Tag) bool {
		return t != (Tag{}) && slices.ContainsFunc(m[t].stones, func(x Tombstone) bool { return s.Start <= x.Cutoff })
	})
}

// buries: what is held is denied, and stays.
func (m marks) buries(s *Scope) bool { return m.denies(s) && !m.held(s) }

// Denied reports for each scope whether a tombstone denies it to readers.
func (r *Ring) Denied(ctx context.Context, scopes []Scope) ([]bool, error) {
	return r.marked(ctx, scopes, marks.denies)
}

func (r *Ring) marked(ctx context.Context, scopes []Scope, is func(marks, *Scope) bool) ([]bool, error) {
	m := marks{}
	if err := m.load(ctx, r, scopes, nil); err != nil {
		return nil, err
	}
	out := make([]bool, len(scopes))
	for i := range scopes {
		out[i] = is(m, &scopes[i])
	}
	return out, nil
}

// Gone reports which of some scopes had keys that were erased, as far as that is remembered.
func (r *Ring) Gone(ctx context.Context, ids [][16]byte) (gone map[[16]byte]bool, err error) {
	var prefixes [][]byte
	err = r.heads(ctx, spaceSpent, func(head []byte) {
		for i := range ids {
			prefixes = append(prefixes, slices.Concat(head, ids[i][:]))
		}
	})
	if err != nil {
		return nil, err
	}
	gone = map[[16]byte]bool{}
	return gone, r.public(ctx, sortSet(prefixes), func(_ int, e keytrie.Entry) error {
		if len(e.Path) != scopePath {
			return corrupt("spent path %x", e.Path)
		}
		gone[[16]byte(e.Path[3:19])] = true
		return nil
	})
}
