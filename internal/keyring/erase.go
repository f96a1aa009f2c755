package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stelelog/stele/internal/keytrie"
)

// Erasure is what one generation leaves out, and what it marks. That nothing in it is held is for the caller to see to.
type Erasure struct {
	Scopes     []Located   // as Find, Tagged, Day and All give them
	Days       []uint16    // path days whose classes have expired, whole
	Weeks      []uint16    // of intake keys that are over
	Forget     int         // at most so many spent paths, of weeks that no intake key is left of
	Release    []Hold      // holds that end
	Tombstones []Tombstone // to set
	Keep       []Tombstone // that stay although nothing can come for them any more
	Defer      []Deferred  // requests of which something stays
	Resume     []Deferred  // those that wait no longer
}

// Erased is what an erasure did in public: the content of a list of docs/formats/keys.md.
type Erased struct {
	Removed [][][]byte // by run: sorted paths that are gone from its key trie
	Spent   [][]byte   // sorted paths of the run that was added
}

// Scopes is how many keys are gone.
func (e *Erased) Scopes() (n uint64) {
	for _, paths := range e.Removed {
		for _, p := range paths {
			if IsScope(p) {
				n++
			}
		}
	}
	return n
}

// Paths is how many paths are gone.
func (e *Erased) Paths() (n uint64) {
	for _, paths := range e.Removed {
		n += uint64(len(paths))
	}
	return n
}

// Erase makes the next version without some keys. Its runs are those of r, in which only the nodes on the way to what is
// removed are new, and one more if there is anything to remember. Tombstones that have nothing left to wait for go, too.
func (r *Ring) Erase(ctx context.Context, w *keytrie.Writer, e Erasure) (*Ring, *Erased, error) {
	if len(r.Runs) >= MaxRuns {
		return nil, nil, fmt.Errorf("keyring: there are %d runs; a fold merges them", len(r.Runs))
	}
	p, err := r.plan(ctx, &e)
	if err != nil {
		return nil, nil, err
	}
	next, erased := &Ring{Archive: r.Archive, Packs: r.Packs}, &Erased{}
	for i := range r.Runs {
		run, err := p.run(ctx, w, i)
		if err != nil {
			return nil, nil, err
		}
		next.Runs = append(next.Runs, run)
		erased.Removed = append(erased.Removed, sortSet(p.removed[i]))
	}
	b := Batch{Spent: p.spent, Tombstones: e.Tombstones, Deferred: e.Defer}
	keys, err := b.keys()
	if err != nil {
		return nil, nil, err
	}
	for _, k := range keys {
		erased.Spent = append(erased.Spent, k.Path)
	}
	if index := b.index(); len(keys)+len(index) > 0 {
		run, err := r.build(ctx, w, nil, keys, index)
		if err != nil {
			return nil, nil, err
		}
		next.Runs = append(next.Runs, run)
	}
	return next, erased, nil
}

// plan is what an erasure means for each run.
type plan struct {
	ring    *Ring
	removed [][][]byte // paths of key tries, by run
	scopes  [][]*Located
	keys    [][][]byte // prefixes to remove from key tries: for a whole day, the day
	index   [][][]byte // and from index tries
	spent   []Spent
	weeks   map[uint16]bool // intake weeks that stay
}

func (r *Ring) plan(ctx context.Context, e *Erasure) (*plan, error) {
	n := len(r.Runs)
	p := &plan{ring: r, removed: make([][][]byte, n), scopes: make([][]*Located, n), keys: make([][][]byte, n), index: make([][][]byte, n)}
	if err := errors.Join(p.intake(ctx, e.Weeks), p.forget(ctx, e.Forget)); err != nil {
		return nil, err
	}
	for _, day := range slices.Compact(slices.Sorted(slices.Values(e.Days))) {
		for l, err := range r.EachOfDay(ctx, day) {
			if err != nil {
				return nil, err
			}
			p.keys[l.Run] = append(p.keys[l.Run], p.take(&l)[1:]...) // its own path goes with the day
		}
		for i := range n {
			p.keys[i] = append(p.keys[i], join(spaceExpire, be16(day)))
			p.index[i] = append(p.index[i], join(indexExpire, be16(day)))
		}
	}
	for i := range e.Scopes {
		l := &e.Scopes[i]
		if l.Run < 0 || l.Run >= n {
			return nil, fmt.Errorf("keyring: a scope of run %d, of %d", l.Run, n)
		}
		if !l.Expires || !slices.Contains(e.Days, l.Day) {
			p.scopes[l.Run] = append(p.scopes[l.Run], l)
		}
	}
	for i := range p.scopes {
		p.scopes[i] = distinct(p.scopes[i])
		for _, l := range p.scopes[i] {
			p.keys[i] = append(p.keys[i], p.take(l)...)
		}
	}
	return p, p.marks(ctx, e.Keep, e.ended())
}

