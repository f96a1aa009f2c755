package keyring

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/stelelog/stele/internal/keytrie"
)

// Gate compares the version before an erasure with the one after it, both as they can be read from where their packs
// lie, with nothing of what made the second one. It returns nil if they differ by exactly what erased says and e asked
// for, every node that differs opens, and sample keys of those that stay, chosen with random bytes, give their checks.
// Nothing may be destroyed before.
func Gate(ctx context.Context, before, after *Ring, e *Erasure, erased *Erased, sample int, random io.Reader) error {
	g := gate{before: before, after: after}
	err := g.check(ctx, e, erased)
	if err == nil {
		err = g.after.Sample(ctx, sample, random)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrGate, err)
	}
	return nil
}

// EraseCache is how much memory opened nodes take at most in an erasure and its gate, in bytes: enough for all that ten
// thousand scopes all over a key store of 10⁶ lead to. What was made is read once, from where it lies.
const EraseCache = 64 << 20

type gate struct {
	before, after *Ring
	spent         [][]byte // paths that must be remembered of what goes
}

func (g *gate) check(ctx context.Context, e *Erasure, erased *Erased) error {
	n := len(g.before.Runs)
	if len(g.after.Runs) < n || len(g.after.Runs) > n+1 || len(erased.Removed) != n {
		return fmt.Errorf("%d runs became %d, with a list of %d", n, len(g.after.Runs), len(erased.Removed))
	}
	left := plan{weeks: map[uint16]bool{}}
	if err := g.after.heads(ctx, spaceIntake, func(head []byte) { left.weeks[be16of(head[1:])] = true }); err != nil {
		return err
	}
	for i := range n {
		tags, err := g.keys(ctx, i, erased.Removed[i], e, left.weeks)
		if err == nil {
			err = g.index(ctx, i, tags, e.ended(), func(t *Tombstone) bool { return left.ends(t) && !slices.Contains(e.Keep, *t) })
		}
		if err != nil {
			return fmt.Errorf("run %d: %w", i, err)
		}
	}
	if !slices.EqualFunc(sortSet(g.spent), erased.Spent, bytes.Equal) {
		return fmt.Errorf("%d grants of what goes could be opened again, and the list has %d or other ones", len(g.spent), len(erased.Spent))
	}
	added := Ring{Archive: g.after.Archive, Packs: g.after.Packs, Runs: g.after.Runs[n:]}
	return added.holdsOnly(ctx, erased.Spent, e.marks())
}

// wanted are the paths of the scopes of a run that are to go.
func (e *Erasure) wanted(run int) (paths [][]byte) {
	for i := range e.Scopes {
		if e.Scopes[i].Run == run {
			paths = append(paths, e.Scopes[i].path())
		}
	}
	return sortSet(paths)
}

// tagsGone are index paths of the scopes that a run loses.
type tagsGone struct {
	paths [][]byte        // sorted
	stay  map[string]bool // those that scopes have which stay
}

// keys checks that a key trie lost the paths of the list and nothing else, and that those are what was to go, whatever the
// list says. weeks are those that intake keys are left of.
func (g *gate) keys(ctx context.Context, i int, list [][]byte, e *Erasure, weeks map[uint16]bool) (tags tagsGone, err error) {
	want, rest := e.wanted(i), list
	beside := besideOf(list)
	tags.stay = beside.tags
	err = keytrie.Compare(ctx, g.before.keys(), g.before.Runs[i].Keys, g.after.keys(), g.after.Runs[i].Keys, beside.trie(), func(was, is keytrie.Entry) error {
		switch {
		case was.Path == nil:
			return fmt.Errorf("path %x was added", is.Path)
		case is.Path != nil:
			return fmt.Errorf("the value of path %x was changed", was.Path)
		case len(rest) == 0 || !bytes.Equal(rest[0], was.Path):
			return fmt.Errorf("path %x would go, and is not in the list", was.Path)
		}
		rest = rest[1:]
		if !IsScope(was.Path) {
			return e.forgets(was.Path, list, weeks)
		}
		s, err := parseScope(was.Path, was.Value)
		if err != nil {
			return err
		}
		if len(want) > 0 && bytes.Equal(want[0], was.Path) {
			want = want[1:]
		} else if !s.Expires || !slices.Contains(e.Days, s.Day) {
			return fmt.Errorf("scope %x with check %x would go, and nobody asked for that", s.ID, s.check)
		}
		tags.paths = append(tags.paths, s.tagPaths()...)
		if weeks[s.Week] {
			spent := Spent{s.Week, s.ID, s.check}
			g.spent = append(g.spent, spent.path())
		}
		return nil
	})
	switch {
	case err != nil:
	case len(rest) > 0:
		err = fmt.Errorf("path %x of the list is still there, or never was", rest[0])
	case len(want) > 0:
		err = fmt.Errorf("path %x was to go, and stays", want[0])
	}
	tags.paths = sortSet(tags.paths)
	return tags, err
}

