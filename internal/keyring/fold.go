package keyring

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/keytrie"
)

// maxPacks is how many packs a run may name before nodes of the newer ones are written into few, besides those that it takes
// to hold so many paths, of which more than perPack are in each of these.
const (
	maxPacks = 32
	perPack  = 1 << 16
)

// Batch is what a fold adds: scopes that Admit said Added of, what was Buried as Spent, intake keys of coming weeks, marks.
type Batch struct {
	Scopes     []Scope
	Spent      []Spent
	Intake     []IntakeKey
	Tombstones []Tombstone
	Holds      []Hold
	Deferred   []Deferred
}

// keys are the entries of the batch in the key trie, sorted.
func (b *Batch) keys() ([]keytrie.Entry, error) {
	var out []keytrie.Entry
	for i := range b.Scopes {
		s := &b.Scopes[i]
		if len(s.Class) == 0 || len(s.Class) > maxClassLen {
			return nil, fmt.Errorf("keyring: scope %x has the class %q", s.ID, s.Class)
		}
		if day := keyscope.ScopeDay(s.ID); s.Day < day || !s.Expires && s.Day > day {
			return nil, fmt.Errorf("keyring: scope %x has no place", s.ID)
		}
		out = append(out, keytrie.Entry{Path: s.path(), Value: s.value()})
		if moved := s.moved(); moved != nil {
			out = append(out, keytrie.Entry{Path: moved})
		}
	}
	for i := range b.Deferred {
		if err := b.Deferred[i].check(); err != nil {
			return nil, err
		}
	}
	for i := range b.Spent {
		out = append(out, keytrie.Entry{Path: b.Spent[i].path()})
	}
	for i := range b.Intake {
		out = append(out, keytrie.Entry{Path: b.Intake[i].path(), Value: b.Intake[i].Seed[:]})
	}
	slices.SortFunc(out, func(a, b keytrie.Entry) int { return bytes.Compare(a.Path, b.Path) })
	for i := 1; i < len(out); i++ {
		if bytes.Equal(out[i-1].Path, out[i].Path) {
			return nil, fmt.Errorf("keyring: path %x is twice in a batch", out[i].Path)
		}
	}
	return out, nil
}

// index are the paths of the batch in the index trie.
func (b *Batch) index() []keytrie.Entry {
	var paths [][]byte
	for i := range b.Scopes {
		paths = append(append(paths, b.Scopes[i].tagPaths()...), b.Scopes[i].streamPath())
	}
	for i := range b.Tombstones {
		paths = append(paths, b.Tombstones[i].path())
	}
	for i := range b.Holds {
		paths = append(paths, b.Holds[i].path())
	}
	for i := range b.Deferred {
		paths = append(paths, b.Deferred[i].path())
	}
	var out []keytrie.Entry
	for _, p := range sortSet(paths) {
		out = append(out, keytrie.Entry{Path: p})
	}
	return out
}

// Fold makes the next version with a batch in a run of its own, merged with the newest runs when there are many. What
// it wrote can be read when w was closed. With an empty batch it merges, if that is due, and else changes nothing.
func (r *Ring) Fold(ctx context.Context, w *keytrie.Writer, b Batch) (*Ring, error) {
	keys, err := b.keys()
	if err != nil {
		return nil, err
	}
	if err := r.disjoint(ctx, keys); err != nil {
		return nil, err
	}
	index := b.index()
	next := &Ring{Archive: r.Archive, Packs: r.Packs}
	from := r.mergeFrom(len(keys))
	for i := range r.Runs[:from] {
		run, err := r.tidy(ctx, w, r.Runs[i])
		if err != nil {
			return nil, err
		}
		next.Runs = append(next.Runs, run)
	}
	if len(keys)+len(index) == 0 && from == len(r.Runs) {
		return next, nil
	}
	if from == MaxRuns {
		return nil, fmt.Errorf("keyring: there are %d runs already", from)
	}
	run, err := r.build(ctx, w, r.Runs[from:], keys, index)
	if err != nil {
		return nil, err
	}
	next.Runs = append(next.Runs, run)
	return next, nil
}

