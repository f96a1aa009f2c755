package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/merkle"
)

const (
	// leafBytes is what a leaf takes in a file, if each record has a block and a scope of its own; streamBytes what a stream takes
	// that signed matches; fileBytes what is in any file. A frame takes less than it does in a proof object.
	leafBytes, streamBytes, fileBytes = 115, 400, 16 << 10
	// timesBytes is what of the times of a commit is in a file that does not show it.
	timesBytes = 24
	// commitBytes is what a commit takes that says so, with the head that names it.
	commitBytes = 8 << 10
)

// answering is one query that is answered with nothing left out.
type answering struct {
	a       *Archive
	query   rangeproof.Query
	cost    rangeproof.Cost
	prover  prover
	log     *controlProof
	logs    []*leafRun        // of all logs, ascending by origin; from is -1 if none of its leaves is to be shown
	runs    []*leafRun        // those that are shown
	streams map[[16]byte]bool // of which the certificate is in the file
}

// leafRun is a run of whole segments of a log.
type leafRun struct {
	l        *openLog
	from, to int // commits
	heads    []provenHead
	head     *provenHead
}

// Answer makes evidence of what a query selects, with nothing left out: it shows all leaves of the segments from the first to the last that holds
// records of the times in the query, as commits say, and what the commits say of the others; with whole, and without times, all leaves of all logs. It discloses nothing and needs no key.
// Before it reads them, agree hears what it takes, and may refuse. Matches are shown with the signatures of their writers, and beside them the newest list of
// logs that the control log has: what came since is not shown.
func (a *Archive) Answer(ctx context.Context, query rangeproof.Query, whole bool, agree func(rangeproof.Cost) error) (*Evidence, error) {
	if a.unfounded != nil {
		return nil, a.unfounded
	}
	if err := query.Check(); err != nil {
		return nil, err
	}
	p := &answering{a: a, query: query, prover: prover{a: a}, streams: map[[16]byte]bool{}}
	for _, l := range a.logs {
		p.logs = append(p.logs, p.choose(l, whole))
	}
	slices.SortFunc(p.logs, func(x, y *leafRun) int { return cmp.Compare(x.l.chain.Origin, y.l.chain.Origin) })
	p.prover.runs = p.logs
	var err error
	if p.log, err = p.prover.readControl(ctx); err != nil {
		return nil, err
	}
	p.log.wantList()
	for _, r := range p.logs {
		if r.from >= 0 && p.reach(r) {
			p.runs = append(p.runs, r)
		}
	}
	if len(p.runs) == 0 {
		return nil, errors.New("no leaf of these times is provable: there is none, or a compactor has yet to put its head into the control log")
	}
	for _, l := range a.logs {
		p.cost.File += int64(len(l.commits))*timesBytes + commitBytes
	}
	if err := agree(p.cost); err != nil {
		return nil, err
	}
	return p.prove(ctx)
}

// choose takes the segments of a log that have to be shown.
func (p *answering) choose(l *openLog, whole bool) *leafRun {
	r := &leafRun{l: l, from: -1}
	timed := !whole && (!p.query.Since.IsZero() || !p.query.Until.IsZero())
	for i := range l.commits {
		c := l.commits[i].Commit
		if c.Tree.Size == c.Tree.First {
			continue
		}
		if timed && (c.From == nil || c.Until == nil || !p.query.Since.IsZero() && c.Until.Before(p.query.Since) ||
			!p.query.Until.IsZero() && !c.From.Before(p.query.Until)) {
			continue
		}
		if r.from < 0 {
			r.from = i
		}
		r.to = i + 1
	}
	return r
}

// headBefore is the longest head of a log below a size of the control log; nil for none.
func (r *leafRun) headBefore(size uint64) (head *provenHead) {
	for i := range r.heads { // they grow
		if r.heads[i].index < size {
			head = &r.heads[i]
		}
	}
	return head
}

