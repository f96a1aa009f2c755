package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/stelelog/stele/backup/worm"
)

// create tries that what is stored reads back, that a second create is refused, and compares the clocks.
func (r *run) create(ctx context.Context) error {
	key, data := r.prefix+"once", []byte("first writer of "+r.prefix)
	before := time.Now()
	v, err := r.store.Create(ctx, key, data, worm.Lock{})
	if err != nil {
		return fmt.Errorf("nothing can be stored: %w", err)
	}
	r.clock(before, v.Modified, time.Now())

	if _, err := r.store.Create(ctx, key, []byte("second writer"), worm.Lock{}); !errors.Is(err, fs.ErrExist) {
		r.report("create-only", false, "a second create of the same key ends with %v, not with a refusal: two compactors would both commit", err)
	} else {
		r.report("create-only", true, "a second create of the same key is refused")
	}
	part, err := r.store.Read(ctx, key, v.ID, worm.Range{Off: 6, Len: 6})
	ranges := err == nil && bytes.Equal(part, data[6:12])
	listed, err := r.versions(ctx, key)
	if err != nil {
		return err
	}
	same := len(listed) == 1 && listed[0].ID == v.ID && listed[0].Size == int64(len(data))
	whole, err := r.holds(ctx, v, data)
	if err != nil {
		return err
	}
	if whole && ranges && same {
		r.report("read back", true, "what was stored is read, in whole and in part, and listed")
	} else {
		r.report("read back", false, "read equal: %t; part of it: %t; listed once: %t", whole, ranges, same)
	}
	return nil
}

func (r *run) clock(before, stored, after time.Time) {
	var skew time.Duration
	switch {
	case stored.IsZero():
		r.report(Clock, true, "the store shows no times")
		return
	case stored.Before(before.Truncate(time.Second)):
		skew = stored.Sub(before)
	case stored.After(after):
		skew = stored.Sub(after)
	}
	r.report(Clock, skew.Abs() <= maxSkew, "the store's clock is %s ahead of ours; at most %s either way", skew.Round(time.Second), maxSkew)
}

// race lets several writers create one key at the same time.
func (r *run) race(ctx context.Context) error {
	key := r.prefix + "race"
	var won [racers]bool
	var wait sync.WaitGroup
	for i := range racers {
		wait.Go(func() {
			_, err := r.store.Create(ctx, key, racer(i), worm.Lock{})
			won[i] = err == nil
		})
	}
	wait.Wait()
	listed, err := r.versions(ctx, key)
	if err != nil {
		return err
	}
	winners, kept := 0, true
	for i := range racers {
		if !won[i] {
			continue
		}
		winners++
		if len(listed) == 1 {
			same, err := r.holds(ctx, listed[0], racer(i))
			if err != nil {
				return err
			}
			kept = kept && same
		}
	}
	// A reply that is lost leaves a winner that does not know it.
	ok := winners <= 1 && kept && len(listed) == 1
	r.report("race", ok, "of %d writers that create one key at once, %d won; versions stored: %d; the winner's is kept: %t", racers, winners, len(listed), kept)
	return nil
}

func racer(i int) []byte { return fmt.Appendf(nil, "racer %d", i) }

// describe asks the store how it is set up.
func (r *run) describe(ctx context.Context) error {
	d, ok := r.store.(Describer)
	if !ok {
		return nil
	}
	b, err := d.Describe(ctx)
	switch {
	case errors.Is(err, fs.ErrPermission):
		r.report("bucket", true, "these credentials may not see how the bucket is set up")
		return nil
	case err != nil:
		return fmt.Errorf("set-up of the bucket: %w", err)
	}
	r.bucket = &b
	r.report("versioning", b.Versions || !r.wantsLock(), "%s", onOff(b.Versions, "on", "off: an overwrite would destroy; make a bucket with object lock"))
	if r.wantsLock() {
		r.report("object lock", b.Locks, "%s", onOff(b.Locks, "on", "off: most services enable it only when a bucket is made; make a new one"))
	}
	return nil
}

func onOff(on bool, yes, no string) string {
	if on {
		return yes
	}
	return no
}
