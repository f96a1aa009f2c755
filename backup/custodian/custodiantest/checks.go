package custodiantest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/stelelog/stele/backup/custodian"
)

// patience is how long a device may take for what is to be seen at once.
const patience = 2 * time.Minute

func checkCreate(b *bench) error {
	if _, err := b.status(b.c, 1, custodian.Unknown); err != nil {
		return err
	}
	s, err := b.c.Create(b.tb.Context(), 1)
	if err != nil {
		return err
	}
	if err := b.says(s, custodian.Live); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	want := share()
	blob, err := b.c.Wrap(b.tb.Context(), 1, want)
	if err != nil {
		return err
	}
	for _, c := range []custodian.Custodian{b.c, b.open()} {
		if _, err := c.Create(b.tb.Context(), 1); err != nil {
			return fmt.Errorf("created again: %w", err)
		}
		if err := b.opens(c, 1, blob, want); err != nil {
			return fmt.Errorf("created again, the key changed: %w", err)
		}
	}
	_, err = b.status(b.open(), 1, custodian.Live)
	return err
}

func checkRoundTrip(b *bench) error {
	want, blob, err := b.wrapped(7)
	if err != nil {
		return err
	}
	if len(blob) == 0 || len(blob) > custodian.MaxBlob {
		return fmt.Errorf("blob of %d bytes, want 1 to %d", len(blob), custodian.MaxBlob)
	}
	if bytes.Contains(blob, want[:]) {
		return errors.New("the blob holds the share in clear")
	}
	keep := bytes.Clone(blob)
	for _, c := range []custodian.Custodian{b.c, b.open()} {
		if err := b.opens(c, 7, blob, want); err != nil {
			return err
		}
	}
	if !bytes.Equal(blob, keep) {
		return errors.New("unwrap changed the blob")
	}
	other, second := share(), []byte(nil)
	if second, err = b.c.Wrap(b.tb.Context(), 7, other); err != nil {
		return err
	}
	if err := b.opens(b.c, 7, second, other); err != nil {
		return fmt.Errorf("second share: %w", err)
	}
	return b.opens(b.c, 7, blob, want)
}

// checkBound: a blob opens where it was made only.
func checkBound(b *bench) error {
	_, blob, err := b.wrapped(1)
	if err != nil {
		return err
	}
	if _, err := b.c.Create(b.tb.Context(), 2); err != nil {
		return err
	}
	got, err := b.c.Unwrap(b.tb.Context(), 2, blob)
	if err := fails("a blob of generation 1 in generation 2", got, err, custodian.ErrBlob); err != nil {
		return err
	}
	for what, id := range map[string]custodian.Identity{
		"another archive": {Archive: archive(), Name: b.id.Name},
		"another name":    {Archive: b.id.Archive, Name: "other"},
	} {
		c := b.Open(b.tb, id)
		if _, err := b.status(c, 1, custodian.Unknown); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if _, err := c.Create(b.tb.Context(), 1); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		got, err := c.Unwrap(b.tb.Context(), 1, blob)
		if err := fails("a blob of "+what, got, err, custodian.ErrBlob); err != nil {
			return err
		}
	}
	return nil
}

func checkChanged(b *bench) error {
	want, blob, err := b.wrapped(3)
	if err != nil {
		return err
	}
	step := 1
	if b.Flips > 0 {
		step = max(1, len(blob)/b.Flips)
	}
	for i := 0; i < len(blob); i += step {
		bad := bytes.Clone(blob)
		bad[i] ^= 1
		got, err := b.c.Unwrap(b.tb.Context(), 3, bad)
		if err := fails(fmt.Sprintf("byte %d of %d changed", i, len(blob)), got, err, custodian.ErrBlob); err != nil {
			return err
		}
	}
	for what, bad := range map[string][]byte{
		"no blob": nil, "half a blob": blob[:len(blob)/2], "a blob and a byte": append(bytes.Clone(blob), 'A'),
		"two blobs": append(bytes.Clone(blob), blob...), "zeros": make([]byte, len(blob)), "a megabyte": make([]byte, 1<<20),
	} {
		got, err := b.c.Unwrap(b.tb.Context(), 3, bad)
		if err := fails(what, got, err, custodian.ErrBlob); err != nil {
			return err
		}
	}
	return b.opens(b.c, 3, blob, want)
}

