package erase

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
)

// Opened is what a request file says, checked.
type Opened struct {
	ID string // of the request or hold that the file is of
	Target
	Kind    string
	By      string // key name of who asks
	Checked bool   // the tag was seen to be of the value: this role file has the pepper
}

// OpenFile reads a request file and checks it: that the entry is signed by who may ask, that what is written in clear is
// what the entry names, and, with a pepper, that the tag by which the key service will select is of the value in it. With an
// error it returns what has the ID alone, if the file names an entry at all.
func (d *Desk) OpenFile(file []byte) (*Opened, error) {
	var f requestFile
	dec := json.NewDecoder(strings.NewReader(string(file)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil || f.Stele != requestFormat {
		return nil, errors.New("this is no request file")
	}
	o := &Opened{ID: commit.Hash([]byte(f.Entry)).String()}
	var named control.Selection
	var by string
	var err error
	d.log.View(func(s *control.State) { named, by, err = s.Selected(f.Entry) })
	if err != nil {
		return o, fmt.Errorf("request file: %w", err)
	}
	s, err := control.ParseSelector([]byte(f.Line), &named, d.trust.Archive)
	if err != nil {
		return o, fmt.Errorf("request file: %w", err)
	}
	o.Kind, o.By, o.Target = s.Kind, by, Target{Asked: s.Asked, Reason: s.Reason}
	for _, id := range s.Scopes {
		o.Scopes = append(o.Scopes, id)
	}
	switch s.Kind {
	case control.KindTenant:
		o.Tenant = s.Value
	case control.KindSubject:
		o.Subject = s.Value
	case control.KindSession:
		o.Session = s.Value
	default:
		o.Class = s.Value
		return o, nil
	}
	if len(d.pepper) != 32 {
		return o, nil
	}
	tag, err := control.TagOf((*[32]byte)(d.pepper), s.Kind, s.Value)
	if err == nil && tag != *s.Tag {
		err = fmt.Errorf("request file: it says %s %q, but what would be erased is somebody else's", s.Kind, s.Value)
	}
	o.Checked = true
	return o, err
}

// Approve approves a request, named by its id or the beginning of it. It takes effect when two approvers have, or at once if
// this is the policy root and there are not two approvers.
func (d *Desk) Approve(ctx context.Context, id string) (*Request, error) {
	return d.decide(ctx, control.TypeApprove, id)
}

// Reject takes an approval back, or says no. Two approvers, or who made a request that is not approved, end it.
func (d *Desk) Reject(ctx context.Context, id string) (*Request, error) {
	return d.decide(ctx, control.TypeReject, id)
}

func (d *Desk) decide(ctx context.Context, kind, id string) (*Request, error) {
	full, err := d.find(ctx, "request", id, requestIDs)
	var unknown *UnknownError
	if errors.As(err, &unknown) && full.UnmarshalText([]byte(id)) == nil {
		err = nil // it may be in the inbox
	}
	if err != nil {
		return nil, err
	}
	if kind == control.TypeApprove {
		if err := d.goesOn(full); err != nil {
			return nil, err
		}
	}
	waits, err := d.said(ctx, kind, full)
	switch {
	case err != nil:
	case waits:
		err = d.sequence(ctx)
	default:
		_, err = d.say(ctx, kind, control.Decision{Request: full})
	}
	if err != nil {
		return nil, err
	}
	out := d.request(full)
	out.Waits = d.sealer == nil
	return out, nil
}

// said reports whether just this, by the same person, waits in the inbox as their newest word on the request: a second entry would
// only be refused.
func (d *Desk) said(ctx context.Context, kind string, id commit.Hex32) (bool, error) {
	if d.me == nil {
		return false, nil
	}
	entries, _, err := d.log.Inbox(ctx) // those that are signed and would have an effect, oldest first
	if err != nil {
		return false, fmt.Errorf("inbox of the control log: %w", err)
	}
	newest := ""
	for _, entry := range entries {
		var body control.Decision
		e, err := control.ParseEntry(entry)
		if err == nil && e.By == d.me.Name() && (e.Type == control.TypeApprove || e.Type == control.TypeReject) && e.Into(&body) == nil && body.Request == id {
			newest = e.Type
		}
	}
	return newest == kind, nil
}

// goesOn fails if the archive could not go on with what is to be approved: whoever proposed it need not have asked this program.
func (d *Desk) goesOn(id commit.Hex32) (err error) {
	d.log.View(func(s *control.State) {
		if r := s.Request(id); r != nil && r.Policy != nil {
			err = lasting(s.Policy(), r.Policy)
		}
	})
	if err != nil {
		err = fmt.Errorf("request %v, proposed policy: %w", id, err)
	}
	return err
}
