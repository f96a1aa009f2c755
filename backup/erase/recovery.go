package erase

import (
	"context"
	"slices"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
)

// Hash is a SHA-256, in JSON as 64 hex digits.
type Hash = commit.Hex32

// Record names a root record of the key store.
type Record struct {
	N    uint64 `json:"n"`
	Hash Hash   `json:"hash"` // of its file
}

// Recovery is what is decided where the key store has lost records or packs for good: an older record stands in, and what it
// does not have is gone, but for what the transport still holds.
type Recovery struct {
	Record              // that stands in
	Generation uint64   `json:"generation"`
	Lost       []Record `json:"lost"`    // that the control log knows and nobody has, ascending
	Packs      []Hash   `json:"packs"`   // packs that the newest record names and nobody has, ascending
	Missing    uint64   `json:"missing"` // scopes that the newest record which is known had more than the one that stands in
}

// Recover asks for a recovery, which two approvers decide. Package keys finds what is lost. It is carried out only while just
// this is lost, and not after 30 days. It fails if somebody has asked for it and it waits: two requests would part the approvals.
func (d *Desk) Recover(ctx context.Context, r Recovery) (*Filed, error) {
	if err := d.log.Refresh(ctx); err != nil {
		return nil, err
	}
	body := control.Recovery{RootRef: control.RootRef(r.Record), Generation: r.Generation, Lost: []control.RootRef{}, Packs: append([]Hash{}, r.Packs...), Missing: r.Missing}
	for _, l := range r.Lost {
		body.Lost = append(body.Lost, control.RootRef(l))
	}
	if err := d.asked(ctx, func(q *control.RequestBody) bool {
		o := q.Recovery
		return o != nil && o.RootRef == body.RootRef && slices.Equal(o.Lost, body.Lost) && slices.Equal(o.Packs, body.Packs)
	}); err != nil {
		return nil, err
	}
	return d.filed(ctx, control.TypeRequest, control.RequestBody{What: control.WhatRecovery, Until: d.inAMonth(), Recovery: &body}, nil)
}

func recoveryOf(r *control.Recovery) *Recovery {
	if r == nil {
		return nil
	}
	out := &Recovery{Record: Record(r.RootRef), Generation: r.Generation, Lost: []Record{}, Packs: r.Packs, Missing: r.Missing}
	for _, l := range r.Lost {
		out.Lost = append(out.Lost, Record(l))
	}
	return out
}