// reach cuts a run where the head ends that the list of logs has, or the newest under the checkpoint if there is no list. It reports whether
// something is left.
func (p *answering) reach(r *leafRun) bool {
	size := p.log.size
	if p.log.list != nil {
		size = p.log.list.Control
	}
	r.head = r.headBefore(size)
	segments := r.l.commits[r.from:r.to]
	for len(segments) > 0 {
		c := segments[len(segments)-1].Commit
		if r.head != nil && c.Tree.Size <= r.head.size {
			break
		}
		p.cost.Open += c.Tree.Size - c.Tree.First
		segments = segments[:len(segments)-1]
	}
	r.to = r.from + len(segments)
	if len(segments) == 0 {
		return false
	}
	streams := map[commit.Hex16]bool{}
	for i := range segments {
		c := segments[i].Commit
		index := c.Object(commit.KindIndex, "")
		if index == nil || len(c.Proof) < segment.Sections {
			continue
		}
		frames := c.Proof[segment.SectionFrames].Len
		p.cost.Segments++
		p.cost.Read += index.Size + frames
		p.cost.File += frames
		for _, tip := range c.Streams {
			streams[tip.ID] = true
		}
	}
	leaves := segments[len(segments)-1].Tree.Size - segments[0].Tree.First
	p.cost.Leaves += leaves
	p.cost.File += int64(leaves)*leafBytes + int64(len(streams))*streamBytes + fileBytes
	p.cost.Logs = append(p.cost.Logs, r.l.chain.Origin)
	return true
}

// takeRunHeads notes the heads of the logs of an answer that are longer than those before.
func (p *prover) takeRunHeads(l *control.Listed, h control.Head, roster commit.Hex32, entry string) {
	for _, r := range p.runs {
		cp, err := peekHead(h.Checkpoint)
		c, missing := r.l.commitAt(h.Commit)
		n := len(r.heads)
		if h.Log == r.l.chain.Origin && err == nil && missing == nil && c.hash == h.Hash && cp.Size == c.Tree.Size && (n == 0 || r.heads[n-1].size < cp.Size) {
			r.heads = append(r.heads, provenHead{Head: h, index: l.Index, entry: entry, by: l.By, roster: roster, size: cp.Size, root: cp.Root})
		}
	}
}

// prove makes the file.
func (p *answering) prove(ctx context.Context) (*Evidence, error) {
	total := 0
	for _, r := range p.runs {
		found, part, err := p.leaves(ctx, r)
		if err != nil {
			return nil, err
		}
		total += len(found)
		p.prover.parts = append(p.prover.parts, part)
		if err := p.signed(ctx, r, found); err != nil {
			return nil, err
		}
		p.log.heads[r.head.index] = r.head
	}
	if err := p.others(ctx); err != nil {
		return nil, err
	}
	if err := p.log.entries(ctx, &p.prover); err != nil {
		return nil, err
	}
	file, err := evidence.Marshal(p.a.trust.Archive, p.prover.parts)
	return &Evidence{File: file, Records: total}, err
}

// others says of what times the leaves are that are not shown, by the commits of their logs, as far as that is so, and shows the heads that name those commits.
func (p *answering) others(ctx context.Context) error {
	if p.log.list == nil {
		return nil
	}
	lines := p.log.state.LogLines(p.log.list.Control)
	for _, r := range p.logs {
		c, all := r.headIn(lines, p.log.list.Control)
		if c == nil || c.Spans == nil || !p.left(c.Tree.Size, r, all) {
			continue
		}
		file, err := p.a.store.Read(ctx, c.key, c.version, worm.Range{})
		if err == nil && commit.Hash(file) != c.hash {
			err = fmt.Errorf("%s is not what it was", c.key)
		}
		if err != nil {
			return err
		}
		p.prover.parts = append(p.prover.parts, evidence.Part{Kind: rangeproof.KindTimes, Data: rangeproof.MarshalTimes(file, all)})
		h := r.headBefore(p.log.list.Control)
		p.log.heads[h.index] = h
		p.log.showKey(h.index, c.By)
	}
	return nil
}

// headIn is the commit of the head that a list of logs has of a log, nil for none, and of what times the commits up to it are.
func (r *leafRun) headIn(lines []string, size uint64) (*logCommit, []commit.Times) {
	h := r.headBefore(size)
	if h == nil || !slices.Contains(lines, control.LogLine(merkle.Checkpoint{Origin: r.l.chain.Origin, Size: h.size, Root: h.root})) {
		return nil, nil
	}
	var all []commit.Times
	for i := range r.l.commits {
		c := &r.l.commits[i]
		if c.Tree.Size > c.Tree.First {
			all = append(all, c.Times())
		}
		if c.N == h.Commit {
			return c, all
		}
	}
	return nil, nil
}

