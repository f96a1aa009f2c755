package keys

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
)

// outcome is how it stands with a request after an erasure.
func (p *Part) outcome() control.Outcome {
	o := control.Outcome{Request: p.Request, Erased: p.Scopes, Held: p.Held, Retained: p.Retained, Left: p.Left,
		Nothing: p.Scopes+p.Held+p.Retained+p.Left == 0,
		Until:   moment(p.Until)}
	if p.whole {
		o.Whole = p.Scopes
	}
	return o
}

// doneWord stands for an outcome after which nothing is left of a request.
const doneWord = "done"

// outcome tells the control log how it stands with a request, unless it has just been told the same.
func (s *Service) outcome(ctx context.Context, o control.Outcome) error {
	said := fmt.Sprint(o.Erased, o.Held, o.Retained, o.Left, o.Nothing, o.Problem)
	if o.Nothing {
		said = doneWord
	}
	if s.requests.outcomes[o.Request] == said {
		return nil
	}
	if err := s.say(ctx, o.Request, control.TypeOutcome, s.now(), o); err != nil {
		return err
	}
	s.requests.outcomes[o.Request] = said
	return nil
}

// report tells the control log of an erasure, as certificates are made of it. One of intake keys alone is none. Requires mu.
func (s *Service) report(ctx context.Context, e *Erased) error {
	if s.requests.reported[e.After.Hash] = true; e.Scopes == 0 {
		return nil
	}
	body := control.Erased{Cause: e.cause, From: e.Before.Generation, To: e.After.Generation,
		Before: control.RootRef{N: e.Before.N, Hash: e.Before.Hash}, Root: control.RootRef{N: e.After.N, Hash: e.After.Hash},
		Control: e.control, List: e.List, Paths: e.ListRoot, Scopes: e.Scopes, Removed: e.Removed, Spent: e.Spent,
		Custody: destructions(e.Generations), Watermark: e.Watermark, Transport: e.transport()}
	for _, o := range e.outcomes() {
		body.Requests = append(body.Requests, control.Outcome{Request: o.Request, Erased: o.Erased, Whole: o.Whole, Held: o.Held, Retained: o.Retained, Until: o.Until, Left: o.Left})
	}
	s.control.View(func(c *control.State) {
		body.Single = e.cause != control.CauseRequest && c.Single()
		for i := range body.Requests {
			if r := c.Request(body.Requests[i].Request); r != nil {
				single, _ := r.ApprovedAt(e.control)
				body.Single = body.Single || single
			}
		}
	})
	body.Archive, body.Open = e.archive()
	err := s.say(ctx, e.After.Hash, control.TypeErased, s.now(), body)
	s.requests.reported[e.After.Hash] = err == nil
	return err
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
	if e.replica {
		open = append(open, "replica")
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
