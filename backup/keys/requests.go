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
	"github.com/stelelog/stele/internal/keyscope"
)

// CarryOut carries out the requests to erase that two approvers have approved and that are not done, one generation each,
// and has what was left of old generations destroyed. What became of each goes into the inbox of the control log. It
// returns what was erased. One that fails does not keep the others; the errors are joined.
func (s *Service) CarryOut(ctx context.Context) (done []*Erased, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signer == nil {
		return nil, errReadOnly
	}
	if err := s.sync(ctx); err != nil {
		return nil, err
	}
	var approved []*control.Request
	s.control.View(func(c *control.State) {
		for _, r := range c.Requests {
			if r.What == control.WhatErase && r.Standing == control.Approved {
				copied := *r
				approved = append(approved, &copied)
			}
		}
	})
	for _, r := range approved {
		out, failed := s.carryOut(ctx, r)
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("request %v: %w", r.ID, failed))
		}
		if out != nil {
			done = append(done, out)
		}
	}
	return done, errors.Join(err, s.destroyRest(ctx))
}

// carryOut erases what one request selects. Requires mu.
func (s *Service) carryOut(ctx context.Context, r *control.Request) (*Erased, error) {
	e := Erasure{Requests: [][32]byte{r.ID}, Cutoff: r.Time, since: s.known(r.ID)}
	sel, unopened := s.selection(ctx, r.Select)
	out := s.done(&e)
	if out != nil && s.reported[out.After.Hash] { // its entry waits in the inbox
		return nil, nil
	}
	if unopened == nil {
		switch {
		case sel.Tag != nil:
			e.Tags = [][16]byte{*sel.Tag}
		case sel.Kind == control.KindClass:
			e.Classes = []string{sel.Value}
		default:
			e.Scopes = ids(sel.Scopes)
		}
	}
	switch {
	case out != nil: // a service died before it said so
		if unopened == nil {
			if err := s.left(ctx, &e, out); err != nil {
				return nil, err
			}
		}
	case errors.Is(unopened, errSelection):
		return nil, errors.Join(unopened, s.outcome(ctx, control.Outcome{Request: r.ID, Problem: "selection"}))
	case unopened != nil:
		return nil, unopened
	default:
		var err error
		if out, err = s.erase(ctx, e); errors.Is(err, custodian.ErrUnavailable) {
			return nil, errors.Join(err, s.outcome(ctx, control.Outcome{Request: r.ID, Problem: "custodian"}))
		} else if err != nil {
			return nil, err
		}
		if out.After.N == out.Before.N {
			return out, s.outcome(ctx, out.outcome(r.ID))
		}
	}
	out.whole = unopened == nil && sel.Asked != ""
	failed := s.destroy(ctx, out)
	return out, errors.Join(failed, s.report(ctx, out, control.CauseRequest, []control.Outcome{out.outcome(r.ID)}, r.Single))
}

// known is how many erasures of the key store lie before the first that the control log does not have of a request.
func (s *Service) known(request commit.Hex32) (n int) {
	all := s.depot.Erasures()
	s.control.View(func(c *control.State) {
		for i := range all {
			reported := slices.ContainsFunc(c.Erasures, func(e control.LoggedErasure) bool { return e.Root.Hash == all[i].Hash })
			if reported && slices.Contains(all[i].Requests, request) {
				n = i + 1
			}
		}
	})
	return n
}

// left counts what an erasure that is done has left.
func (s *Service) left(ctx context.Context, e *Erasure, out *Erased) error {
	j, err := s.judge(ctx)
	if err != nil {
		return err
	}
	_, said, err := s.choose(ctx, s.version.ring, e, j)
	out.Held, out.Retained, out.Until = said.held, said.retained, said.until
	return err
}

// outcome is how it stands with a request after an erasure.
func (e *Erased) outcome(request commit.Hex32) control.Outcome {
	o := control.Outcome{Request: request, Erased: e.Scopes, Held: e.Held, Retained: e.Retained, Nothing: e.Scopes+e.Held+e.Retained == 0}
	if e.whole {
		o.Whole = e.Scopes
	}
	if e.Retained > 0 {
		o.Until = &e.Until
	}
	return o
}

