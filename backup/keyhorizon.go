package backup

import (
	"context"
	"fmt"
	"time"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyscope"
)

// lateErasing is how much later than a certificate says an intake key may be erased: key services look every hour.
const lateErasing = 24 * time.Hour

// horizons holds what certificates say of copies of the transport against the intake keys that are there. A key that outlives
// its time is a break if a key service worked meanwhile and left it, and is only told if none has worked since.
func (k *keyCheck) horizons(ctx context.Context, all []control.LoggedErasure) error {
	if k.broken || len(all) == 0 {
		return nil
	}
	weeks, err := k.ring.IntakeWeeks(ctx)
	if err := k.unread(err); err != nil || k.broken {
		return err
	}
	for _, week := range weeks {
		for i := range all {
			e := &all[i]
			if week+1 > keyscope.Week(e.Transport.Add(-control.Horizon)) {
				continue
			}
			late, key := e.Transport.Add(lateErasing), fmt.Sprintf("%s%020d", keydepot.Roots, k.record.N)
			const text = "the intake key of week %d is there, and the erasure of control entry %d says that it was erased by %s: copies of the grants transport can still be opened"
			if k.record.Time.After(late) {
				k.v.r.fault(erasure, key, text, week, e.Index, stamp(e.Transport))
			} else if k.v.opt.Now.After(late) {
				k.v.r.notice(erasure, key, text+"; no key service has worked since", week, e.Index, stamp(e.Transport))
			} else {
				continue
			}
			break
		}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
