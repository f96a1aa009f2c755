package compact

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/stelelog/stele/backup/anchor/witness"
	"github.com/stelelog/stele/internal/cosign"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/internal/objstore"
	"github.com/stelelog/stele/merkle"
)

// witnesses has heads of the control log cosigned. Safe for concurrent use.
type witnesses struct {
	control *ledger.Log
	policy  *cosign.Policy
	clients []*witness.Client

	mu       sync.Mutex        // guards what follows
	started  bool              // known was read from the archive
	known    map[string]uint64 // size that each has cosigned
	size     uint64            // of the newest head that was published
	spoken   map[string]bool   // who has cosigned for this process: the archive may be an old copy, and what it says as old
	contrary map[string]error  // who knows of another history
	away     map[string]error  // who does not answer, or badly
}

func newWitnesses(c *ledger.Log, policy *cosign.Policy) (*witnesses, error) {
	w := &witnesses{control: c, policy: policy, known: map[string]uint64{}, spoken: map[string]bool{}, contrary: map[string]error{}, away: map[string]error{}}
	for _, one := range policy.Witnesses {
		if one.URL == "" {
			continue
		}
		client, err := witness.New(one.Name, one.Key.String(), one.URL, nil)
		if err != nil {
			return nil, err
		}
		w.clients = append(w.clients, client)
	}
	return w, nil
}

// round has the newest published head cosigned by all who have not done so, and keeps what they say. An error means that
// the store failed; what witnesses say is in the fields.
func (w *witnesses) round(ctx context.Context) error {
	if len(w.clients) == 0 {
		return nil
	}
	head, size, err := w.control.Published(ctx)
	if err != nil || head == nil {
		return err
	}
	if err := w.start(ctx, size); err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(w.clients))
	for i, client := range w.clients {
		w.mu.Lock()
		w.size = max(w.size, size)
		old, spoken := w.known[client.Name()], w.spoken[client.Name()]
		w.mu.Unlock()
		if spoken && old >= size {
			continue
		}
		wg.Go(func() {
			line, err := client.Cosign(ctx, head, old, func(old uint64) (merkle.ConsistencyProof, error) { return w.control.Prove(old, size) })
			if err == nil {
				errs[i] = w.control.KeepCosigned(ctx, size, head, line)
			}
			w.heard(ctx, client.Name(), size, err, errs[i])
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// start reads what the archive knows of the witnesses.
func (w *witnesses) start(ctx context.Context, size uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started {
		return nil
	}
	for c, err := range w.control.Cosigned(ctx, w.policy, size-min(size, cosign.LookBack), size) {
		if err != nil {
			return err
		}
		for _, by := range c.By {
			if c.Err == nil {
				w.known[by.Witness] = max(w.known[by.Witness], c.Size)
			}
		}
	}
	w.started = true
	return nil
}

// heard notes what a witness answered.
func (w *witnesses) heard(ctx context.Context, name string, size uint64, err, kept error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var no *witness.ContradictionError
	switch {
	case errors.As(err, &no):
		w.contrary[name] = err
	case err == nil && kept == nil:
		w.known[name], w.spoken[name] = size, true
		delete(w.contrary, name)
		delete(w.away, name)
	case err != nil && ctx.Err() == nil:
		w.away[name] = err
	}
}

// refusal says why no head may be signed: somebody outside has seen a history that this log does not continue.
func (w *witnesses) refusal() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, client := range w.clients {
		errs = append(errs, w.contrary[client.Name()])
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("no head of the control log is signed: %w", err)
	}
	return nil
}

// behind is how many entries of the newest published head each witness has not cosigned.
func (w *witnesses) behind() map[string]uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]uint64{}
	for _, client := range w.clients {
		out[client.Name()] = w.size - min(w.size, w.known[client.Name()])
	}
	return out
}

// cosign asks the witnesses, and says in the log who is away or contradicts.
func (c *Compactor) cosign(ctx context.Context) error {
	err := c.cosigners.round(ctx)
	if err != nil && ctx.Err() == nil {
		c.log.Error("cosigned heads could not be kept, they are asked for again", "err", err)
	}
	c.cosigners.mu.Lock()
	for name, err := range c.cosigners.away {
		c.log.Warn("a witness does not cosign", "witness", name, "err", err)
	}
	clear(c.cosigners.away)
	c.cosigners.mu.Unlock()
	return c.cosigners.refusal()
}

// runWitnesses has heads cosigned until ctx ends.
func (c *Compactor) runWitnesses(ctx context.Context) error {
	for ctx.Err() == nil {
		objstore.Pause(ctx, c.cfg.HeadsEvery)
		if ctx.Err() == nil {
			_ = c.cosign(ctx) // what it says keeps heads from being signed, and stands where that is noticed
		}
	}
	return ctx.Err()
}
