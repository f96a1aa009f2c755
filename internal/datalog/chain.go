package datalog

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/merkle"
)

// Chain follows the commits of one log. It is shared by those who extend it and those who verify it.
type Chain struct {
	Origin    string
	trust     *identity.Trust
	partition uint32
	period    string
	control   *ledger.Log
	store     worm.Store

	Took   func(o chain.Object, c *commit.Commit)                     // called for each accepted commit; may be nil
	Closed func(ctx context.Context, end commit.End) (*Ending, error) // finds the log that the first commit continues

	Before *Ending // what the first commit has for a parent; nil in the first log of a partition

	Last     *commit.Commit // newest; nil in an empty chain
	LastHash commit.Hex32
	Tail     chain.Tail
	Tips     map[commit.Hex16]commit.Tip // where each stream stands
	Lanes    map[string]commit.Lane      // where each lane of the source stands
	history  map[commit.Hex16][]span
	parents  map[commit.Hex32]bool
	vouched  map[commit.Hex32]bool // commits of revoked compactors that the control log vouches for
	denied   map[commit.Hex32]bool // hashes in its heads that are of no commit

	Head      control.Head // newest in the control log, for those who will extend the chain
	rewritten bool         // the chain holds another commit at Head.Commit
}

// Ending is how a log was closed, for the one that follows it.
type Ending struct {
	Hash   commit.Hex32 // of the final commit
	Commit *commit.Commit
}

// span says which commit holds leaves [from, next) of a stream.
type span struct{ from, next, commit uint64 }

// New begins to follow a log. What it continues is looked up in the store; whoever has read that log already can
// set Closed.
func New(c *ledger.Log, store worm.Store, trust *identity.Trust, partition uint32, period string) *Chain {
	l := &Chain{Origin: commit.Origin(trust.Name, partition, period), trust: trust,
		partition: partition, period: period, control: c, store: store,
		Tips: map[commit.Hex16]commit.Tip{}, Lanes: map[string]commit.Lane{},
		history: map[commit.Hex16][]span{}, parents: map[commit.Hex32]bool{},
		vouched: map[commit.Hex32]bool{}, denied: map[commit.Hex32]bool{}}
	l.Closed = l.endingIn
	return l
}

// Read follows the chain to its end.
func (l *Chain) Read(ctx context.Context, report func(chain.Finding)) error {
	tail, err := chain.Read(ctx, Commits(l.store, l.partition, l.period), l.Tail, func(o chain.Object) ([]uint64, func(), error) {
		return l.judge(ctx, o)
	}, report)
	l.Tail = tail
	return err
}

func (l *Chain) judge(ctx context.Context, o chain.Object) (burnt []uint64, accept func(), err error) {
	c, err := l.Parse(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	if l.Last == nil && (c.Continues != nil || l.Before != nil) {
		return l.judgeFirst(ctx, o, c)
	}
	if err := c.Follows(l.Last, l.LastHash); err != nil {
		switch {
		case l.parents[c.Prev], l.Last != nil && l.Last.Final != nil:
			err = fmt.Errorf("%w: %w", chain.ErrFork, err)
		case c.Prev != l.LastHash:
			err = fmt.Errorf("%w: %w", chain.ErrOrphan, err)
		}
		return nil, nil, err
	}
	return c.Burnt, func() { l.Accept(o, c) }, nil
}

// judgeFirst judges the first commit of a log that continues another.
func (l *Chain) judgeFirst(ctx context.Context, o chain.Object, c *commit.Commit) (burnt []uint64, accept func(), err error) {
	end := l.Before
	if c.Continues == nil {
		return nil, nil, fmt.Errorf("%w: it does not continue %s", chain.ErrFork, end.Commit.Log)
	}
	if end == nil || *c.Continues != (commit.End{Log: end.Commit.Log, N: end.Commit.N}) {
		end, err = l.Closed(ctx, *c.Continues)
	}
	if err != nil {
		return nil, nil, err
	}
	if end.Hash != c.Prev {
		return nil, nil, fmt.Errorf("%w: it names %s… for commit %d of %s", chain.ErrOrphan, c.Prev.String()[:12], c.Continues.N, c.Continues.Log)
	}
	if err := c.Follows(end.Commit, end.Hash); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", chain.ErrFork, err)
	}
	return c.Burnt, func() { l.Before = end; l.Accept(o, c) }, nil
}