// forgets is an error about a path of no scope that is not to go. weeks are those that intake keys are left of.
func (e *Erasure) forgets(path []byte, list [][]byte, weeks map[uint16]bool) error {
	switch week := be16of(path[1:]); {
	case path[0] == spaceIntake && slices.Contains(e.Weeks, week), path[0] == spaceSpent && !weeks[week]:
		return nil
	}
	if to := movedTo(path); to != nil {
		if _, goes := slices.BinarySearchFunc(list, to, bytes.Compare); goes {
			return nil
		}
	}
	return fmt.Errorf("path %x would go, and is still needed", path)
}

// index checks that an index trie lost the tags of the scopes that are gone, the marks that end, and nothing else.
func (g *gate) index(ctx context.Context, i int, tags tagsGone, marks [][]byte, ends func(*Tombstone) bool) error {
	rest := tags.paths
	err := keytrie.Compare(ctx, g.before.index(), g.before.Runs[i].Index, g.after.index(), g.after.Runs[i].Index, nil, func(was, is keytrie.Entry) error {
		if was.Path == nil || is.Path != nil {
			return fmt.Errorf("index path %x was added", is.Path)
		}
		if t, is := tombstone(was.Path); is {
			if !ends(&t) {
				return fmt.Errorf("tombstone %x would go, and there are grants that it is for", was.Path)
			}
			return nil
		}
		for len(rest) > 0 && bytes.Compare(rest[0], was.Path) < 0 {
			if err := tags.remains(rest[0]); err != nil {
				return err
			}
			rest = rest[1:]
		}
		switch {
		case len(rest) > 0 && bytes.Equal(rest[0], was.Path):
			if rest = rest[1:]; tags.stay[string(was.Path)] {
				return fmt.Errorf("index path %x would go, and a scope that stays has it", was.Path)
			}
		case !slices.ContainsFunc(marks, func(m []byte) bool { return bytes.Equal(m, was.Path) }):
			return fmt.Errorf("index path %x would go, and nothing asks for it", was.Path)
		}
		return nil
	})
	for k := 0; k < len(rest) && err == nil; k++ {
		err = tags.remains(rest[k])
	}
	return err
}

// remains is an error about an index path that is still there, if no scope has it that is.
func (t *tagsGone) remains(path []byte) error {
	if t.stay[string(path)] {
		return nil
	}
	return fmt.Errorf("index path %x would stay, and no scope has it", path)
}

// holdsOnly checks that a ring has the spent paths and the marks, and nothing else.
func (r *Ring) holdsOnly(ctx context.Context, spent, marks [][]byte) error {
	for _, x := range []struct {
		trie *keytrie.Trie
		root func(*Run) keytrie.Root
		want [][]byte
	}{
		{r.keys(), func(run *Run) keytrie.Root { return run.Keys }, spent},
		{r.index(), func(run *Run) keytrie.Root { return run.Index }, marks},
	} {
		want := x.want
		for i := range r.Runs {
			for e, err := range x.trie.All(ctx, x.root(&r.Runs[i])) {
				if err != nil {
					return err
				}
				if len(want) == 0 || !bytes.Equal(want[0], e.Path) || len(e.Value) > 0 {
					return fmt.Errorf("path %x was added", e.Path)
				}
				want = want[1:]
			}
		}
		if len(want) > 0 {
			return fmt.Errorf("path %x was not added", want[0])
		}
	}
	return nil
}

