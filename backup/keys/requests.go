package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyroot"
)

// carrying is how far requests are, beside what the control log says of them.
type carrying struct {
	reported map[commit.Hex32]bool      // requests and erasures whose entries wait in the inbox
	outcomes map[commit.Hex32]string    // what was last said of requests
	asks     map[commit.Hex32]*ask      // approved requests that were opened
	tried    map[commit.Hex32]time.Time // when they were last carried out, as far as that went
	released int                        // holds that were released when any of them was
}

func newCarrying() carrying {
	return carrying{reported: map[commit.Hex32]bool{}, outcomes: map[commit.Hex32]string{}, tried: map[commit.Hex32]time.Time{}}
}

// CarryOut carries out the requests to erase that are approved and not done, now, in one generation if they fit, and has what
// was left of old generations destroyed. What became of each goes into the inbox of the control log. It returns what was erased,
// also if some of it failed.
func (s *Service) CarryOut(ctx context.Context) ([]*Erased, error) {
	return s.carryOut(ctx, func([]*ask) bool { return true })
}

// carryOut carries out what waits if it is due, one generation after the other. In between others are answered.
func (s *Service) carryOut(ctx context.Context, due func([]*ask) bool) (done []*Erased, failed error) {
	if s.signer == nil {
		return nil, errReadOnly
	}
	taken := map[commit.Hex32]bool{}
	for {
		out, more, err := s.carryOutPart(ctx, due, taken)
		done, failed = append(done, out...), errors.Join(failed, err)
		if !more || ctx.Err() != nil {
			return done, failed
		}
		if err := s.step("part"); err != nil {
			return done, errors.Join(failed, err)
		}
		due = func([]*ask) bool { return true }
	}
}

// carryOutPart carries out, of what waits, as much as fits into one generation. Requests in taken had their turn.
func (s *Service) carryOutPart(ctx context.Context, due func([]*ask) bool, taken map[commit.Hex32]bool) (done []*Erased, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.sync(ctx); err != nil {
		return nil, false, err
	}
	done, failed := s.finish(ctx)
	waits, unopened, err := s.waiting(ctx)
	if err != nil {
		return done, false, errors.Join(failed, err)
	}
	for id, why := range unopened {
		if !taken[id] {
			failed = errors.Join(failed, fmt.Errorf("request %v: %w", id, why), s.outcome(ctx, control.Outcome{Request: id, Problem: "selection"}))
		}
		taken[id] = true
	}
	waits = slices.DeleteFunc(waits, func(a *ask) bool { return taken[a.request] })
	if len(waits) > 0 && due(waits) {
		slices.SortStableFunc(waits, urgentFirst)
		n := min(len(waits), keyroot.MaxBatch)
		out, rest, err := s.carryOutBatch(ctx, slices.Clone(waits[:n]))
		for _, a := range waits[:n] {
			taken[a.request] = true
		}
		for _, a := range rest {
			delete(taken, a.request)
		}
		failed, more = errors.Join(failed, err), len(waits[n:])+len(rest) > 0
		if out != nil {
			done = append(done, out)
		}
	}
	failed = errors.Join(failed, s.destroyRest(ctx))
	if waits, _, err = s.waiting(ctx); err == nil {
		s.count(waits)
	}
	return done, more, errors.Join(failed, err)
}

// urgentFirst has what is urgent in the first generation.
func urgentFirst(a, b *ask) int {
	switch {
	case a.urgent == b.urgent:
		return 0
	case a.urgent:
		return -1
	}
	return 1
}

// waiting are the approved requests that nobody has carried out. Requires mu.
func (s *Service) waiting(ctx context.Context) (waits []*ask, unopened map[commit.Hex32]error, err error) {
	asks, unopened, err := s.approved(ctx)
	if err != nil {
		return nil, nil, err
	}
	busy := s.unlogged()
	for _, a := range asks {
		if !busy[a.request] && s.requests.outcomes[a.request] != doneWord {
			waits = append(waits, a)
		}
	}
	for id := range s.requests.tried {
		if s.requests.asks[id] == nil {
			delete(s.requests.tried, id)
		}
	}
	for id := range unopened {
		if busy[id] {
			delete(unopened, id)
		}
	}
	return waits, unopened, nil
}

// unlogged are the requests of erasures of which the control log does not have the entry yet: those that were approved then, as it
// takes no entry about others. Requires mu.
func (s *Service) unlogged() map[commit.Hex32]bool {
	out, logged := map[commit.Hex32]bool{}, s.logged()
	all := slices.DeleteFunc(slices.Clone(s.depot.Erasures()), func(d keydepot.Erasure) bool { return logged[d.Hash] })
	s.control.View(func(c *control.State) {
		for _, d := range all {
			for i := range d.Requests {
				r := c.Request(d.Requests[i].Request)
				if r == nil {
					continue
				}
				if _, approved := r.ApprovedAt(d.Control); approved {
					out[r.ID] = true
				}
			}
		}
	})
	return out
}

