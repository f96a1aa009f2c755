package backup

import (
	"context"
	"fmt"
	"iter"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/segment"
)

// index reads the whole index of a commit. errExpired: it is gone, as policy says.
func (a *Archive) index(ctx context.Context, c *commit.Commit) (*segment.Index, error) {
	obj := c.Object(commit.KindIndex, "")
	if obj == nil {
		return nil, fmt.Errorf("commit %d of %s has no index", c.N, c.Log)
	}
	data, _, err := datalog.Fetch(ctx, a.store, obj)
	if datalog.Faulty(err) && a.expired(c, obj) {
		return nil, errExpired
	}
	if err != nil {
		return nil, err
	}
	return segment.OpenIndex(data)
}

// indexBatch is a part of an index.
type indexBatch struct {
	*segment.Batch
	first uint64 // the leaf of row 0
}

// batches reads the index of a commit batch by batch, each checked against the commit. It ends behind an error.
func (a *Archive) batches(ctx context.Context, c *logCommit) iter.Seq2[indexBatch, error] {
	return func(yield func(indexBatch, error) bool) {
		h, err := a.indexHead(ctx, c)
		if err != nil {
			yield(indexBatch{}, err)
			return
		}
		a.batchesOf(ctx, c, h)(yield)
	}
}

// indexHead reads what the index of a commit says of itself.
func (a *Archive) indexHead(ctx context.Context, c *logCommit) (*segment.Head, error) {
	if c.Index == nil {
		return nil, fmt.Errorf("%s names no ranges of its index: %w", c.key, datalog.ErrNoObject)
	}
	head, _, err := datalog.FetchSpan(ctx, a.store, c.Object(commit.KindIndex, ""), c.Index.Head)
	if err != nil {
		return nil, err
	}
	return segment.ParseHead(head)
}

// batchesOf is batches, behind a head that was read.
func (a *Archive) batchesOf(ctx context.Context, c *logCommit, h *segment.Head) iter.Seq2[indexBatch, error] {
	return func(yield func(indexBatch, error) bool) {
		obj, first := c.Object(commit.KindIndex, ""), c.Tree.First
		for _, span := range c.Index.Batches {
			b := indexBatch{first: first}
			raw, _, err := datalog.FetchSpan(ctx, a.store, obj, span)
			if err == nil {
				b.Batch, err = h.ParseBatch(raw)
			}
			if !yield(b, err) || err != nil {
				return
			}
			first += uint64(b.Len())
		}
	}
}
