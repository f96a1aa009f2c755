package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/internal/objstore"
	"github.com/stelelog/stele/merkle"
	"golang.org/x/mod/sumdb/note"
)

// logChain follows the commits of one log. It is shared by those who extend it and those who verify it.
type logChain struct {
	origin    string
	archive   [16]byte
	name      string // of the archive
	partition uint32
	period    string
	control   *ledger.Log
	store     objstore.Store

	took   func(o chain.Object, c *commit.Commit)                     // called for each accepted commit; may be nil
	closed func(ctx context.Context, end commit.End) (*ending, error) // finds the log that the first commit continues

	before *ending // what the first commit has for a parent; nil in the first log of a partition

	last     *commit.Commit
	lastHash commit.Hex32
	tail     chain.Tail
	tips     map[commit.Hex16]commit.Tip
	lanes    map[string]commit.Lane
	history  map[commit.Hex16][]span
	parents  map[commit.Hex32]bool

	head      control.Head // newest in the control log, for those who will extend the chain
	rewritten bool         // the chain holds another commit at head.Commit
}

// ending is how a log was closed, for the one that follows it.
type ending struct {
	hash   commit.Hex32 // of the final commit
	commit *commit.Commit
}

// span says which commit holds leaves [from, next) of a stream.
type span struct{ from, next, commit uint64 }

// newLogChain begins to follow a log. What it continues is looked up in the store; whoever has read that log already can
// set closed.
func newLogChain(c *ledger.Log, store objstore.Store, trust *identity.Trust, partition uint32, period string) *logChain {
	l := &logChain{origin: commit.Origin(trust.Name, partition, period), archive: trust.Archive, name: trust.Name,
		partition: partition, period: period, control: c, store: store,
		tips: map[commit.Hex16]commit.Tip{}, lanes: map[string]commit.Lane{},
		history: map[commit.Hex16][]span{}, parents: map[commit.Hex32]bool{}}
	l.closed = l.endingIn
	return l
}

// read follows the chain to its end.
func (l *logChain) read(ctx context.Context, report func(chain.Finding)) error {
	tail, err := chain.Read(ctx, commits(l.store, l.partition, l.period), l.tail, func(o chain.Object) ([]uint64, func(), error) {
		return l.judge(ctx, o)
	}, report)
	l.tail = tail
	return err
}

func (l *logChain) judge(ctx context.Context, o chain.Object) (burnt []uint64, accept func(), err error) {
	c, err := l.parse(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	if l.last == nil && (c.Continues != nil || l.before != nil) {
		return l.judgeFirst(ctx, o, c)
	}
	if err := c.Follows(l.last, l.lastHash); err != nil {
		switch {
		case l.parents[c.Prev], l.last != nil && l.last.Final != nil:
			err = fmt.Errorf("%w: %w", chain.ErrFork, err)
		case c.Prev != l.lastHash:
			err = fmt.Errorf("%w: %w", chain.ErrOrphan, err)
		}
		return nil, nil, err
	}
	return c.Burnt, func() { l.accept(o, c) }, nil
}

// judgeFirst judges the first commit of a log that continues another.
func (l *logChain) judgeFirst(ctx context.Context, o chain.Object, c *commit.Commit) (burnt []uint64, accept func(), err error) {
	end := l.before
	if c.Continues == nil {
		return nil, nil, fmt.Errorf("%w: it does not continue %s", chain.ErrFork, end.commit.Log)
	}
	if end == nil || *c.Continues != (commit.End{Log: end.commit.Log, N: end.commit.N}) {
		end, err = l.closed(ctx, *c.Continues)
	}
	if err != nil {
		return nil, nil, err
	}
	if end.hash != c.Prev {
		return nil, nil, fmt.Errorf("%w: it names %s… for commit %d of %s", chain.ErrOrphan, c.Prev.String()[:12], c.Continues.N, c.Continues.Log)
	}
	if err := c.Follows(end.commit, end.hash); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", chain.ErrFork, err)
	}
	return c.Burnt, func() { l.before = end; l.accept(o, c) }, nil
}

// endingIn returns commit n of a log, which must be final, as the oldest version of its number says.
func (l *logChain) endingIn(ctx context.Context, end commit.End) (*ending, error) {
	_, period := commit.SplitOrigin(end.Log)
	if _, ok := commit.PeriodStart(period); !ok || end.Log != commit.Origin(l.name, l.partition, period) {
		return nil, fmt.Errorf("%w: it says that it continues %q, which is no log of its partition", chain.ErrOrphan, end.Log)
	}
	other := l.of(period)
	for o, err := range commits(l.store, l.partition, period).From(ctx, end.N) {
		if err != nil {
			return nil, fmt.Errorf("%w: %w", chain.ErrUndecided, err)
		}
		if o.N != end.N {
			break
		}
		if o.Err != nil && !errors.Is(o.Err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %w", chain.ErrUndecided, o.Err)
		}
		c, err := other.parse(ctx, o)
		if errors.Is(err, chain.ErrUndecided) {
			return nil, err
		}
		if err == nil && c.Final != nil {
			return &ending{commit.Hash(o.Data), c}, nil
		}
		break
	}
	return nil, fmt.Errorf("%w: commit %d of %s is no final one, or not there", chain.ErrOrphan, end.N, end.Log)
}