// left reports whether leaves before size are not shown and, of some run of them, none can match.
func (p *answering) left(size uint64, r *leafRun, all []commit.Times) bool {
	if r.from < 0 || r.from == r.to {
		return p.query.Outside(all, 0, size)
	}
	first, end := r.l.commits[r.from].Tree.First, r.l.commits[r.to-1].Tree.Size
	return first > 0 && p.query.Outside(all, 0, first) || end < size && p.query.Outside(all, end, size)
}

// leaves makes the part of a run, and finds what matches.
func (p *answering) leaves(ctx context.Context, r *leafRun) (found []match, part evidence.Part, err error) {
	segments := r.l.commits[r.from:r.to]
	x, err := rangeproof.NewLeaves([]byte(r.head.Checkpoint), p.query, segments[0].Tree.First)
	if err != nil {
		return nil, part, err
	}
	for i := range segments {
		c := &segments[i]
		if c.Tree.Size == c.Tree.First {
			continue
		}
		matches, err := p.runRows(ctx, c, x)
		found = append(found, matches...)
		if datalog.Faulty(err) && p.a.expired(c.Commit, c.Object(commit.KindIndex, "")) {
			err = errors.New("its rows have expired, and what is gone cannot be shown: ask for a later time")
		}
		if err != nil {
			return nil, part, fmt.Errorf("%s: %w", c.key, err)
		}
		if x.Size() > evidence.MaxLen {
			return nil, part, fmt.Errorf("these leaves take more than %d bytes, the most of one file: ask for a shorter time", evidence.MaxLen)
		}
	}
	data, err := x.Marshal(func(nodes []merkle.Node, hashes []merkle.Hash) error {
		return p.prover.tree(r.l).read(ctx, nodes, hashes)
	})
	if err != nil {
		return nil, part, fmt.Errorf("the archive does not hold what its head says: 'stele verify' says more: %w", err)
	}
	return found, evidence.Part{Kind: rangeproof.KindLeaves, Data: data}, nil
}

// runRows adds the leaves of a segment to a run, and gives those that match.
func (p *answering) runRows(ctx context.Context, c *logCommit, x *rangeproof.Leaves) (found []match, err error) {
	var check segment.Checker
	var leafdata []byte
	for b, err := range p.a.batches(ctx, c) {
		if err != nil {
			return nil, err
		}
		for i := range b.Len() {
			leafdata = check.AppendLeafdata(leafdata[:0], b.Batch, i)
			before := len(x.Matches)
			if err := x.Add(leafdata); err != nil {
				return nil, err
			}
			if len(x.Matches) > before {
				found = append(found, match{c, b.first + uint64(i)})
			}
		}
	}
	return found, nil
}

// match is a leaf that the query selects, and the segment that holds it.
type match struct {
	c     *logCommit
	index uint64
}

// signed adds the frames of the matches of a run as their writers signed them, and the certificates of their streams.
func (p *answering) signed(ctx context.Context, r *leafRun, matches []match) error {
	if len(matches) == 0 {
		return nil
	}
	var at []uint64
	var signed [][]byte
	var streams [][16]byte
	next := uint64(0) // leaf behind the last frame
	for _, m := range matches {
		if m.index < next {
			continue
		}
		f, err := p.prover.frameOf(ctx, m.c, m.index)
		if err != nil {
			return fmt.Errorf("%s leaf %d: %w", r.l.chain.Origin, m.index, err)
		}
		at, signed = append(at, f.Leaf), append(signed, f.Signed)
		next = f.Leaf + uint64(f.Count)
		if !p.streams[f.Stream] {
			streams = append(streams, f.Stream)
		}
	}
	data, err := rangeproof.Frames(r.l.commits[r.from].Tree.First, at, signed)
	if err != nil {
		return err
	}
	p.prover.parts = append(p.prover.parts, evidence.Part{Kind: rangeproof.KindSigned, Data: data})
	for _, id := range streams {
		if err := p.prover.stream(ctx, id, p.log, p.streams); err != nil {
			return err
		}
	}
	return nil
}
