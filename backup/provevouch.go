package backup

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/internal/anchorlog"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/cosign"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/merkle"
)

// voucher is a head that somebody else has seen: the first one, so the earliest word of it, that covers what is proved.
type voucher struct {
	size  uint64
	head  []byte // signed by the control log alone
	lines []byte // of witnesses; nil for an anchor
	proof []byte // of an anchor: tlog-proof of the head in its log
	name  string // of the anchor's log
}

// vouch puts the proofs under the smallest head that somebody else has seen and that covers need entries, and notes who has
// seen it or a later one. Without such a head it is the smallest one that was published, with nobody to vouch for it: the
// earliest word of the control log, and the shortest proofs.
func (log *controlProof) vouch(ctx context.Context, p *prover, need uint64) error {
	cosigned, err := p.cosigned(ctx, need)
	if err != nil {
		return err
	}
	anchored, err := p.anchored(ctx, need)
	if err != nil {
		return err
	}
	all := slices.DeleteFunc(slices.Concat(cosigned, anchored), func(v voucher) bool { return v.size > uint64(len(log.hashes)) })
	if len(all) == 0 {
		size, head, err := p.a.control.CheckpointFrom(ctx, log.state, need)
		if head != nil {
			log.size, log.checkpoint = size, head
		}
		return err
	}
	if err := p.a.control.Refresh(ctx); err != nil {
		return err
	}
	least := slices.MinFunc(all, func(a, b voucher) int { return int(a.size) - int(b.size) })
	log.size, log.checkpoint = least.size, least.head
	for _, v := range all {
		way, err := p.a.control.Prove(log.size, v.size)
		if err != nil {
			return err
		}
		switch {
		case v.proof == nil:
			log.vouches = append(log.vouches, evidence.CosignedPart(way.Path, append(bytes.Clone(v.head), v.lines...)))
		case bytes.Equal(v.head, log.checkpoint):
			log.vouches = append(log.vouches, evidence.AnchoredPart(nil, nil, v.proof))
		default:
			log.vouches = append(log.vouches, evidence.AnchoredPart(way.Path, v.head, v.proof))
		}
	}
	return nil
}

// cosigned finds for each witness the first head that it cosigned and that has at least need entries, by ascending size.
func (p *prover) cosigned(ctx context.Context, need uint64) (out []voucher, err error) {
	policy, err := p.a.trust.Cosigners()
	if err != nil || len(policy.Witnesses) == 0 {
		return nil, err
	}
	signed, looked := map[string]bool{}, 0
	for c, err := range p.a.control.Cosigned(ctx, policy, need-min(need, 1), math.MaxUint64) {
		if err != nil {
			return nil, err
		}
		// A witness that has been away for long may never have seen this head; the others are enough then.
		if looked++; len(signed) == len(policy.Witnesses) || looked > cosign.LookBack && policy.Met(func(w string) bool { return signed[w] }) {
			break
		}
		if c.Err != nil || c.Size < need {
			continue
		}
		out = takeCosigned(out, c, signed)
	}
	return out, nil
}

func takeCosigned(out []voucher, c ledger.Cosigned, signed map[string]bool) []voucher {
	by := slices.DeleteFunc(slices.Clone(c.By), func(s cosign.Cosignature) bool { return signed[s.Witness] })
	if len(by) == 0 {
		return out
	}
	if last := len(out) - 1; last < 0 || out[last].size < c.Size {
		out = append(out, voucher{size: c.Size, head: c.Head})
	}
	for _, s := range by {
		signed[s.Witness] = true
		out[len(out)-1].lines = append(out[len(out)-1].lines, s.Line...)
	}
	return out
}

// anchored finds for each anchor of the trust file the first head of at least need entries that is in it, by the names of
// their logs.
func (p *prover) anchored(ctx context.Context, need uint64) (out []voucher, err error) {
	for _, vkey := range p.a.trust.Anchors {
		chain, err := anchorlog.NewChain(&p.a.trust, vkey)
		if err != nil {
			return nil, err
		}
		r, found, err := ledger.FirstAnchored(ctx, p.a.store, vkey, chain, need)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		if err := p.a.control.Refresh(ctx); err != nil {
			return nil, err
		}
		var size uint64
		p.a.control.View(func(s *control.State) { size, err = s.CheckHead([]byte(r.Head)) })
		if err != nil {
			return nil, fmt.Errorf("%s holds a head that this archive contradicts: 'stele verify' says more: %w", chain.Name(), err)
		}
		proof, err := merkle.TLogProof{Index: r.N, Path: r.Inclusion, Checkpoint: []byte(r.Root)}.MarshalText()
		if err != nil {
			return nil, err
		}
		out = append(out, voucher{size: size, head: []byte(r.Head), proof: proof, name: chain.Name()})
	}
	slices.SortFunc(out, func(a, b voucher) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	return out, nil
}