// distinct orders scopes by their paths, each once.
func distinct(scopes []*Located) []*Located {
	compare := func(a, b *Located) int {
		switch {
		case a.Expires != b.Expires:
			return int(a.space()) - int(b.space())
		case a.Day != b.Day:
			return int(a.Day) - int(b.Day)
		case a.ID != b.ID:
			return bytes.Compare(a.ID[:], b.ID[:])
		}
		x, y := a.Check(), b.Check()
		return bytes.Compare(x[:], y[:])
	}
	slices.SortFunc(scopes, compare)
	return slices.CompactFunc(scopes, func(a, b *Located) bool { return compare(a, b) == 0 })
}

// intake removes weeks, and finds out which ones stay.
func (p *plan) intake(ctx context.Context, weeks []uint16) error {
	var prefixes [][]byte
	for _, w := range weeks {
		prefixes = append(prefixes, join(spaceIntake, be16(w)))
	}
	prefixes = sortSet(prefixes)
	err := p.ring.public(ctx, prefixes, func(run int, e keytrie.Entry) error {
		p.removed[run] = append(p.removed[run], bytes.Clone(e.Path))
		return nil
	})
	if err != nil {
		return err
	}
	for i := range p.keys {
		p.keys[i] = append(p.keys[i], prefixes...)
	}
	p.weeks = map[uint16]bool{}
	return p.ring.heads(ctx, spaceIntake, func(head []byte) {
		if w := be16of(head[1:]); !slices.Contains(weeks, w) {
			p.weeks[w] = true
		}
	})
}

var errEnough = errors.New("enough")

// forget removes spent paths that no intake key is left for.
func (p *plan) forget(ctx context.Context, most int) error {
	var weeks [][]byte
	err := p.ring.heads(ctx, spaceSpent, func(head []byte) {
		if !p.weeks[be16of(head[1:])] {
			weeks = append(weeks, head)
		}
	})
	weeks = sortSet(weeks)
	for i := 0; i < len(p.ring.Runs) && most > 0 && err == nil; i++ {
		var some [][]byte
		err = p.ring.keys().Visit(ctx, p.ring.Runs[i].Keys, weeks, func(e keytrie.Entry) error {
			if len(some) == most {
				return errEnough
			}
			some = append(some, bytes.Clone(e.Path))
			return nil
		})
		whole := weeks
		if err == errEnough {
			whole, err = some, nil
		}
		p.keys[i], p.removed[i] = append(p.keys[i], whole...), append(p.removed[i], some...)
		most -= len(some)
	}
	return err
}

// Ending lists the tombstones for which nothing can come any more once the intake keys of some weeks are gone.
func (r *Ring) Ending(ctx context.Context, going []uint16) (out []Tombstone, err error) {
	p := plan{weeks: map[uint16]bool{}}
	err = r.heads(ctx, spaceIntake, func(head []byte) { p.weeks[be16of(head[1:])] = true })
	if err != nil {
		return nil, err
	}
	for _, w := range going {
		delete(p.weeks, w)
	}
	stones, _, err := r.Marks(ctx)
	for i := range stones {
		if p.ends(&stones[i]) {
			out = append(out, stones[i])
		}
	}
	return out, err
}

