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
	g := gate{before: before, after: after.Cached(EraseNodes)} // what was made is read from where it lies
	err := g.check(ctx, e, erased)
	if err == nil {
		err = g.after.Sample(ctx, sample, random)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrGate, err)
	}
	return nil
}

// EraseNodes is how many opened nodes an erasure, and its gate, keep at most, each of some kilobytes: enough for ten thousand
// scopes all over a key store of 10⁶.
const EraseNodes = 1 << 16

type gate struct{ before, after *Ring }

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
		scopes, err := g.keys(ctx, i, erased.Removed[i])
		if err == nil {
			err = e.exactly(i, scopes)
		}
		if err == nil {
			err = g.index(ctx, i, scopes, e.ended(), left.ends)
		}
		if err != nil {
			return fmt.Errorf("run %d: %w", i, err)
		}
	}
	added := Ring{Archive: g.after.Archive, Packs: g.after.Packs, Runs: g.after.Runs[n:]}
	return added.holdsOnly(ctx, erased.Spent, e.marks())
}

// exactly checks that the scopes that a run lost are those that were to go, whatever the list says.
func (e *Erasure) exactly(run int, gone []stored) error {
	want := map[string]bool{}
	for i := range e.Scopes {
		if e.Scopes[i].Run == run {
			want[string(e.Scopes[i].path())] = true
		}
	}
	for i := range gone {
		s := &gone[i]
		path := string(s.pathOf(s.check))
		if !want[path] && !(s.Expires && slices.Contains(e.Days, s.Day)) {
			return fmt.Errorf("scope %x with check %x would go, and nobody asked for that", s.ID, s.check)
		}
		delete(want, path)
	}
	for path := range want {
		return fmt.Errorf("path %x was to go, and stays", path)
	}
	return nil
}

// keys checks that a key trie lost the paths of the list and nothing else, and returns the scopes among them.
func (g *gate) keys(ctx context.Context, i int, list [][]byte) (gone []stored, err error) {
	err = keytrie.Compare(ctx, g.before.keys(), g.before.Runs[i].Keys, g.after.keys(), g.after.Runs[i].Keys, func(was, is keytrie.Entry) error {
		switch {
		case was.Path == nil:
			return fmt.Errorf("path %x was added", is.Path)
		case is.Path != nil:
			return fmt.Errorf("the value of path %x was changed", was.Path)
		case len(list) == 0 || !bytes.Equal(list[0], was.Path):
			return fmt.Errorf("path %x would go, and is not in the list", was.Path)
		}
		list = list[1:]
		if !IsScope(was.Path) {
			return nil
		}
		s, err := parseScope(was.Path, was.Value)
		gone = append(gone, s)
		return err
	})
	if err == nil && len(list) > 0 {
		err = fmt.Errorf("path %x of the list is still there, or never was", list[0])
	}
	return gone, err
}

// index checks that an index trie lost the tags of the scopes that are gone, the marks that end, and nothing else.
func (g *gate) index(ctx context.Context, i int, gone []stored, marks [][]byte, ends func(*Tombstone) bool) error {
	want := map[string]bool{} // true: it is gone
	var near [][]byte
	for k := range gone {
		near = append(near, gone[k].near())
		for _, path := range gone[k].tagPaths() {
			want[string(path)] = false
		}
	}
	for _, path := range marks {
		want[string(path)] = false
	}
	err := keytrie.Compare(ctx, g.before.index(), g.before.Runs[i].Index, g.after.index(), g.after.Runs[i].Index, func(was, is keytrie.Entry) error {
		if was.Path == nil || is.Path != nil {
			return fmt.Errorf("index path %x was added", is.Path)
		}
		_, ok := want[string(was.Path)]
		if t, is := tombstone(was.Path); is {
			ok = ends(&t)
		}
		if !ok {
			return fmt.Errorf("index path %x would go, and nothing asks for it", was.Path)
		}
		want[string(was.Path)] = true
		return nil
	})
	if err != nil {
		return err
	}
	// What is left of the tags must be those of scopes that stay.
	err = g.after.keys().Visit(ctx, g.after.Runs[i].Keys, sortSet(near), func(e keytrie.Entry) error {
		s, err := parseScope(e.Path, e.Value)
		for _, path := range s.tagPaths() {
			if gone, ok := want[string(path)]; ok && gone {
				return fmt.Errorf("index path %x would go, and a scope that stays has it", path)
			}
			delete(want, string(path))
		}
		return err
	})
	for path, gone := range want {
		if !gone && path[0] != indexHold && path[0] != indexDeferred && err == nil { // another run has it
			err = fmt.Errorf("index path %x would stay, and no scope has it", path)
		}
	}
	return err
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
				_, err = r.resolve(ctx, i, []keytrie.Entry{e}, nil)
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
		g := gate{before, after}
		if _, err := g.keys(ctx, i, nil); err != nil {
			return err
		}
		if err := g.index(ctx, i, nil, nil, func(*Tombstone) bool { return false }); err != nil {
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
