package keyring

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/stelelog/stele/internal/keytrie"
)

// Located is a scope with the run that has it.
type Located struct {
	Scope
	Run int

	check [16]byte // as it is in the path; zero if the scope was made by somebody else
}

// Check is that of the scope.
func (l *Located) Check() [16]byte {
	if l.check == [16]byte{} {
		return l.Scope.Check()
	}
	return l.check
}

func (l *Located) path() []byte { return l.pathOf(l.Check()) }

// chunk is how many scopes are resolved at once.
const chunk = 2048

// Find returns the live scopes with these ids. An id can have several, of different streams: the check that a frame's
// writer signed says which one is meant.
func (r *Ring) Find(ctx context.Context, ids [][16]byte) ([]Located, error) {
	prefixes := scopePrefixes(ids)
	var out []Located
	for i := range r.Runs {
		entries, err := r.found(ctx, i, prefixes)
		if err != nil {
			return nil, err
		}
		if out, err = r.resolve(ctx, i, entries, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// found collects the scope entries of a run with some prefixes, and those that moved entries lead to.
func (r *Ring) found(ctx context.Context, run int, prefixes [][]byte) (found []stored, err error) {
	var moved [][]byte
	root := r.Runs[run].Keys
	collect := func(e keytrie.Entry) error {
		if !IsScope(e.Path) {
			if to := movedTo(e.Path); to != nil {
				moved = append(moved, to)
			}
			return nil
		}
		s, err := parseScope(e.Path, e.Value)
		if err != nil {
			return corrupt("run %d, path %x: %w", run, e.Path, err)
		}
		found = append(found, s)
		return nil
	}
	if err := r.keys().Visit(ctx, root, prefixes, collect); err != nil {
		return nil, err
	}
	if len(moved) == 0 {
		return found, nil
	}
	before := len(found)
	moved = sortSet(moved)
	if err := r.keys().Visit(ctx, root, moved, collect); err != nil {
		return nil, err
	}
	if len(found)-before != len(moved) {
		return nil, corrupt("run %d: %d moved paths lead to %d keys", run, len(moved), len(found)-before)
	}
	return found, nil
}

// resolve finds the streams of scopes and so proves each key by its check.
func (r *Ring) resolve(ctx context.Context, run int, found []stored, out []Located) ([]Located, error) {
	streams := streams{}
	var refs [][]byte
	for i := range found {
		ref := [4]byte(found[i].Encap[:4])
		if _, ok := streams[ref]; !ok {
			streams[ref], refs = nil, append(refs, join(indexStream, ref[:]))
		}
	}
	err := r.index().Visit(ctx, r.Runs[run].Index, sortSet(refs), streams.add)
	if err != nil {
		return nil, err
	}
	out = slices.Grow(out, len(found))
	for i := range found {
		if !streams.complete(&found[i]) {
			return nil, corrupt("run %d: the key of path %x does not give its check", run, found[i].pathOf(found[i].check))
		}
		out = append(out, Located{found[i].Scope, run, found[i].check})
	}
	return out, nil
}

// streams are index paths of streams, by the first bytes of the encapsulation.
type streams map[[4]byte][][33]byte

func (s streams) add(e keytrie.Entry) error {
	if len(e.Path) != 33 {
		return corrupt("index path %x", e.Path)
	}
	ref := [4]byte(e.Path[1:])
	s[ref] = append(s[ref], [33]byte(e.Path))
	return nil
}

// complete finds the encapsulation of a scope among those that begin as its value says.
func (s streams) complete(scope *stored) bool {
	for _, path := range s[[4]byte(scope.Encap[:4])] {
		if scope.complete(path[:]) {
			return true
		}
	}
	return false
}

// Tagged returns the live scopes that carry a tag.
func (r *Ring) Tagged(ctx context.Context, tag Tag) (out []Located, err error) {
	return collect(r.EachTagged(ctx, tag))
}

// EachTagged iterates over the live scopes that carry a tag, run by run, with some of them in memory. An error ends it.
func (r *Ring) EachTagged(ctx context.Context, tag Tag) iter.Seq2[Located, error] {
	return r.each(func(run int, yield func(Located, error) bool) error {
		if tag == (Tag{}) {
			return nil
		}
		c := chunks{r, run, yield}
		var leads [][]byte
		part := func() error {
			found, err := r.found(ctx, run, sortSet(leads))
			if leads = leads[:0]; err != nil {
				return err
			}
			return c.resolve(ctx, slices.DeleteFunc(found, func(s stored) bool { return !s.Tags.Has(tag) }))
		}
		err := r.leads(ctx, run, tag, func(lead []byte) error {
			if leads = append(leads, lead); len(leads) < chunk {
				return nil
			}
			return part()
		})
		if err == nil && len(leads) > 0 {
			err = part()
		}
		return err
	})
}

// chunks hands on the scopes of a run.
type chunks struct {
	ring  *Ring
	run   int
	yield func(Located, error) bool
}

func (c *chunks) resolve(ctx context.Context, found []stored) error {
	all, err := c.ring.resolve(ctx, c.run, found, nil)
	if err != nil {
		return err
	}
	for i := range all {
		if !c.yield(all[i], nil) {
			return errStop
		}
	}
	return nil
}

// each iterates run by run.
func (r *Ring) each(run func(i int, yield func(Located, error) bool) error) iter.Seq2[Located, error] {
	return func(yield func(Located, error) bool) {
		for i := range r.Runs {
			switch err := run(i, yield); {
			case errors.Is(err, errStop):
				return
			case err != nil:
				yield(Located{}, err)
				return
			}
		}
	}
}

func collect(all iter.Seq2[Located, error]) (out []Located, err error) {
	for l, err := range all {
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// leads calls f for the beginnings of key paths that the index of a run gives for a tag.
func (r *Ring) leads(ctx context.Context, run int, tag Tag, f func(lead []byte) error) error {
	index, root := r.index(), r.Runs[run].Index
	prefixes := [][]byte{join(indexStay, tag[:5])}
	days, err := index.Prefixes(ctx, root, []byte{indexExpire}, 3)
	if err != nil {
		return err
	}
	for _, day := range days {
		prefixes = append(prefixes, slices.Concat(day, tag[:5]))
	}
	return index.Visit(ctx, root, prefixes, func(e keytrie.Entry) error {
		if len(e.Path) != tagPathLen {
			return corrupt("index path %x", e.Path)
		}
		return f(leadsTo(e.Path))
	})
}

// EachOfDay iterates over the live scopes of classes that expire with this path day, run by run, with some of them in
// memory. An error ends it.
func (r *Ring) EachOfDay(ctx context.Context, day uint16) iter.Seq2[Located, error] {
	prefix := [][]byte{join(spaceExpire, be16(day))}
	return r.each(func(run int, yield func(Located, error) bool) error {
		c := chunks{r, run, yield}
		var found []stored
		err := r.keys().Visit(ctx, r.Runs[run].Keys, prefix, func(e keytrie.Entry) error {
			s, err := parseScope(e.Path, e.Value)
			if err != nil {
				return corrupt("run %d, path %x: %w", run, e.Path, err)
			}
			if found = append(found, s); len(found) < chunk {
				return nil
			}
			err = c.resolve(ctx, found)
			found = found[:0]
			return err
		})
		if err == nil {
			err = c.resolve(ctx, found)
		}
		return err
	})
}

// Days lists the path days of classes that expire, ascending.
func (r *Ring) Days(ctx context.Context) (days []uint16, err error) {
	err = r.heads(ctx, spaceExpire, func(head []byte) { days = append(days, be16of(head[1:])) })
	slices.Sort(days)
	return slices.Compact(days), err
}

// heads calls f for the different first three bytes of public paths of a space, run by run.
func (r *Ring) heads(ctx context.Context, space byte, f func(head []byte)) error {
	for i := range r.Runs {
		heads, err := r.keys().Prefixes(ctx, r.Runs[i].Keys, []byte{space}, 3)
		if err != nil {
			return err
		}
		for _, h := range heads {
			f(h)
		}
	}
	return nil
}

// All iterates over all live scopes, run by run. It holds the streams of one run in memory. An error ends it.
func (r *Ring) All(ctx context.Context) iter.Seq2[Located, error] {
	return func(yield func(Located, error) bool) {
		for i := range r.Runs {
			if !r.all(ctx, i, yield) {
				return
			}
		}
	}
}

func (r *Ring) all(ctx context.Context, run int, yield func(Located, error) bool) bool {
	streams := streams{}
	err := r.index().Visit(ctx, r.Runs[run].Index, [][]byte{{indexStream}}, streams.add)
	if err != nil {
		return yield(Located{}, err)
	}
	more := true
	err = r.keys().Visit(ctx, r.Runs[run].Keys, [][]byte{{spaceStay}, {spaceExpire}}, func(e keytrie.Entry) error {
		s, err := parseScope(e.Path, e.Value)
		if err != nil {
			return corrupt("run %d, path %x: %w", run, e.Path, err)
		}
		if !streams.complete(&s) {
			return corrupt("run %d: the key of path %x does not give its check", run, e.Path)
		}
		if more = yield(Located{s.Scope, run, s.check}, nil); !more {
			return errStop
		}
		return nil
	})
	if err != nil && more {
		yield(Located{}, err)
		return false
	}
	return more
}

var errStop = errors.New("stop")

// Intake returns the intake keys, by week.
func (r *Ring) Intake(ctx context.Context) (out []IntakeKey, err error) {
	err = r.public(ctx, [][]byte{{spaceIntake}}, func(_ int, e keytrie.Entry) error {
		k := IntakeKey{}
		if len(e.Path) != 19 || len(e.Value) != len(k.Seed) {
			return corrupt("intake path %x", e.Path)
		}
		k.Week = be16of(e.Path[1:])
		copy(k.Public[:], e.Path[3:])
		copy(k.Seed[:], e.Value)
		out = append(out, k)
		return nil
	})
	slices.SortFunc(out, func(a, b IntakeKey) int { return bytes.Compare(a.path(), b.path()) })
	return out, err
}

// Marks returns all tombstones and holds.
func (r *Ring) Marks(ctx context.Context) (stones []Tombstone, holds []Hold, err error) {
	for i := range r.Runs {
		err = r.index().Visit(ctx, r.Runs[i].Index, [][]byte{{indexTombstone}, {indexHold}}, func(e keytrie.Entry) error {
			if t, ok := tombstone(e.Path); ok {
				stones = append(stones, t)
			} else if e.Path[0] == indexHold && len(e.Path) == 29 {
				holds = append(holds, Hold{Tag(e.Path[1:13]), [16]byte(e.Path[13:])})
			} else {
				return corrupt("index path %x", e.Path)
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	slices.SortFunc(stones, func(a, b Tombstone) int { return bytes.Compare(a.path(), b.path()) })
	slices.SortFunc(holds, func(a, b Hold) int { return bytes.Compare(a.path(), b.path()) })
	return slices.Compact(stones), slices.Compact(holds), nil
}

// public visits the key tries of all runs.
func (r *Ring) public(ctx context.Context, prefixes [][]byte, f func(run int, e keytrie.Entry) error) error {
	for i := range r.Runs {
		err := r.keys().Visit(ctx, r.Runs[i].Keys, prefixes, func(e keytrie.Entry) error { return f(i, e) })
		if err != nil {
			return err
		}
	}
	return nil
}
