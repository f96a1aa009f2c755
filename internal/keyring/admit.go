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
	Refused                 // the stream granted another key under this id
	Buried                  // a tombstone destroys it: its Spent belongs in the next fold
)

// Admission judges grants for one fold, in several calls: what was admitted before counts as there. It holds what it has
// admitted in memory. Not safe for concurrent use.
type Admission struct {
	HoldAll  bool   // there is a hold of which nobody knows what it holds: nothing is buried
	Released []Hold // that are there, and hold nothing any more

	ring  *Ring
	spent map[string]bool // paths
	known map[[16]byte][]*Scope
	gone  map[string]bool       // as spent, in the ring: of those that are judged now
	live  map[[16]byte][]*Scope // as known
	marks marks
}

// Admission begins to judge the grants of the next fold.
func (r *Ring) Admission() *Admission {
	return &Admission{ring: r, spent: map[string]bool{}, known: map[[16]byte][]*Scope{}, marks: marks{}}
}

// Admit judges grants in the order in which the transport has them. Scopes are placed, and must not change afterwards. Whether the intake
// key of the week was there, and whether the grant was Stale, comes before.
func (a *Admission) Admit(ctx context.Context, scopes []Scope) ([]Verdict, error) {
	a.gone, a.live = map[string]bool{}, map[[16]byte][]*Scope{}
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
	var spent [][]byte
	for i := range scopes {
		ids = append(ids, scopes[i].ID)
		s := scopes[i].Spent()
		spent = append(spent, s.path())
	}
	live, err := r.Find(ctx, ids)
	if err != nil {
		return err
	}
	for i := range live {
		a.live[live[i].ID] = append(a.live[live[i].ID], &live[i].Scope)
	}
	err = r.public(ctx, sortSet(spent), func(_ int, e keytrie.Entry) error {
		a.gone[string(e.Path)] = true
		return nil
	})
	if err != nil {
		return err
	}
	return a.marks.load(ctx, r, scopes, a.Released)
}

func (a *Admission) judge(s *Scope) Verdict {
	spent := s.Spent()
	path := string(spent.path())
	if a.spent[path] || a.gone[path] {
		return Replayed
	}
	check := s.Check()
	there := slices.Concat(a.live[s.ID], a.known[s.ID])
	for _, k := range there {
		if k.Check() == check {
			return Repeated
		}
	}
	for _, k := range there {
		if k.Stream == s.Stream {
			return Refused
		}
	}
	if !a.HoldAll && a.marks.buries(s) {
		a.spent[path] = true
		return Buried
	}
	a.known[s.ID] = append(a.known[s.ID], s)
	return Added
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