// of begins to follow the log of another period of the partition.
func (l *logChain) of(period string) *logChain {
	return newLogChain(l.control, l.store, &identity.Trust{Name: l.name, Archive: l.archive}, l.partition, period)
}

// follow makes l, which is empty, start where the log before ends.
func (l *logChain) follow(before *logChain) {
	l.before = &ending{before.lastHash, before.last}
	for id, t := range before.tips {
		t.From, t.Late, t.Encaps = t.Next, nil, nil // the commits that repeat encapsulations are of the log before
		l.tips[id] = t
	}
	maps.Copy(l.lanes, before.lanes)
}

// parse reads a commit and checks who signed it.
func (l *logChain) parse(ctx context.Context, o chain.Object) (*commit.Commit, error) {
	peek, err := commit.Peek(o.Data)
	if err != nil {
		return nil, err
	}
	if peek.Control > l.control.Size() { // made under a newer control log than was read here
		if err := l.control.Refresh(ctx); err != nil {
			return nil, fmt.Errorf("%w: %w", chain.ErrUndecided, err)
		}
	}
	size := l.control.Size()
	keys, err := l.keys(min(peek.Control, size))
	if err != nil {
		return nil, err
	}
	c, err := commit.Parse(o.Data, keys)
	if err != nil {
		return nil, err
	}
	if c.Archive != l.archive || c.Log != l.origin || c.N != o.N {
		return nil, fmt.Errorf("commit is number %d of %s", c.N, c.Log)
	}
	if !l.accepts(c) {
		return nil, fmt.Errorf("the key of %s was revoked before this commit", c.By)
	}
	if c.Control > size {
		return nil, fmt.Errorf("%w: it was made when the control log had %d entries, now it has %d", chain.ErrOrphan, c.Control, size)
	}
	return c, nil
}

// keys are those that may sign commits made under a control log of the given size.
func (l *logChain) keys(size uint64) (vs note.Verifiers, err error) {
	l.control.View(func(s *control.State) { vs, err = s.Commits(size) })
	return vs, err
}

func (l *logChain) accepts(c *commit.Commit) (ok bool) {
	l.control.View(func(s *control.State) { ok = s.Accepts(c.By, c.Log, c.N) })
	return ok
}

func (l *logChain) accept(o chain.Object, c *commit.Commit) {
	l.parents[c.Prev] = true
	l.last, l.lastHash = c, commit.Hash(o.Data)
	if c.N == l.head.Commit && l.head.Log != "" && l.head.Hash != l.lastHash {
		l.rewritten = true
	}
	for _, t := range c.Streams {
		l.tips[t.ID] = t
		if t.Next > t.From {
			l.history[t.ID] = append(l.history[t.ID], span{t.From, t.Next, c.N})
		}
		for _, r := range t.Late {
			l.history[t.ID] = append(l.history[t.ID], span{r[0], r[1], c.N})
		}
	}
	for lane, at := range c.Source.Lanes {
		l.lanes[lane] = at
	}
	if l.took != nil {
		l.took(o, c)
	}
}

// agrees compares the chain with the newest head that the control log holds of it, as l.head was before the chain was
// read. Nobody may extend a chain that was cut or rewritten.
func (l *logChain) agrees() error {
	switch {
	case l.head.Log == "":
		return nil
	case l.last == nil || l.last.N < l.head.Commit:
		return fmt.Errorf("the control log holds the head of commit %d, but the store ends before it: the log was cut", l.head.Commit)
	case l.rewritten:
		return fmt.Errorf("commit %d is not the one whose head the control log holds: the log was rewritten", l.head.Commit)
	}
	return nil
}

// frontier is the compact range at the end of the log.
func (l *logChain) frontier() (merkle.Frontier, error) {
	if l.last == nil {
		return merkle.Frontier{}, nil
	}
	return merkle.NewFrontier(l.last.Tree.Size, l.last.Tree.After)
}

// allTips are the tips of all streams, sorted by id.
func (l *logChain) allTips() []commit.Tip { return sortTips(l.tips) }

func sortTips(tips map[commit.Hex16]commit.Tip) []commit.Tip {
	out := make([]commit.Tip, 0, len(tips))
	for _, t := range tips {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b commit.Tip) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return out
}

// holding returns the commits that hold leaves of a stream in [from, next).
func (l *logChain) holding(stream commit.Hex16, from, next uint64) (commits []uint64) {
	for _, s := range l.history[stream] {
		if s.from < next && s.next > from {
			commits = append(commits, s.commit)
		}
	}
	return commits
}
