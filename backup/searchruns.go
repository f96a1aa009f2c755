package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/segment"
)

const (
	// denseRuns is the share of a segment's runs, one in so many, from which on it is read whole.
	denseRuns = 8
	// blocksAtOnce is about how many bytes of sealed blocks are held while runs are opened.
	blocksAtOnce = 8 << 20
)

// byRuns gives what a query by scopes selects in a commit, by the runs of these scopes alone. ok is false if the index
// has to be read: because most of the segment is wanted, or a scope that cannot be opened.
func (s *search) byRuns(ctx context.Context, l *openLog, c *logCommit) (hits []hit, ok bool, err error) {
	scopes, ok := s.present(c)
	if !ok || len(scopes) == 0 {
		return nil, ok, nil
	}
	u, err := s.r.lookup(ctx, c)
	if err != nil {
		return nil, false, err
	}
	candidates := u.candidates(scopes)
	if len(candidates) > u.dir.Len()/denseRuns && len(candidates) > readsAtOnce {
		return nil, false, nil
	}
	runs, err := u.find(ctx, candidates)
	if err != nil {
		return nil, false, err
	}
	doubtful := map[[16]byte]bool{}
	for len(runs) > 0 {
		n, size := 0, int64(0)
		for n < len(runs) && (n == 0 || size < blocksAtOnce) {
			size += runs[n].blockBytes()
			n++
		}
		if err := s.openRuns(ctx, l, c, runs[:n], &hits, doubtful); err != nil {
			return nil, false, err
		}
		runs = runs[n:]
	}
	if len(doubtful) == 0 {
		return hits, true, nil
	}
	// What is wrong with a run, and with which of its records, the rows in the index tell.
	have := map[uint64]bool{}
	for _, h := range hits {
		have[h.index] = true
	}
	err = s.scan(ctx, l, c, func(l *openLog, b *segment.Batch, i int, index uint64) bool {
		return doubtful[b.Scope(i)] && !have[index] && s.matches(l, b, i, index)
	}, func(h hit) error {
		hits = append(hits, h)
		return nil
	})
	return hits, true, err
}

// present are the scopes that a commit may hold leaves of. ok is false if one of them cannot be opened and is wanted.
func (s *search) present(c *logCommit) (scopes [][16]byte, ok bool) {
	streams := map[commit.Hex16]bool{}
	for i := range c.Streams {
		if t := &c.Streams[i]; t.Next > t.From || len(t.Late) > 0 {
			streams[t.ID] = true
		}
	}
	for id := range s.only {
		switch o := s.r.scopes[id]; {
		case o.scope != nil && o.in(streams):
			scopes = append(scopes, id)
		case o.scope == nil && (o.state != stateErased || s.q.Erased):
			return nil, false
		}
	}
	return scopes, true
}

// lookup returns what is known of the runs of a commit.
func (r *Reader) lookup(ctx context.Context, c *logCommit) (*lookup, error) {
	if u := r.lookups[c.hash]; u != nil {
		return u, nil
	}
	u, err := openLookup(ctx, r.a.store, c)
	if err != nil {
		return nil, err
	}
	if len(r.lookups) >= readsAtOnce {
		clear(r.lookups)
	}
	r.lookups[c.hash] = u
	return u, nil
}

// blockBytes is how many bytes the blocks of a run have.
func (u *run) blockBytes() (n int64) {
	for i := range u.rows {
		if !u.rows[i].SameBlock {
			n += int64(u.rows[i].Block.Length)
		}
	}
	return n
}

// leaf is row i as a leaf, but for what a run does not say.
func (u *run) leaf(i int, o *openScope) record.Leaf {
	row := &u.rows[i]
	return record.Leaf{Type: row.Type, Kind: row.Kind, Flags: row.Flags, Stream: o.stream, Seq: row.Seq, ID: row.ID,
		Time: row.Time, Scope: u.scope, Slot: row.Slot, Class: o.class}
}

// openRuns opens runs and adds what the query selects to hits. The scopes of runs that do not come out right go into
// doubtful.
func (s *search) openRuns(ctx context.Context, l *openLog, c *logCommit, runs []*run, hits *[]hit, doubtful map[[16]byte]bool) error {
	blocks, err := s.r.blocksOf(ctx, c, runs)
	if err != nil {
		return err
	}
	for _, u := range runs {
		got, err := s.openRun(ctx, l, c, u, blocks)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			doubtful[u.scope] = true
			s.r.bodies = literals{} // what a run said of where records lie may be wrong too
			continue
		}
		*hits = append(*hits, got...)
	}
	return nil
}

// placedBlock is where a run says that a block is.
type placedBlock struct {
	class string
	at    segment.Block
}

// blocksOf reads the blocks of runs. One that is not where its run says, or larger than the frame it came in could be, is
// left out: nothing has shown yet that a run is true.
func (r *Reader) blocksOf(ctx context.Context, c *logCommit, runs []*run) (map[placedBlock][]byte, error) {
	places := map[string][]segment.Block{}
	for _, u := range runs {
		class := r.scopes[u.scope].class
		for i := range u.rows {
			if !u.rows[i].SameBlock {
				places[class] = append(places[class], u.rows[i].Block)
			}
		}
	}
	out := map[placedBlock][]byte{}
	for class, blocks := range places {
		obj := c.Object(commit.KindData, class)
		if obj == nil {
			continue
		}
		var ranges []worm.Range
		var at []segment.Block
		for _, b := range blocks {
			if b.Length > 0 && b.Length <= frame.MaxLen && int64(b.Offset)+int64(b.Length) <= obj.Size {
				ranges, at = append(ranges, worm.Range{Off: int64(b.Offset), Len: int64(b.Length)}), append(at, b)
			}
		}
		data, err := fetchParts(ctx, r.a.store, obj, ranges, func(int, []byte) bool { return true })
		if err != nil && !datalog.Faulty(err) {
			return nil, err
		}
		for i := range at {
			if data[i] != nil {
				out[placedBlock{class, at[i]}] = data[i]
			}
		}
	}
	return out, nil
}

// openRun opens the records of a run and checks them, and what the run says of them, against its digest. An error says
// that something is wrong with it.
func (s *search) openRun(ctx context.Context, l *openLog, c *logCommit, u *run, blocks map[placedBlock][]byte) (hits []hit, err error) {
	scope := s.r.scopes[u.scope]
	var rest []byte
	for i := range u.rows {
		row := &u.rows[i]
		leaf, block := u.leaf(i, scope), blocks[placedBlock{scope.class, row.Block}]
		if !row.SameBlock {
			digest := sha256.Sum256(block)
			rest = append(rest, digest[:]...)
		}
		p := s.r.bodies.block(leaf.Stream, row.Block.First)
		if p == nil {
			if p, err = s.r.openBlock(l, &leaf, row.Block.First, block); err != nil {
				return nil, err
			}
		}
		if int(leaf.Slot) >= len(p.Records) {
			return nil, fmt.Errorf("the block has no slot %d", leaf.Slot)
		}
		index, f := c.Tree.First+uint64(row.Leaf), clearFields(&leaf)
		commitment, err := s.r.restore(ctx, l, &leaf, row.Block.First, p, &f)
		if err != nil {
			return nil, err
		}
		rest = append(rest, commitment[:]...)
		if s.selects(l, index, row.Type, row.Kind, row.ID, row.Time) {
			h, _ := s.made(l, index, f, nil)
			hits = append(hits, h)
		}
	}
	if segment.RunDigest(u.scope, u.raw, rest) != u.place.Digest {
		return nil, errors.New("the run is not what its records say")
	}
	return hits, nil
}
