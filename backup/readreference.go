package backup

import (
	"context"
	"errors"
	"fmt"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/seal"
	"github.com/stelelog/stele/internal/segment"
)

// literal finds part number of the record at seq of the same stream and scope.
func (r *Reader) literal(ctx context.Context, l *openLog, leaf *record.Leaf, seq, number uint64) ([]byte, error) {
	if seq >= leaf.Seq {
		return nil, errors.New("a part refers forward")
	}
	p, slot, err := r.blockAt(ctx, l, leaf, seq)
	if err != nil {
		return nil, fmt.Errorf("part at seq %d: %w", seq, err)
	}
	n := uint64(0)
	for part := range p.Records[slot].Parts() {
		if n == number {
			if part.Kind != seal.Literal {
				return nil, fmt.Errorf("part %d at seq %d is not literal", number, seq)
			}
			return part.Data, nil
		}
		n++
	}
	return nil, fmt.Errorf("no part %d at seq %d", number, seq)
}

// blockAt finds the block that holds the record at seq of a stream, and its slot.
func (r *Reader) blockAt(ctx context.Context, l *openLog, leaf *record.Leaf, seq uint64) (*seal.Plaintext, uint16, error) {
	if p, slot, ok := r.bodies.at(leaf.Stream, seq); ok {
		return p, slot, nil
	}
	err := errors.New("it is not in the archive")
	for ; l != nil; l = l.before { // a scope may have begun in the log before
		for _, n := range l.chain.Holding(leaf.Stream, seq, seq+1) {
			var c logCommit
			if c, err = l.commitAt(n); err != nil {
				continue
			}
			if p, slot, ok := r.inRuns(ctx, l, &c, leaf, seq); ok {
				return p, slot, nil
			}
			var p *seal.Plaintext
			var slot uint16
			if p, slot, err = r.inIndex(ctx, l, &c, leaf, seq); err == nil {
				return p, slot, nil
			}
		}
	}
	return nil, 0, err
}

// inRuns looks for a record in the runs of a scope. What it finds is proved by the commitment to the record that refers
// to it; that nothing is found proves nothing.
func (r *Reader) inRuns(ctx context.Context, l *openLog, c *logCommit, leaf *record.Leaf, seq uint64) (*seal.Plaintext, uint16, bool) {
	u, err := r.lookup(ctx, c)
	if err != nil {
		return nil, 0, false
	}
	runs, err := u.find(ctx, u.candidates([][16]byte{leaf.Scope}))
	if err != nil {
		return nil, 0, false
	}
	for _, u := range runs {
		for i := range u.rows {
			row := u.rows[i]
			if row.Seq != seq {
				continue
			}
			row.SameBlock = false
			blocks, err := r.blocksOf(ctx, c, []*run{{scope: u.scope, rows: []segment.RunRow{row}}})
			if err != nil {
				return nil, 0, false
			}
			target := u.leaf(i, r.scopes[u.scope])
			p, err := r.openBlock(l, &target, row.Block.First, blocks[placedBlock{target.Class, row.Block}])
			if err != nil {
				return nil, 0, false
			}
			r.bodies.note(leaf.Stream, seq, row.Block.First, row.Slot)
			return p, row.Slot, true
		}
	}
	return nil, 0, false
}

// inIndex looks for a record in the index of a commit.
func (r *Reader) inIndex(ctx context.Context, l *openLog, c *logCommit, leaf *record.Leaf, seq uint64) (*seal.Plaintext, uint16, error) {
	index, err := r.a.index(ctx, c.Commit)
	if err != nil {
		return nil, 0, err
	}
	for _, b := range index.Batches {
		for i := range b.Len() {
			if b.Seq(i) != seq || b.Stream(i) != leaf.Stream {
				continue
			}
			var target record.Leaf
			b.Leaf(i, &target)
			at, ok := b.Block(i)
			if !ok || target.Scope != leaf.Scope {
				return nil, 0, errors.New("it is of another scope")
			}
			block, err := (&blockReader{r: r, c: c}).read(ctx, &target, at)
			if err != nil {
				return nil, 0, err
			}
			p, err := r.openBlock(l, &target, at.First, block)
			if err != nil {
				return nil, 0, err
			}
			r.bodies.note(leaf.Stream, seq, at.First, target.Slot)
			return p, target.Slot, nil
		}
	}
	return nil, 0, errors.New("it is not in the archive")
}