func (r *Ring) mergeFrom(added int) int {
	weights := make([]uint64, len(r.Runs))
	for i := range r.Runs {
		weights[i] = r.Runs[i].Keys.Count
	}
	return mergeFrom(weights, uint64(added))
}

// disjoint refuses a batch with a path that is there already: Admit would have said so.
func (r *Ring) disjoint(ctx context.Context, keys []keytrie.Entry) error {
	paths := make([][]byte, len(keys))
	for i := range keys {
		paths[i] = keys[i].Path
	}
	return r.public(ctx, paths, func(_ int, e keytrie.Entry) error {
		return fmt.Errorf("keyring: path %x of a batch is there already", e.Path)
	})
}

// build makes one run of several and of new entries.
func (r *Ring) build(ctx context.Context, w *keytrie.Writer, runs []Run, keys, index []keytrie.Entry) (run Run, err error) {
	used, packs := map[[4]byte]bool{}, packsOf(w)
	if run.Keys, err = r.keys().Build(w, noting(used, r.allKeys(ctx, runs, keys))); err != nil {
		return run, err
	}
	run.Index, err = r.index().Build(w, without(used, r.allIndex(ctx, runs, index)))
	run.Packs = packs()
	return run, err
}

func (r *Ring) allKeys(ctx context.Context, runs []Run, more []keytrie.Entry) iter.Seq2[keytrie.Entry, error] {
	all := []iter.Seq2[keytrie.Entry, error]{listed(more)}
	for i := range runs {
		all = append(all, r.keys().All(ctx, runs[i].Keys))
	}
	return union(all...)
}

func (r *Ring) allIndex(ctx context.Context, runs []Run, more []keytrie.Entry) iter.Seq2[keytrie.Entry, error] {
	all := []iter.Seq2[keytrie.Entry, error]{listed(more)}
	for i := range runs {
		all = append(all, r.index().All(ctx, runs[i].Index))
	}
	return union(all...)
}

// noting takes down which encapsulations scopes name.
func noting(used map[[4]byte]bool, in iter.Seq2[keytrie.Entry, error]) iter.Seq2[keytrie.Entry, error] {
	return func(yield func(keytrie.Entry, error) bool) {
		for e, err := range in {
			if err == nil && IsScope(e.Path) && len(e.Value) >= fixedValue {
				used[[4]byte(e.Value[3:])] = true
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// without leaves out the streams that no scope names.
func without(used map[[4]byte]bool, in iter.Seq2[keytrie.Entry, error]) iter.Seq2[keytrie.Entry, error] {
	return func(yield func(keytrie.Entry, error) bool) {
		for e, err := range in {
			if err == nil && e.Path[0] == indexStream && len(e.Path) > 4 && !used[[4]byte(e.Path[1:])] {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// tidy brings the nodes in the newer half of a run's packs into one, when there are many packs.
func (r *Ring) tidy(ctx context.Context, w *keytrie.Writer, run Run) (Run, error) {
	if uint64(len(run.Packs)) <= maxPacks+run.Keys.Count/perPack {
		return run, nil
	}
	half := run.Packs[len(run.Packs)/2]
	packs := packsOf(w)
	var err error
	if run.Keys, err = r.keys().Rewrite(ctx, w, run.Keys, half); err != nil {
		return run, err
	}
	if run.Index, err = r.index().Rewrite(ctx, w, run.Index, half); err != nil {
		return run, err
	}
	run.Packs = append(run.Packs[:len(run.Packs)/2:len(run.Packs)/2], packs()...)
	return run, nil
}

// packsOf returns a function that names the packs into which w has written since.
func packsOf(w *keytrie.Writer) func() []uint64 {
	begin, nodes := w.Pack(), w.Tally().Nodes
	return func() (out []uint64) {
		if w.Tally().Nodes == nodes {
			return nil
		}
		for n := begin; n <= w.Pack(); n++ {
			out = append(out, n)
		}
		return out
	}
}
