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
// its time is a break if a key service worked when it was over by both clocks and left it, and is only told otherwise.
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
			switch {
			case k.over(k.record.Time).After(late):
				k.v.r.fault(erasure, key, text, week, e.Index, stamp(e.Transport))
			case k.record.Time.After(late):
				k.v.r.notice(erasure, key, text+"; it goes when others than the key service say that it is so late", week, e.Index, stamp(e.Transport))
			case k.v.opt.Now.After(late):
				k.v.r.notice(erasure, key, text+"; no key service has worked since", week, e.Index, stamp(e.Transport))
			default:
				continue
			}
			break
		}
	}
	return nil
}

// readClock asks who else than key services says how late it is, as these must before they erase without a request.
func (k *keyCheck) readClock(ctx context.Context) error {
	policy, err := k.v.a.trust.Cosigners()
	if err != nil {
		return fmt.Errorf("trust file: %w", err)
	}
	k.others, err = k.v.a.control.Clock(ctx, policy)
	return err
}

// over is a key service's time as far as others vouch for it. Control logs that are older than the time of their objects
// vouch for nothing.
func (k *keyCheck) over(t time.Time) time.Time {
	if t.Before(k.others.Time) || k.others.Time.IsZero() && k.others.Source == control.ClockLog {
		return t
	}
	return k.others.Time
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