// Sample opens n keys at random and checks that they give the checks in their paths.
func (r *Ring) Sample(ctx context.Context, n int, random io.Reader) error {
	total := r.Count()
	for range n {
		if total == 0 {
			return nil
		}
		var b [8]byte
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return fmt.Errorf("random bytes: %w", err)
		}
		at := binary.LittleEndian.Uint64(b[:]) % total
		for i := range r.Runs {
			count := r.Runs[i].Keys.Count
			if at >= count {
				at -= count
				continue
			}
			e, err := r.keys().At(ctx, r.Runs[i].Keys, at)
			if err == nil && IsScope(e.Path) {
				var s stored
				if s, err = parseScope(e.Path, e.Value); err != nil {
					return corrupt("run %d, path %x: %w", i, e.Path, err)
				}
				_, err = r.resolve(ctx, i, []stored{s}, nil)
			}
			if err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// CheckFold compares the version before a fold with the one after it, as both can be read: everything is there that
// was there or is in the batch, and nothing else; every key that was moved into the new run gives its check. It reads
// what was merged, not the rest.
func CheckFold(ctx context.Context, before, after *Ring, b Batch) error {
	if err := checkFold(ctx, before, after, b); err != nil {
		return fmt.Errorf("%w: %w", ErrGate, err)
	}
	return nil
}

func checkFold(ctx context.Context, before, after *Ring, b Batch) error {
	keys, err := b.keys()
	if err != nil {
		return err
	}
	index := b.index()
	from := len(after.Runs) - 1
	if len(keys)+len(index) == 0 && len(after.Runs) == len(before.Runs) {
		from++
	}
	if from < 0 || from > len(before.Runs) {
		return fmt.Errorf("%d runs became %d", len(before.Runs), len(after.Runs))
	}
	for i := range from {
		g := gate{before: before, after: after}
		if _, err := g.keys(ctx, i, nil, &Erasure{}, nil); err != nil {
			return err
		}
		if err := g.index(ctx, i, tagsGone{}, nil, func(*Tombstone) bool { return false }); err != nil {
			return err
		}
	}
	if from == len(after.Runs) {
		return nil
	}
	run := after.Runs[from]
	err = equal(before.allKeys(ctx, before.Runs[from:], keys), after.keys().All(ctx, run.Keys))
	if err != nil {
		return err
	}
	used := map[[4]byte]bool{}
	for _, err := range noting(used, after.keys().All(ctx, run.Keys)) {
		if err != nil {
			return err
		}
	}
	err = equal(without(used, before.allIndex(ctx, before.Runs[from:], index)), after.index().All(ctx, run.Index))
	if err != nil {
		return err
	}
	moved := Ring{Archive: after.Archive, Packs: after.Packs, Runs: after.Runs[from:]}
	for _, err := range moved.All(ctx) {
		if err != nil {
			return err
		}
	}
	return nil
}

var errDiffer = errors.New("a merge lost, added or changed something")

func equal(want, got iter.Seq2[keytrie.Entry, error]) error {
	next, stop := iter.Pull2(got)
	defer stop()
	for x, err := range want {
		if err != nil {
			return err
		}
		y, err, more := next()
		if err != nil {
			return err
		}
		if !more || !bytes.Equal(x.Path, y.Path) || !bytes.Equal(x.Value, y.Value) {
			return fmt.Errorf("%w: at path %x", errDiffer, x.Path)
		}
	}
	if y, err, more := next(); more {
		return errors.Join(fmt.Errorf("%w: path %x", errDiffer, y.Path), err)
	}
	return nil
}