// endingIn returns commit n of a log, which must be final, as the oldest version of its number says.
func (l *Chain) endingIn(ctx context.Context, end commit.End) (*Ending, error) {
	_, period := commit.SplitOrigin(end.Log)
	if _, ok := commit.PeriodStart(period); !ok || end.Log != commit.Origin(l.trust.Name, l.partition, period) {
		return nil, fmt.Errorf("%w: it says that it continues %q, which is no log of its partition", chain.ErrOrphan, end.Log)
	}
	other := l.Of(period)
	for o, err := range Commits(l.store, l.partition, period).From(ctx, end.N) {
		if err != nil {
			return nil, fmt.Errorf("%w: %w", chain.ErrUndecided, err)
		}
		if o.N != end.N {
			break
		}
		if o.Err != nil && !errors.Is(o.Err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %w", chain.ErrUndecided, o.Err)
		}
		c, err := other.Parse(ctx, o)
		if errors.Is(err, chain.ErrUndecided) {
			return nil, err
		}
		if err == nil && c.Final != nil {
			return &Ending{commit.Hash(o.Data), c}, nil
		}
		break
	}
	return nil, fmt.Errorf("%w: commit %d of %s is no final one, or not there", chain.ErrOrphan, end.N, end.Log)
}

// Of begins to follow the log of another period of the partition.
func (l *Chain) Of(period string) *Chain {
	return New(l.control, l.store, l.trust, l.partition, period)
}

// Follow makes l, which is empty, start where the log before ends.
func (l *Chain) Follow(before *Chain) {
	l.Before = &Ending{before.LastHash, before.Last}
	for id, t := range before.Tips {
		t.From, t.Late, t.Encaps = t.Next, nil, nil // the commits that repeat encapsulations are of the log before
		l.Tips[id] = t
	}
	maps.Copy(l.Lanes, before.Lanes)
}

// Parse reads a commit and checks who signed it.
func (l *Chain) Parse(ctx context.Context, o chain.Object) (*commit.Commit, error) {
	peek, err := commit.Peek(o.Data)
	if err != nil {
		return nil, l.newer(ctx, o, err)
	}
	keys, size, err := l.keysAt(ctx, peek.Control)
	if err != nil {
		return nil, err
	}
	c, err := commit.Parse(o.Data, keys)
	if err != nil {
		return nil, err
	}
	if c.Archive != l.trust.Archive || c.Log != l.Origin || c.N != o.N {
		return nil, fmt.Errorf("commit is number %d of %s", c.N, c.Log)
	}
	if stands, err := l.stands(ctx, c, commit.Hash(o.Data)); err != nil || !stands {
		return nil, cmp.Or(err, fmt.Errorf("the key of %s was revoked before this commit", c.By))
	}
	if c.Control > size {
		return nil, fmt.Errorf("%w: control/ is older here than logs/: it was made when the control log had %d entries, now it has %d", chain.ErrOrphan, c.Control, size)
	}
	return c, nil
}

