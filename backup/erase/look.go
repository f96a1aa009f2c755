package erase

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
)

// Request is a request of the control log.
type Request struct {
	ID        string    `json:"id"`
	What      string    `json:"what"`           // "erase", "policy", "release", "recovery"
	Kind      string    `json:"kind,omitempty"` // erase: by what it selects
	Hold      string    `json:"hold,omitempty"` // release
	Urgent    bool      `json:"urgent,omitempty"`
	By        string    `json:"by"` // key name
	Time      time.Time `json:"time"`
	Until     time.Time `json:"until"`    // no approval counts later
	Standing  string    `json:"standing"` // "pending", "approved", "done", "rejected", "superseded", "expired"
	Approved  []Voice   `json:"approved"`
	Rejected  []Voice   `json:"rejected,omitempty"`
	Single    bool      `json:"single_control"` // of a request that was decided
	Erased    uint64    `json:"erased,omitempty"`
	Late      uint64    `json:"late,omitempty"`     // scopes that were granted after it and destroyed on arrival
	Held      uint64    `json:"held,omitempty"`     // scopes that a hold keeps
	Retained  uint64    `json:"retained,omitempty"` // scopes whose minimum retention is not over
	Deferred  time.Time `json:"deferred_until,omitzero"`
	Left      uint64    `json:"left,omitempty"`    // scopes that go in the erasures that follow at once
	Nothing   bool      `json:"nothing,omitempty"` // nothing is known that it selects
	Problem   string    `json:"problem,omitempty"` // of the key service with it
	Changes   []string  `json:"changes,omitempty"` // policy, while it waits: lines of the draft that go ("- ") and come ("+ "), and read keys that are wrapped
	Recovery  *Recovery `json:"recovery,omitempty"`
	Waits     bool      `json:"waits,omitempty"`        // what was just said about it is in the inbox, for a compactor to take in
	Overdue   time.Time `json:"overdue_since,omitzero"` // erase: it could have been carried out since then, for more than a day
	Certified bool      `json:"certified"`              // there is an erasure to make a certificate of
	Batch     int       `json:"batch,omitempty"`        // requests that the newest erasure for it carried out, this one among them
}

// Voice is what one person said about a request.
type Voice struct {
	By   string    `json:"by"`
	Time time.Time `json:"time"`
}

// HoldInfo is a hold of the control log.
type HoldInfo struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"`
	By       string    `json:"by"`
	Time     time.Time `json:"time"`
	Released bool      `json:"released"`
}

// Refusal is an entry that was submitted and not taken.
type Refusal struct {
	Entry string    `json:"entry"`
	Type  string    `json:"type"`
	By    string    `json:"by,omitempty"`
	Why   string    `json:"why"` // a word of docs/formats/control.md
	Time  time.Time `json:"time"`
}

// Requests lists all requests, oldest first.
func (d *Desk) Requests(ctx context.Context) ([]Request, error) {
	if err := d.log.Refresh(ctx); err != nil {
		return nil, err
	}
	out := []Request{}
	d.log.View(func(s *control.State) {
		for _, r := range s.Requests {
			out = append(out, *d.told(s, r))
		}
	})
	return out, nil
}

// Waiting counts the entries of the inbox that would have an effect now: requests, approvals and whatever else was said that
// no compactor has taken in yet.
func (d *Desk) Waiting(ctx context.Context) (int, error) {
	if err := d.log.Refresh(ctx); err != nil {
		return 0, err
	}
	entries, _, err := d.log.Inbox(ctx)
	return len(entries), err
}

// Find returns the request whose id begins with the given digits, at least eight. The error may be an [*UnknownError].
func (d *Desk) Find(ctx context.Context, id string) (*Request, error) {
	full, err := d.find(ctx, "request", id, requestIDs)
	if err != nil {
		return nil, err
	}
	return d.request(full), nil
}

// request is a request of the log, or what is known of one that is still in the inbox: its id.
func (d *Desk) request(id commit.Hex32) (out *Request) {
	d.log.View(func(s *control.State) {
		if r := s.Request(id); r != nil {
			out = d.told(s, r)
		}
	})
	if out == nil {
		out = &Request{ID: id.String(), Standing: "unsequenced", Approved: []Voice{}}
	}
	return out
}

