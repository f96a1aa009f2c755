package evidence

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/keyring"
)

// aboutErasures are entries about requests and erasures, by the hash of those, in their order: each is read once, however many there are.
type aboutErasures struct {
	requests    map[commit.Hex32]*entryGroup
	approvals   map[commit.Hex32][]*entryGroup
	supplements map[commit.Hex32][]supplement
	destroyed   map[commit.Hex32][]destruction
	last        map[commit.Hex32]*entryGroup // the last erasure for a request
}

type supplement struct {
	*entryGroup
	control.Supplement
}

type destruction struct {
	*entryGroup
	control.Destroyed
}

// gatherErasures sorts the entries that are in the control log.
func (c *checker) gatherErasures() error {
	c.about = aboutErasures{map[commit.Hex32]*entryGroup{}, map[commit.Hex32][]*entryGroup{}, map[commit.Hex32][]supplement{}, map[commit.Hex32][]destruction{}, map[commit.Hex32]*entryGroup{}}
	for _, g := range c.entries {
		if g.proof == nil {
			continue
		}
		if err := c.about.add(g); err != nil {
			return &FailedError{g.number, false, err}
		}
	}
	return nil
}

func (a *aboutErasures) add(g *entryGroup) error {
	switch g.entry.Type {
	case control.TypeErased:
		var e control.Erased
		if err := g.entry.Into(&e); err != nil {
			return err
		}
		for _, o := range e.Requests {
			a.last[o.Request] = g
		}
	case control.TypeRequest:
		a.requests[commit.Hash([]byte(g.file))] = g
	case control.TypeApprove:
		var d control.Decision
		if err := g.entry.Into(&d); err != nil {
			return err
		}
		a.approvals[d.Request] = append(a.approvals[d.Request], g)
	case control.TypeSupplement:
		u := supplement{entryGroup: g}
		if err := g.entry.Into(&u.Supplement); err != nil {
			return err
		}
		if u.Request != nil {
			a.supplements[*u.Request] = append(a.supplements[*u.Request], u)
		}
	case control.TypeDestroyed:
		d := destruction{entryGroup: g}
		if err := g.entry.Into(&d.Destroyed); err != nil {
			return err
		}
		a.destroyed[d.Erased] = append(a.destroyed[d.Erased], d)
	}
	return nil
}

// lateFor are the supplements for requests, in the order of the log.
func (a *aboutErasures) lateFor(requests []control.Outcome) (all []supplement) {
	for _, o := range requests {
		all = append(all, a.supplements[o.Request]...)
	}
	slices.SortFunc(all, func(a, b supplement) int { return cmp.Compare(a.proof.Index, b.proof.Index) })
	return all
}

// erasedKey is the key of a scope as far as a path has it: the id, and half of the check value.
type erasedKey [32]byte

// goneKey is where the file says that a key went.
type goneKey struct {
	e    *erasure
	part *removedPart // nil if a list has it
}

// gatherGone finds what went, if there are records to ask for it.
func (c *checker) gatherGone() {
	c.gone = map[erasedKey][]goneKey{}
	asked := map[erasedKey]bool{}
	for _, r := range c.records {
		if r.scope != nil {
			asked[keyOf(r.scope.entry)] = true
		}
	}
	for _, e := range c.erased {
		if e.list != nil {
			for _, run := range e.list.Removed {
				for _, path := range run {
					c.went(asked, path, goneKey{e, nil})
				}
			}
		}
		for _, r := range e.erasure.removed {
			c.went(asked, r.path, goneKey{e, r})
		}
	}
}

func (c *checker) went(asked map[erasedKey]bool, path []byte, g goneKey) {
	if !keyring.IsScope(path) {
		return
	}
	if k := erasedKey(path[len(path)-len(erasedKey{}):]); asked[k] {
		c.gone[k] = append(c.gone[k], g)
	}
}

func keyOf(s *frame.ScopeEntry) (k erasedKey) {
	copy(k[copy(k[:], s.ID[:]):], s.KCV[:])
	return k
}

// forgotten says whether an erasure of the file took the key of a scope.
func (c *checker) forgotten(about string, s *frame.ScopeEntry) {
	all := c.gone[keyOf(s)]
	if len(all) == 0 {
		return
	}
	first := all[0].e
	for _, g := range all {
		if g.e == first && g.part != nil {
			g.part.used = true
		}
	}
	c.holds(about, whatForgotten, first.by, "its key went with "+first.about)
}

// late says what came after the erasure, and was destroyed on arrival. A record counts once for a request: a second entry about it has
// no effect in the log.
func (c *checker) late(e *erasure) error {
	type counted struct {
		request commit.Hex32
		root    control.RootRef
	}
	seen := map[counted]bool{}
	for _, u := range c.about.lateFor(e.Requests) {
		if u.used {
			continue
		}
		u.used = true
		if asked := c.about.requests[*u.Request]; u.Buried == 0 || u.Dead > 0 || len(u.Weeks) > 0 || asked != nil && u.proof.Index <= asked.proof.Index {
			return &FailedError{u.number, false, fmt.Errorf("a supplement that counts nothing for request %s, or comes before it", u.Request)}
		}
		this := counted{*u.Request, u.Root}
		if seen[this] {
			return &FailedError{u.number, false, fmt.Errorf("root record %d is counted twice for request %s", u.Root.N, u.Request)}
		}
		seen[this] = true
		key, err := c.signer(u.entryGroup, "keyservice")
		if err != nil {
			return &FailedError{u.number, false, err}
		}
		if key == nil {
			c.missing(e.about, whatLate, "that the access policy names "+u.entry.By)
			continue
		}
		c.holds(e.about, whatLate, keyName(key), fmt.Sprintf("%s granted too late, root record %d, %s, entry %d",
			count(u.Buried, "scope"), u.Root.N, stamp(u.entry.Time), u.proof.Index))
	}
	return nil
}