// outcome tells the control log how it stands with a request, unless it has just been told the same.
func (s *Service) outcome(ctx context.Context, o control.Outcome) error {
	said := fmt.Sprint(o.Erased, o.Held, o.Retained, o.Nothing, o.Problem)
	if s.outcomes[o.Request] == said {
		return nil
	}
	if err := s.drop(ctx, control.TypeOutcome, o); err != nil {
		return err
	}
	s.outcomes[o.Request] = said
	return nil
}

// report tells the control log of an erasure, as certificates are made of it. Requires mu.
func (s *Service) report(ctx context.Context, e *Erased, cause control.Cause, requests []control.Outcome, single bool) error {
	body := control.Erased{Cause: cause, Requests: requests, From: e.Before.Generation, To: e.After.Generation,
		Before: control.RootRef{N: e.Before.N, Hash: e.Before.Hash}, Root: control.RootRef{N: e.After.N, Hash: e.After.Hash},
		Control: e.control, List: e.List, Paths: e.ListRoot, Scopes: e.Scopes, Removed: e.Removed, Spent: e.Spent,
		Custody: destructions(e.Generations), Watermark: e.Watermark, Transport: e.transport(), Single: single}
	body.Archive, body.Open = e.archive()
	if err := s.drop(ctx, control.TypeErased, body); err != nil {
		return err
	}
	s.reported[e.After.Hash] = true
	return nil
}

// archive is from when on no copy of the archive opens what was erased, and what could not be closed.
func (e *Erased) archive() (from *time.Time, open []string) {
	latest := time.Time{}
	certain := len(e.Generations) > 0
	for i := range e.Generations {
		g := &e.Generations[i]
		for _, name := range members(g.Sets) {
			k := slices.IndexFunc(g.Statements, func(s Statement) bool { return s.Custodian == name })
			switch {
			case k < 0 || g.Statements[k].State != custodian.Destroyed:
				open = append(open, "custodian "+name)
			case g.Dead.IsZero() && g.Statements[k].Irrecoverable.IsZero():
				open = append(open, "best-effort "+name)
			}
		}
		if certain = certain && g.Destroyed && !g.Dead.IsZero(); g.Dead.After(latest) {
			latest = g.Dead
		}
	}
	slices.Sort(open)
	open = slices.Compact(open)
	if !certain {
		return nil, open
	}
	latest = latest.UTC()
	return &latest, open
}

// transport is when the last intake key is erased that opens a copied grant of what was erased: no later than that of the
// week in which it was.
func (e *Erased) transport() time.Time {
	return keyscope.WeekStart(keyscope.Week(e.Switched) + 1).Add(horizon).UTC()
}

func destructions(all []Generation) []control.Destruction {
	out := []control.Destruction{}
	for i := range all {
		for _, s := range all[i].Statements {
			d := control.Destruction{Custodian: s.Custodian, Generation: all[i].Number, Class: string(s.Class), Statement: string(s.Attestation)}
			if s.State == custodian.Destroyed {
				d.Destroyed = moment(s.Destroyed)
				d.Irrecoverable = moment(s.Irrecoverable)
			}
			out = append(out, d)
		}
	}
	return out
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// destroyRest destroys what is left of old generations, and tells the control log where it was told that something was
// left. Requires mu.
func (s *Service) destroyRest(ctx context.Context) error {
	var open []control.LoggedErasure
	s.control.View(func(c *control.State) {
		for _, e := range c.Erasures {
			if slices.ContainsFunc(e.Open, func(word string) bool { return len(word) > 10 && word[:10] == "custodian " }) && !s.reported[e.Entry] {
				open = append(open, e)
			}
		}
	})
	if len(open) == 0 {
		return s.destroy(ctx, nil)
	}
	for _, e := range open {
		out := &Erased{Before: Root{e.Before.N, e.Before.Hash, e.From}}
		if err := s.destroy(ctx, out); err != nil {
			return err
		}
		body := control.Destroyed{Erased: e.Entry, Custody: destructions(out.Generations), Watermark: out.Watermark}
		body.Archive, body.Open = out.archive()
		if err := s.drop(ctx, control.TypeDestroyed, body); err != nil {
			return err
		}
		s.reported[e.Entry] = true
	}
	return nil
}
