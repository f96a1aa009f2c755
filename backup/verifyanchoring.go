package backup

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/cosign"
	"github.com/stelelog/stele/internal/ledger"
)

// mostBehind is how long the newest entries of the control log may have been made after those that others have seen: long
// enough for witnesses to be away, short enough to notice.
const mostBehind = 24 * time.Hour

// anchoring checks who else has seen the control log.
func (v *verifier) anchoring(ctx context.Context) error {
	policy, err := v.a.trust.Cosigners()
	if err != nil {
		return fmt.Errorf("trust file: %w", err)
	}
	if err := v.cosignatures(ctx, policy); err != nil {
		return err
	}
	for _, vkey := range v.a.trust.Anchors {
		if err := v.anchor(ctx, vkey); err != nil {
			return err
		}
	}
	switch {
	case policy.Wants():
		v.quorum(policy)
	case len(v.a.trust.Anchors) > 0:
	case len(policy.Witnesses) > 0:
		v.unanchored = "the trust file names witnesses and wants none of them (quorum none)"
	default:
		v.unanchored = "the trust file names no witness; only this archive's own keys vouch for the control log"
	}
	return nil
}

// cosignatures reports how far each witness has come.
func (v *verifier) cosignatures(ctx context.Context, policy *cosign.Policy) error {
	seen := map[string]AnchorReport{}
	rubbish := 0
	from, err := v.a.control.NewestCosigned(ctx, policy, func(c ledger.Cosigned) {
		switch {
		case c.Size == 0:
			if rubbish++; rubbish <= mostNamed {
				v.r.notice(anchoring, c.Key, "%v", c.Err)
			}
		case c.Err != nil:
			v.r.fault(integrity, c.Key, "%v", c.Err)
			v.r.fault(anchoring, c.Key, "cosigned by %s: %v", names(c.By), c.Err)
		default:
			for _, by := range c.By {
				if c.Size > seen[by.Witness].Size {
					seen[by.Witness] = AnchorReport{Name: by.Witness, Kind: "witness", Size: c.Size, Time: by.Time}
				}
			}
		}
	})
	if rubbish > mostNamed {
		v.r.notice(anchoring, ledger.CosignedPrefix, "squat: %d more objects there are no cosigned heads", rubbish-mostNamed)
	}
	size := v.a.control.Size()
	for _, w := range policy.Witnesses {
		r := seen[w.Name]
		r.Name, r.Kind, r.Behind = w.Name, "witness", size-max(r.Size, min(from, size)) // one that was not met is at least so far behind
		v.r.Anchors = append(v.r.Anchors, r)
	}
	return err
}

// quorum judges whether enough witnesses have seen enough.
func (v *verifier) quorum(policy *cosign.Policy) {
	reached := policy.Reached(func(name string) uint64 {
		for _, r := range v.r.Anchors {
			if r.Kind == "witness" && r.Name == name {
				return r.Size
			}
		}
		return 0
	})
	if reached == 0 {
		v.r.fault(anchoring, v.a.trust.Origin(), "no head of the control log has the cosignatures that the trust file wants (quorum %s)", policy.Quorum)
		return
	}
	v.seen(reached, fmt.Sprintf("%s cosigned by the quorum %s of the trust file (%s)", number(reached, "entry"), policy.Quorum, v.witnessed(reached)))
}

// seen words how far the control log was seen, and makes a fault of it if that is too long ago.
func (v *verifier) seen(reached uint64, text string) {
	text = v.judgeBehind(reached, text)
	if v.anchored != "" {
		text = v.anchored + "; " + text
	}
	v.anchored = text
}

func (v *verifier) judgeBehind(reached uint64, text string) string {
	size := v.a.control.Size()
	if reached >= size {
		return text + "; that is all of it"
	}
	first, last := v.a.entryTime(reached), v.a.entryTime(size-1)
	text += fmt.Sprintf("; %s since, made from %s to %s", number(size-reached, "entry"), first.Format(time.RFC3339), last.Format(time.RFC3339))
	if last.Sub(first) > mostBehind {
		v.r.fault(anchoring, v.a.trust.Origin(), "%s: nobody outside has seen these", text)
	}
	return text
}

// witnessed lists the witnesses that have cosigned a head of at least size.
func (v *verifier) witnessed(size uint64) string {
	var out []string
	for _, r := range v.r.Anchors {
		if r.Kind == "witness" && r.Size >= size {
			out = append(out, r.Name)
		}
	}
	return strings.Join(out, ", ")
}

// entryTime is when the author of an entry says that it was made.
func (a *Archive) entryTime(i uint64) (t time.Time) {
	a.control.View(func(s *control.State) {
		if i < uint64(len(s.Listed)) {
			t = s.Listed[i].Time.UTC()
		}
	})
	return t
}

func names(by []cosign.Cosignature) string {
	out := make([]string, len(by))
	for i := range by {
		out[i] = by[i].Witness
	}
	if len(out) == 0 {
		return "no witness of the trust file"
	}
	return strings.Join(out, ", ")
}