// checkNeverMade: nothing is made by the way, and an empty device has destroyed nothing.
func checkNeverMade(b *bench) error {
	_, blob, err := b.wrapped(1)
	if err != nil {
		return err
	}
	_, err = b.c.Wrap(b.tb.Context(), 5, share())
	if err := failsAs("wrap without a key", err, custodian.ErrUnknown); err != nil {
		return err
	}
	got, err := b.c.Unwrap(b.tb.Context(), 5, blob)
	if err := fails("unwrap without a key", got, err, custodian.ErrUnknown); err != nil {
		return err
	}
	s, err := b.c.Destroy(b.tb.Context(), 5)
	if err == nil || s.State == custodian.Destroyed {
		return fmt.Errorf("destroy of what was never made: %v, %v", s.State, err)
	}
	if err := failsAs("destroy of what was never made", err, custodian.ErrUnknown); err != nil && b.Class != custodian.Never {
		return err
	}
	_, err = b.status(b.c, 5, custodian.Unknown)
	return err
}

// checkDestroy: through every custodian on the device, at once, and as often as one likes.
func checkDestroy(b *bench) error {
	want, blob, err := b.wrapped(4)
	if err != nil {
		return err
	}
	other := b.open()
	if err := b.opens(other, 4, blob, want); err != nil {
		return err
	}
	first, err := b.c.Destroy(b.tb.Context(), 4)
	if b.Class == custodian.Never {
		if err == nil {
			return errors.New("class N destroyed a key")
		}
		return b.opens(b.c, 4, blob, want)
	}
	if err != nil {
		return err
	}
	if err := b.says(first, custodian.Destroyed); err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	for what, c := range map[string]custodian.Custodian{"same": b.c, "open before": other, "open after": b.open()} {
		if err := b.dead(c, blob); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		s, err := b.status(c, 4, custodian.Destroyed)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if !s.Destroyed.Equal(first.Destroyed) {
			return fmt.Errorf("%s: destroyed at %v, and at %v before", what, s.Destroyed, first.Destroyed)
		}
		if s, err = c.Destroy(b.tb.Context(), 4); err != nil {
			return fmt.Errorf("%s: destroyed again: %w", what, err)
		}
		if !s.Destroyed.Equal(first.Destroyed) || s.State != custodian.Destroyed {
			return fmt.Errorf("%s: destroyed again: %v at %v, before at %v", what, s.State, s.Destroyed, first.Destroyed)
		}
	}
	return nil
}

// dead checks that generation 4 neither wraps nor unwraps.
func (b *bench) dead(c custodian.Custodian, blob []byte) error {
	got, err := c.Unwrap(b.tb.Context(), 4, blob)
	if err := fails("unwrap after destroy", got, err, custodian.ErrDestroyed); err != nil {
		return err
	}
	_, err = c.Wrap(b.tb.Context(), 4, share())
	return failsAs("wrap after destroy", err, custodian.ErrDestroyed)
}

// checkDestroyedStays: a generation has one life.
func checkDestroyedStays(b *bench) error {
	_, blob, err := b.wrapped(4)
	if err != nil {
		return err
	}
	if b.Class == custodian.Never {
		return nil
	}
	if _, err := b.c.Destroy(b.tb.Context(), 4); err != nil {
		return err
	}
	for range 2 {
		_, err := b.open().Create(b.tb.Context(), 4)
		if err := failsAs("create after destroy", err, custodian.ErrDestroyed); err != nil {
			return err
		}
		if err := b.dead(b.c, blob); err != nil {
			return err
		}
	}
	_, err = b.status(b.open(), 4, custodian.Destroyed)
	return err
}