// newer tells what a newer stele made from what nobody did who may: to go on without it, or over it, would be a fork. err is why it cannot be read.
func (l *Chain) newer(ctx context.Context, o chain.Object, err error) error {
	c, ok := commit.PeekNewer(o.Data)
	if !ok || c.Archive != l.trust.Archive || c.Log != l.Origin || c.N != o.N {
		return err
	}
	keys, size, keysErr := l.keysAt(ctx, c.Control)
	if keysErr != nil {
		return keysErr
	}
	n, openErr := note.Open(o.Data, keys)
	if openErr != nil || n.Sigs[0].Name != c.By || c.Control > size {
		return err
	}
	if stands, standsErr := l.stands(ctx, c, commit.Hash(o.Data)); standsErr != nil || !stands {
		return cmp.Or(standsErr, err)
	}
	return fmt.Errorf("%w: %s signed %s in a form that is not known here: a newer stele made it, upgrade this one (%w)", chain.ErrUndecided, c.By, o.Key, err)
}

// keysAt are the keys of commits that were made when the control log had a size, and its size here.
func (l *Chain) keysAt(ctx context.Context, control uint64) (keys note.Verifiers, size uint64, err error) {
	if control > l.control.Size() { // made under a newer control log than was read here
		if err := l.control.Refresh(ctx); err != nil {
			return nil, 0, fmt.Errorf("%w: %w", chain.ErrUndecided, err)
		}
	}
	size = l.control.Size()
	keys, err = l.Keys(min(control, size))
	return keys, size, err
}

// Keys are those that may sign commits made under a control log of the given size.
func (l *Chain) Keys(size uint64) (vs note.Verifiers, err error) {
	l.control.View(func(s *control.State) { vs, err = s.Commits(size) })
	return vs, err
}

// Accept makes a commit the newest of the chain.
func (l *Chain) Accept(o chain.Object, c *commit.Commit) {
	l.parents[c.Prev] = true
	l.Last, l.LastHash = c, commit.Hash(o.Data)
	if c.N == l.Head.Commit && l.Head.Log != "" && l.Head.Hash != l.LastHash {
		l.rewritten = true
	}
	for _, t := range c.Streams {
		l.Tips[t.ID] = t
		if t.Next > t.From {
			l.history[t.ID] = append(l.history[t.ID], span{t.From, t.Next, c.N})
		}
		for _, r := range t.Late {
			l.history[t.ID] = append(l.history[t.ID], span{r[0], r[1], c.N})
		}
	}
	for lane, at := range c.Source.Lanes {
		l.Lanes[lane] = at
	}
	if l.Took != nil {
		l.Took(o, c)
	}
}

// Agrees compares the chain with the newest head that the control log holds of it, as l.Head was before the chain was
// read. Nobody may extend a chain that was cut or rewritten.
func (l *Chain) Agrees() error {
	switch {
	case l.Head.Log == "":
		return nil
	case l.Last == nil || l.Last.N < l.Head.Commit:
		return fmt.Errorf("the control log holds the head of commit %d, but the store ends before it: the log was cut", l.Head.Commit)
	case l.rewritten:
		return fmt.Errorf("commit %d is not the one whose head the control log holds: the log was rewritten", l.Head.Commit)
	}
	return nil
}

// Frontier is the compact range at the end of the log.
func (l *Chain) Frontier() (merkle.Frontier, error) {
	if l.Last == nil {
		return merkle.Frontier{}, nil
	}
	return merkle.NewFrontier(l.Last.Tree.Size, l.Last.Tree.After)
}

// AllTips are the tips of all streams, sorted by id.
func (l *Chain) AllTips() []commit.Tip { return SortTips(l.Tips) }

// SortTips lists tips by the ids of their streams.
func SortTips(tips map[commit.Hex16]commit.Tip) []commit.Tip {
	out := make([]commit.Tip, 0, len(tips))
	for _, t := range tips {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b commit.Tip) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return out
}

// Knows reports whether the log holds leaves of a stream.
func (l *Chain) Knows(stream commit.Hex16) bool { return len(l.history[stream]) > 0 }

// Holding returns the commits that hold leaves of a stream in [from, next).
func (l *Chain) Holding(stream commit.Hex16, from, next uint64) (commits []uint64) {
	for _, s := range l.history[stream] {
		if s.from < next && s.next > from {
			commits = append(commits, s.commit)
		}
	}
	return commits
}
