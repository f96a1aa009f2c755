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
}

// Find returns the live scopes with these ids. An id can have several, of different streams: the check that a frame's
// writer signed says which one is meant.
func (r *Ring) Find(ctx context.Context, ids [][16]byte) ([]Located, error) {
	var prefixes [][]byte
	for _, id := range ids {
		prefixes = append(prefixes, ScopePrefixes(id)...)
	}
	prefixes = sortSet(prefixes)
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
func (r *Ring) found(ctx context.Context, run int, prefixes [][]byte) (entries []keytrie.Entry, err error) {
	var moved [][]byte
	root := r.Runs[run].Keys
	collect := func(e keytrie.Entry) error {
		if IsScope(e.Path) {
			entries = append(entries, e)
		} else if to := MovedTo(e.Path); to != nil {
			moved = append(moved, to)
		}
		return nil
	}
	if err := r.keys().Visit(ctx, root, prefixes, collect); err != nil {
		return nil, err
	}
	if len(moved) == 0 {
		return entries, nil
	}
	before := len(entries)
	moved = sortSet(moved)
	if err := r.keys().Visit(ctx, root, moved, collect); err != nil {
		return nil, err
	}
	if len(entries)-before != len(moved) {
		return nil, corrupt("run %d: %d moved paths lead to %d keys", run, len(moved), len(entries)-before)
	}
	return entries, nil
}

// resolve makes scopes of entries: it finds the streams and so proves each key by its check.
func (r *Ring) resolve(ctx context.Context, run int, entries []keytrie.Entry, out []Located) ([]Located, error) {
	parsed := make([]stored, 0, len(entries))
	var refs [][]byte
	for _, e := range entries {
		s, err := parseScope(e.Path, e.Value)
		if err != nil {
			return nil, corrupt("run %d, path %x: %w", run, e.Path, err)
		}
		parsed = append(parsed, s)
		refs = append(refs, join(indexStream, s.Encap[:4]))
	}
	streams := streams{}
	err := r.index().Visit(ctx, r.Runs[run].Index, sortSet(refs), streams.add)
	if err != nil {
		return nil, err
	}
	for i := range parsed {
		if !streams.complete(&parsed[i]) {
			return nil, corrupt("run %d: the key of path %x does not give its check", run, entries[i].Path)
		}
		out = append(out, Located{parsed[i].Scope, run})
	}
	return out, nil
}

// streams are index paths of streams, by the first bytes of the encapsulation.
type streams map[[4]byte][][]byte

func (s streams) add(e keytrie.Entry) error {
	if len(e.Path) != 33 {
		return corrupt("index path %x", e.Path)
	}
	ref := [4]byte(e.Path[1:])
	s[ref] = append(s[ref], e.Path)
	return nil
}

// complete finds the encapsulation of a scope among those that begin as its value says.
func (s streams) complete(scope *stored) bool {
	return slices.ContainsFunc(s[[4]byte(scope.Encap[:4])], scope.complete)
}

// Tagged returns the live scopes that carry a tag.
func (r *Ring) Tagged(ctx context.Context, tag Tag) (out []Located, err error) {
	if tag == (Tag{}) {
		return nil, nil
	}
	for i := range r.Runs {
		leads, err := r.leads(ctx, i, tag)
		if err != nil {
			return nil, err
		}
		from := len(out)
		entries, err := r.found(ctx, i, leads)
		if err != nil {
			return nil, err
		}
		if out, err = r.resolve(ctx, i, entries, out); err != nil {
			return nil, err
		}
		carries := slices.DeleteFunc(out[from:], func(l Located) bool { return !l.Tags.Has(tag) })
		out = out[:from+len(carries)]
	}
	return out, nil
}

// leads returns the beginnings of key paths that the index of a run gives for a tag.
func (r *Ring) leads(ctx context.Context, run int, tag Tag) (leads [][]byte, err error) {
	index, root := r.index(), r.Runs[run].Index
	prefixes := [][]byte{join(indexStay, tag[:5])}
	days, err := index.Prefixes(ctx, root, []byte{indexExpire}, 3)
	if err != nil {
		return nil, err
	}
	for _, day := range days {
		prefixes = append(prefixes, slices.Concat(day, tag[:5]))
	}
	err = index.Visit(ctx, root, prefixes, func(e keytrie.Entry) error {
		if len(e.Path) != 14 {
			return corrupt("index path %x", e.Path)
		}
		leads = append(leads, leadsTo(e.Path))
		return nil
	})
	return sortSet(leads), err
}

// Day returns the live scopes of classes that expire with this path day.
func (r *Ring) Day(ctx context.Context, day uint16) (out []Located, err error) {
	prefix := [][]byte{join(spaceExpire, be16(day))}
	for i := range r.Runs {
		entries, err := r.found(ctx, i, prefix)
		if err != nil {
			return nil, err
		}
		if out, err = r.resolve(ctx, i, entries, out); err != nil {
			return nil, err
		}
	}
	return out, nil
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
		if more = yield(Located{s.Scope, run}, nil); !more {
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