// checkOthersLive: destroying one generation leaves the ones beside it, those whose decimal begins with it, and those of
// others.
func checkOthersLive(b *bench) error {
	if b.Class == custodian.Never {
		return nil
	}
	type kept struct {
		c          custodian.Custodian
		generation uint64
		blob       []byte
		share      custodian.Share
	}
	var all []kept
	keep := func(id custodian.Identity, generation uint64) error {
		k := kept{c: b.Open(b.tb, id), generation: generation, share: share()}
		_, err := k.c.Create(b.tb.Context(), generation)
		if err == nil {
			k.blob, err = k.c.Wrap(b.tb.Context(), generation, k.share)
		}
		all = append(all, k)
		return err
	}
	for _, generation := range []uint64{1, 2, 11, 10, 12} {
		if err := keep(b.id, generation); err != nil {
			return err
		}
	}
	for _, id := range []custodian.Identity{{Archive: archive(), Name: b.id.Name}, {Archive: b.id.Archive, Name: b.id.Name + "-1"}} {
		if err := keep(id, 1); err != nil {
			return err
		}
	}
	if _, err := b.c.Destroy(b.tb.Context(), 1); err != nil {
		return err
	}
	for _, k := range all[1:] {
		if err := b.opens(k.c, k.generation, k.blob, k.share); err != nil {
			return fmt.Errorf("generation 1 was destroyed, and then: %w", err)
		}
	}
	return nil
}

func checkGenerations(b *bench) error {
	for _, generation := range []uint64{0, 1, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64} {
		want, blob, err := b.wrapped(generation)
		if err != nil {
			return err
		}
		if err := b.opens(b.open(), generation, blob, want); err != nil {
			return err
		}
		if _, err := b.status(b.c, generation, custodian.Live); err != nil {
			return err
		}
	}
	return nil
}

func checkCancelled(b *bench) error {
	want, blob, err := b.wrapped(1)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(b.tb.Context())
	cancel()
	_, create := b.c.Create(ctx, 2)
	_, wrap := b.c.Wrap(ctx, 1, want)
	_, unwrap := b.c.Unwrap(ctx, 1, blob)
	_, destroy := b.c.Destroy(ctx, 1)
	_, status := b.c.Status(ctx, 1)
	for what, err := range map[string]error{"create": create, "wrap": wrap, "unwrap": unwrap, "destroy": destroy, "status": status} {
		if err := failsAs(what+" with a cancelled context", err, context.Canceled); err != nil {
			return err
		}
	}
	if _, err := b.status(b.c, 2, custodian.Unknown); err != nil {
		return err
	}
	return b.opens(b.c, 1, blob, want)
}

func checkTogether(b *bench) error {
	want, blob, err := b.wrapped(1)
	if err != nil {
		return err
	}
	users := []custodian.Custodian{b.c, b.open()}
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			c := users[i%2]
			err := b.opens(c, 1, blob, want)
			if err == nil {
				var mine []byte
				s := share()
				if mine, err = c.Wrap(b.tb.Context(), 1, s); err == nil {
					err = b.opens(users[(i+1)%2], 1, mine, s)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// checkCreateTogether: of creators that race, none is left with a key that is not the generation's. They may be told to try
// again.
func checkCreateTogether(b *bench) error {
	const racers = 4
	var wg sync.WaitGroup
	errs, blobs, shares := make([]error, racers), make([][]byte, racers), make([]custodian.Share, racers)
	users := make([]custodian.Custodian, racers)
	for i := range racers {
		users[i] = b.open()
	}
	for i := range racers {
		wg.Go(func() {
			shares[i] = share()
			errs[i] = patiently(func() error {
				_, err := users[i].Create(b.tb.Context(), 9)
				return err
			})
			if errs[i] == nil {
				errs[i] = patiently(func() (err error) {
					blobs[i], err = users[i].Wrap(b.tb.Context(), 9, shares[i])
					return err
				})
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for i, blob := range blobs {
		if err := b.opens(users[(i+1)%racers], 9, blob, shares[i]); err != nil {
			return fmt.Errorf("racer %d: %w", i, err)
		}
	}
	return nil
}

// patiently repeats what is worth repeating.
func patiently(call func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := call()
		if !errors.Is(err, custodian.ErrUnavailable) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(rand.N(5 * time.Millisecond)) // those that stand in each other's way must not do so in step
	}
}