// Forgettable reports whether there are spent paths of weeks that no intake key is left of, beside those that are going.
func (r *Ring) Forgettable(ctx context.Context, going []uint16) (some bool, err error) {
	keys := map[uint16]bool{}
	err = r.heads(ctx, spaceIntake, func(head []byte) { keys[be16of(head[1:])] = true })
	for _, w := range going {
		delete(keys, w)
	}
	return some, errors.Join(err, r.heads(ctx, spaceSpent, func(head []byte) { some = some || !keys[be16of(head[1:])] }))
}

// take removes a scope, and returns the paths that are its own.
func (p *plan) take(l *Located) [][]byte {
	check := l.Check()
	paths := [][]byte{l.pathOf(check)}
	if moved := l.movedBy(check); moved != nil {
		paths = append(paths, moved)
	}
	p.removed[l.Run] = append(p.removed[l.Run], paths...)
	if p.weeks[l.Week] {
		p.spent = append(p.spent, Spent{l.Week, l.ID, check})
	}
	return paths
}

// marks removes tombstones that end, but for those that are kept, and other marks.
func (p *plan) marks(ctx context.Context, keep []Tombstone, paths [][]byte) error {
	stones, _, err := p.ring.Marks(ctx)
	if err != nil {
		return err
	}
	for i := range stones {
		if p.ends(&stones[i]) && !slices.Contains(keep, stones[i]) {
			paths = append(paths, stones[i].path())
		}
	}
	for i := range p.index {
		p.index[i] = append(p.index[i], paths...)
	}
	return nil
}

// ends reports whether no intake key is left by which a grant could come that the tombstone is for.
func (p *plan) ends(t *Tombstone) bool {
	last := t.lastWeek()
	for w := range p.weeks {
		if w <= last {
			return false
		}
	}
	return true
}

// run makes the next version of one run.
func (p *plan) run(ctx context.Context, w *keytrie.Writer, i int) (Run, error) {
	r, run := p.ring, p.ring.Runs[i]
	packs := packsOf(w)
	p.removed[i] = sortSet(p.removed[i])
	beside := besideOf(p.removed[i])
	keys, hits, err := r.keys().Remove(ctx, w, run.Keys, sortSet(p.keys[i]), beside.trie())
	if err != nil {
		return run, err
	}
	total := uint64(0)
	for _, n := range hits {
		total += n
	}
	if total != uint64(len(p.removed[i])) {
		return run, fmt.Errorf("keyring: run %d lost %d paths, was to lose %d: scopes of another version of the ring?", i, total, len(p.removed[i]))
	}
	index := p.index[i]
	for _, l := range p.scopes[i] {
		for _, path := range l.tagPaths() {
			if !beside.tags[string(path)] {
				index = append(index, path)
			}
		}
	}
	left, _, err := r.index().Remove(ctx, w, run.Index, sortSet(index), nil)
	if err != nil {
		return run, err
	}
	if keys == run.Keys && left == run.Index {
		return run, nil
	}
	return Run{keys, left, append(slices.Clone(run.Packs), packs()...)}, nil
}

// beside collects the index paths of scopes that stay, of those that an index path cannot tell from one that goes.
type beside struct {
	gone [][]byte // paths, sorted; those before what was seen last are left out
	tags map[string]bool
}

func besideOf(gone [][]byte) *beside { return &beside{gone, map[string]bool{}} }

func (b *beside) trie() *keytrie.Beside { return &keytrie.Beside{Bytes: nearPath, F: b.stays} }

// stays takes entries in their order.
func (b *beside) stays(e keytrie.Entry) error {
	if !IsScope(e.Path) {
		return nil
	}
	near := e.Path[:nearPath]
	for len(b.gone) > 0 && bytes.Compare(b.gone[0][:min(nearPath, len(b.gone[0]))], near) < 0 {
		b.gone = b.gone[1:]
	}
	if len(b.gone) == 0 || !bytes.HasPrefix(b.gone[0], near) {
		return nil
	}
	s, err := parseScope(e.Path, e.Value)
	if err != nil {
		return corrupt("path %x: %w", e.Path, err)
	}
	for _, path := range s.tagPaths() {
		b.tags[string(path)] = true
	}
	return nil
}
