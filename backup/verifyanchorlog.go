package backup

import (
	"context"
	"errors"
	"fmt"

	"github.com/stelelog/stele/internal/anchorlog"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/merkle"
)

// anchor checks what the archive holds of an anchor that the trust file names.
func (v *verifier) anchor(ctx context.Context, vkey string) error {
	chain, err := anchorlog.NewChain(&v.a.trust, vkey)
	if err != nil {
		return err
	}
	contrary, rubbish := false, 0
	roots := map[uint64]merkle.Hash{}
	err = ledger.EachAnchored(ctx, v.a.store, vkey, chain, func(key string, r anchorlog.Record, _ []byte) {
		roots[chain.Root.Size] = chain.Root.Root
		var err error
		v.a.control.View(func(s *control.State) { _, err = s.CheckHead([]byte(r.Head)) })
		var no *control.HeadError
		if errors.As(err, &no) && no.Head > no.Size && v.a.control.Refresh(ctx) == nil { // it may have grown since it was read
			v.a.control.View(func(s *control.State) { _, err = s.CheckHead([]byte(r.Head)) })
		}
		if err != nil && !contrary {
			contrary = true
			v.r.fault(integrity, key, "%v", err)
			v.r.fault(anchoring, key, "anchored in %s: %v", chain.Name(), err)
		}
	}, func(key string, err error) {
		if rubbish++; rubbish <= mostNamed {
			v.r.notice(anchoring, key, "%v", err)
		}
	})
	if err != nil {
		return err
	}
	v.savedRecords(chain, roots)
	size := v.a.control.Size()
	v.r.Anchors = append(v.r.Anchors, AnchorReport{Name: chain.Name(), Kind: "anchor", Size: chain.Head.Size, Behind: size - min(size, chain.Head.Size)})
	switch {
	case chain.Next == 0:
		v.r.fault(anchoring, v.a.trust.Origin(), "the archive holds no valid record of the anchor %s that the trust file names", chain.Name())
	case !contrary:
		v.seen(chain.Head.Size, fmt.Sprintf("%s anchored in %s", number(chain.Head.Size, "entry"), chain.Name()))
	}
	return nil
}

// savedRecords holds the records of an anchor that were saved outside against those in the archive.
func (v *verifier) savedRecords(chain *anchorlog.Chain, roots map[uint64]merkle.Hash) {
	for _, file := range v.opt.Since {
		if !anchorlog.IsRecord(file) {
			continue
		}
		r, root, _, err := chain.Open(file)
		if err != nil {
			continue // of another anchor, or none: that was said before
		}
		have, known := roots[root.Size]
		switch {
		case known && have != root.Root:
			v.r.fault(anchoring, root.Origin, "its operator has signed two roots of size %d: the anchor was rolled back, or has two histories", root.Size)
		case !known && r.N < chain.Next:
			v.r.fault(anchoring, root.Origin, "its operator signed a root of size %d that is not among the records here: the anchor was rolled back, or has two histories", root.Size)
		case !known:
			v.r.fault(anchoring, root.Origin, "record %d was saved outside, and the archive has %d: records were removed", r.N, chain.Next)
		}
	}
}