func (d *Desk) told(s *control.State, r *control.Request) *Request {
	out := &Request{ID: r.ID.String(), What: r.What, Urgent: r.Urgent, By: r.By, Time: r.Time, Until: r.Until, Standing: string(r.Standing),
		Approved: voices(r.Yes), Rejected: voices(r.No), Single: r.Single && r.Standing != control.Pending}
	if r.Select != nil {
		out.Kind = r.Select.Kind
	}
	out.Recovery = recoveryOf(r.Recovery)
	if r.RequestBody.Hold != nil {
		out.Hold = r.RequestBody.Hold.String()
	}
	if r.Expired(d.now()) {
		out.Standing = "expired"
	}
	if r.Policy != nil && r.Standing == control.Pending {
		out.Changes = changes(s.Policy(), &r.RequestBody)
	}
	for i, o := range r.Outcomes {
		out.Erased += o.Erased
		if i == len(r.Outcomes)-1 {
			out.Held, out.Retained, out.Left, out.Nothing, out.Problem = o.Held, o.Retained, o.Left, o.Nothing, o.Problem
			if o.Until != nil {
				out.Deferred = *o.Until
			}
		}
	}
	if o, late := s.OverdueAt(r, d.now()); late {
		out.Overdue = o.Since
	}
	for i := range s.Supplements {
		if u := &s.Supplements[i]; u.Request != nil && *u.Request == r.ID && !u.Undone {
			out.Late += u.Buried
		}
	}
	for i := range s.Erasures {
		for _, o := range s.Erasures[i].Requests {
			if o.Request == r.ID {
				out.Certified, out.Batch = true, len(s.Erasures[i].Requests)
			}
		}
	}
	return out
}

// changes are the lines in which a proposed policy differs from the one in force, and the read keys that come with it.
func changes(now *control.Policy, r *control.RequestBody) (out []string) {
	old := *now
	old.Version, old.Writers, old.Intake = 0, nil, nil
	before, after := lines(&old), lines(r.Policy)
	for _, line := range before {
		if !slices.Contains(after, line) {
			out = append(out, "- "+line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			out = append(out, "+ "+line)
		}
	}
	for _, k := range r.ReadKeys {
		for _, w := range k.Wraps {
			out = append(out, fmt.Sprintf("+ read key of %d wrapped to %s", k.Year, w.Reader))
		}
	}
	return out
}

// lines are the members of a policy, each entry of a list on a line of its own with the name of the list.
func lines(p *control.Policy) (out []string) {
	var members map[string]json.RawMessage
	raw, err := json.Marshal(p)
	if err != nil || json.Unmarshal(raw, &members) != nil {
		return nil // a policy can always be written
	}
	for name, value := range members {
		var list []json.RawMessage
		if json.Unmarshal(value, &list) != nil {
			list = []json.RawMessage{value}
		}
		for _, v := range list {
			out = append(out, name+" "+string(v))
		}
	}
	slices.Sort(out)
	return out
}

func voices(in []control.Voice) []Voice {
	out := make([]Voice, len(in))
	for i, v := range in {
		out[i] = Voice{v.By, v.Time}
	}
	return out
}

// Holds lists all holds, oldest first.
func (d *Desk) Holds(ctx context.Context) ([]HoldInfo, error) {
	if err := d.log.Refresh(ctx); err != nil {
		return nil, err
	}
	out := []HoldInfo{}
	d.log.View(func(s *control.State) {
		for _, h := range s.Holds {
			out = append(out, HoldInfo{h.Entry.String(), h.Kind, h.By, h.Time, h.Released != 0})
		}
	})
	return out, nil
}

// Refusals lists what was refused, oldest first.
func (d *Desk) Refusals(ctx context.Context) ([]Refusal, error) {
	if err := d.log.Refresh(ctx); err != nil {
		return nil, err
	}
	out := []Refusal{}
	d.log.View(func(s *control.State) {
		for _, l := range s.Listed {
			var r control.Refusal
			if l.Type == control.TypeRefusal && l.Unauthorised == nil && l.Into(&r) == nil {
				out = append(out, Refusal{r.Entry.String(), r.Type, r.By, r.Why, l.Time})
			}
		}
	})
	return out, nil
}
