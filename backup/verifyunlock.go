package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/segment"
)

// unlocking opens the blocks of a segment and checks each record against its commitment.
type unlocking struct {
	r      *Reader
	l      *openLog
	c      *logCommit
	report *Report

	index *segment.Index
	next  []uint32 // the row behind each row in its block; 0: none
	last  []uint32 // by row of slot 0: the last row so far
	done  []bool
}

// start asks for the keys of a segment.
func (u *unlocking) start(ctx context.Context, index *segment.Index) error {
	u.index = index
	n := index.Len()
	u.next, u.last, u.done = slices.Grow(u.next[:0], n)[:n], slices.Grow(u.last[:0], n)[:n], slices.Grow(u.done[:0], n)[:n]
	clear(u.next)
	clear(u.last)
	clear(u.done)
	return u.r.open(ctx, index.Scopes())
}

// chain says that a row lies in the block that starts with row first.
func (u *unlocking) chain(first, row int) {
	before := max(int(u.last[first]), first)
	u.next[before], u.last[first] = uint32(row), uint32(row)
}

// block opens a block of the segment and all records in it.
func (u *unlocking) block(ctx context.Context, first int, block []byte) {
	for row := first; ; row = int(u.next[row]) {
		if b, i := u.index.Row(row); !u.done[row] && ctx.Err() == nil {
			u.done[row] = true
			if b.Type(i) == record.Plain {
				u.note(row, u.record(ctx, b, i, block))
			}
		}
		if u.next[row] == 0 {
			return
		}
	}
}

// record checks the record of a row, whose block is at hand.
func (u *unlocking) record(ctx context.Context, b *segment.Batch, i int, block []byte) error {
	var leaf record.Leaf
	b.Leaf(i, &leaf)
	at, _ := b.Block(i)
	_, err := u.r.opened(ctx, u.l, &leaf, at.First, func() ([]byte, error) { return block, nil })
	return err
}

// finish counts the records whose blocks did not come.
func (u *unlocking) finish() {
	for row := range u.done {
		b, i := u.index.Row(row)
		if u.done[row] || b.Type(i) != record.Plain {
			continue
		}
		err := errors.New("its block cannot be read")
		if o := u.c.Object(commit.KindData, b.Class(i)); o != nil && u.r.a.expired(u.c.Commit, o) {
			err = errExpired
		}
		if o := u.r.scopes[b.Scope(i)].of(b.Stream(i)); o != nil && o.state == stateErased {
			err = errErased
		}
		u.note(row, err)
	}
}

func (u *unlocking) note(row int, err error) {
	switch {
	case errors.Is(err, errExpired):
		u.report.ExpiredRecords++
	case errors.Is(err, errErased):
		u.report.Erased++
		u.retained(row)
	case err != nil:
		u.report.fault(readability, fmt.Sprintf("%s leaf %d", u.l.chain.Origin, u.c.Tree.First+uint64(row)), "%v", err)
	default:
		u.report.Opened++
	}
}

// longestScope is how long after the start of its scope a record may be.
const longestScope = time.Hour

// retained takes note of an erased record that came too late for an erasure, of a class that must be kept for some time: until
// that is over, its key is.
func (u *unlocking) retained(row int) {
	b, i := u.index.Row(row)
	o := u.r.scopes[b.Scope(i)].of(b.Stream(i))
	if o == nil || o.state != stateErased {
		return
	}
	at := time.Unix(0, b.Time(i))
	u.r.a.control.View(func(s *control.State) {
		late := slices.ContainsFunc(s.Requests, func(r *control.Request) bool {
			return r.What == control.WhatErase && r.Standing == control.Done && u.c.Time.After(r.Time) && at.Add(-longestScope).Before(r.Time)
		})
		if until := at.Add(s.Policy().Class(b.Class(i)).Min.Duration()); late && until.After(o.retained) {
			o.retained = until
		}
	})
}