// logged are the records of the erasures that the control log has.
func (s *Service) logged() map[commit.Hex32]bool {
	out := map[commit.Hex32]bool{}
	s.control.View(func(c *control.State) {
		for i := range c.Erasures {
			out[c.Erasures[i].Root.Hash] = true
		}
	})
	return out
}

// batchDue reports whether one of the requests has waited long enough, is urgent and new, or may go since a hold was released.
// Requires mu.
func (s *Service) batchDue(waits []*ask) bool {
	released, now := s.releases(), s.now()
	return slices.ContainsFunc(waits, func(a *ask) bool {
		if a.left > 0 {
			return true
		}
		last, tried := s.requests.tried[a.request]
		if !tried {
			return a.urgent || now.Sub(a.at) >= s.cfg.EraseEvery
		}
		return released != s.requests.released || now.Sub(last) >= s.cfg.EraseEvery
	})
}

func (s *Service) releases() (n int) {
	s.control.View(func(c *control.State) {
		for _, h := range c.Holds {
			if h.Released > 0 {
				n++
			}
		}
	})
	return n
}

// carryOutBatch carries out some requests and says what became of each. rest are those that there was no room for. Requires mu.
func (s *Service) carryOutBatch(ctx context.Context, asks []*ask) (_ *Erased, rest []*ask, err error) {
	s.requests.released = s.releases()
	for _, a := range asks {
		s.requests.tried[a.request] = s.now()
	}
	b := &batch{cause: control.CauseRequest, asks: asks}
	out, err := s.erase(ctx, b)
	problem := ""
	switch {
	case errors.Is(err, keydepot.ErrReplica):
		problem = "replica"
	case errors.Is(err, custodian.ErrUnavailable):
		problem = "custodian"
	}
	if err != nil {
		for _, a := range slices.Concat(b.asks, b.rest) {
			delete(s.requests.tried, a.request) // whoever is away may be back any time
			if problem != "" {
				err = errors.Join(err, s.outcome(ctx, control.Outcome{Request: a.request, Problem: problem}))
			}
		}
	}
	if err != nil || out == nil {
		return nil, nil, err
	}
	switched := out.After.N != out.Before.N
	if switched {
		err = errors.Join(s.destroy(ctx, out), s.report(ctx, out))
	}
	for i := range out.Parts {
		if p := &out.Parts[i]; !switched || p.Scopes == 0 {
			err = errors.Join(err, s.outcome(ctx, p.outcome()))
		}
	}
	return out, b.rest, err
}

// finish says in the control log what was erased, and has what is left of it destroyed, where a service died before it could.
// Requires mu.
func (s *Service) finish(ctx context.Context) (done []*Erased, err error) {
	logged := s.logged()
	for _, d := range s.depot.Erasures() {
		if logged[d.Hash] || s.requests.reported[d.Hash] || d.Cause == string(control.CauseRequest) && !s.asked(d.Requests) {
			continue
		}
		out := s.recorded(&d)
		err = errors.Join(err, s.destroy(ctx, out))
		waits, failed := s.waits(ctx, d.Hash)
		switch err = errors.Join(err, failed); {
		case failed != nil:
		case waits != "":
			s.requests.reported[d.Hash], s.told.waits[d.Hash] = true, entry{waits, s.now()}
		default:
			err = errors.Join(err, s.report(ctx, out))
		}
		done = append(done, out)
	}
	return done, err
}

// waits is what the service that made a record said of it, if that lies in the inbox and is not taken in yet.
func (s *Service) waits(ctx context.Context, record commit.Hex32) (file string, err error) {
	entries, _, err := s.control.Inbox(ctx)
	i := slices.IndexFunc(entries, func(file string) bool {
		var body control.Erased
		e, err := control.ParseEntry(file)
		return err == nil && e.Type == control.TypeErased && e.Into(&body) == nil && body.Root.Hash == record
	})
	if i < 0 {
		return "", err
	}
	return entries[i], err
}

// asked reports whether requests are those of the control log.
func (s *Service) asked(requests []keyroot.Outcome) (ok bool) {
	s.control.View(func(c *control.State) {
		ok = len(requests) > 0 && !slices.ContainsFunc(requests, func(o keyroot.Outcome) bool { return c.Request(o.Request) == nil })
	})
	return ok
}
