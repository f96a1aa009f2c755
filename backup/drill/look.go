package drill

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/durable"
)

// ask makes the request.
func (d *drill) ask(ctx context.Context) error {
	desk, err := erase.Open(ctx, d.cfg.Store, d.cfg.Trust, d.cfg.Reader)
	if err != nil {
		return err
	}
	filed, err := desk.Request(ctx, erase.Ask{Target: erase.Target{Subject: d.state.Subject, Reason: "drill"}, Urgent: true})
	if err != nil {
		return fmt.Errorf("asking for the erasure of the canary: %w", err)
	}
	if err := durable.WriteFile(d.path(requestFile), filed.File, 0o600); err != nil {
		return err
	}
	d.state.Request = filed.ID
	return d.save()
}

// approve approves the request in the name of all who are there, and says where it stands.
func (d *drill) approve(ctx context.Context) (standing string, err error) {
	for _, who := range d.cfg.Approvers {
		desk, err := erase.Open(ctx, d.cfg.Store, d.cfg.Trust, who)
		if err != nil {
			return "", err
		}
		_, err = desk.Approve(ctx, d.state.Request)
		var no *erase.RefusedError
		if err != nil && !(errors.As(err, &no) && (no.Why == "twice" || no.Why == "closed" || no.Why == "unknown")) {
			return "", fmt.Errorf("approving the erasure of the canary: %w", err)
		}
	}
	desk, err := erase.Open(ctx, d.cfg.Store, d.cfg.Trust, nil)
	if err != nil {
		return "", err
	}
	r, err := desk.Find(ctx, d.state.Request)
	var unknown *erase.UnknownError
	if errors.As(err, &unknown) {
		return "unsequenced", nil
	}
	if err != nil {
		return "", err
	}
	return r.Standing, nil
}

// erasure finds the entry of the erasure, or what keeps it from being made.
func (d *drill) erasure(ctx context.Context) (entry, problem string, err error) {
	if err := d.log.Refresh(ctx); err != nil {
		return "", "", err
	}
	d.log.View(func(s *control.State) {
		for i := range s.Erasures {
			for _, o := range s.Erasures[i].Requests {
				if o.Request.String() == d.state.Request {
					entry = s.Erasures[i].Entry.String()
				}
			}
		}
		for _, r := range s.Requests {
			if n := len(r.Outcomes); r.ID.String() == d.state.Request && n > 0 && entry == "" {
				switch o := r.Outcomes[n-1]; {
				case o.Left > 0:
					problem = fmt.Sprintf("%d of its scopes are left: the request selects more than the canary", o.Left)
				case o.Held > 0:
					problem = "a hold keeps it"
				case o.Retained > 0:
					problem = fmt.Sprintf("its class must be kept until %s", o.Until.Format(time.RFC3339))
				case o.Nothing:
					problem = "the key service knows nothing of it: its grants were lost, or another key service has them"
				}
			}
		}
	})
	return entry, problem, nil
}

// look restores the copy and looks at what opens.
func (d *drill) look(ctx context.Context) (*Result, error) {
	r := &Result{Canary: d.state.Subject, Request: d.state.Request, Erased: d.state.Erased, All: d.state.All, Found: []string{}}
	dst, err := d.copied()
	if err != nil {
		return nil, err
	}
	open, err := keys.Openable(ctx, keys.Config{Store: dst, Trust: d.cfg.Trust, Custodians: d.cfg.Custodians})
	if err != nil {
		return nil, fmt.Errorf("the key store from before, with today's custodians: %w", err)
	}
	for _, root := range open {
		r.fail("generation %d of the key store from before opens with today's custodians: all that lived then comes back", root.Generation)
	}
	if len(open) > 0 {
		r.Alive = d.state.Canaries
	}
	if err := d.reread(ctx, dst, r); err != nil {
		return nil, err
	}
	r.Dead = max(0, d.state.Canaries-r.Alive-r.Unseen)
	r.OK = r.Alive == 0 && r.Lost == 0 && r.Unseen == 0
	return r, nil
}

func (r *Result) fail(format string, args ...any) {
	if len(r.Found) < 20 {
		r.Found = append(r.Found, fmt.Sprintf(format, args...))
	}
}

// reread reads the copy with the keys of today.
func (d *drill) reread(ctx context.Context, copied worm.Store, r *Result) error {
	archive, err := backup.OpenArchive(ctx, copied, d.cfg.Trust)
	if err != nil {
		return fmt.Errorf("the restored copy: %w", err)
	}
	reader, err := archive.Unlock(d.cfg.Reader, d.cfg.Keys)
	if err != nil {
		return err
	}
	want := map[commit.Hex16]*readRecord{}
	for i := range d.state.Read {
		want[d.state.Read[i].ID] = &d.state.Read[i]
	}
	q, alive, dead := backup.Query{Erased: true}, 0, 0
	if !d.state.All {
		q.Since = d.state.Since
	}
	for f, err := range reader.Records(ctx, q) {
		var one *backup.RecordError
		if err != nil && !errors.As(err, &one) {
			return fmt.Errorf("the restored copy: %w", err)
		}
		was := want[commit.Hex16(f.ID)]
		switch {
		case err != nil:
			r.fail("%v", err) // which record it is, what is left of the list says
		case was == nil:
		case was.Canary && !f.Erased:
			alive++
			r.fail("%s leaf %d of the canary opens", f.Log, f.Index)
			delete(want, was.ID)
		case was.Canary:
			dead++
			delete(want, was.ID)
		case f.Erased || f.Expired:
			r.Gone++
			delete(want, was.ID)
		case digest(&f) != was.Digest:
			r.fail("%s leaf %d is not as it was", f.Log, f.Index)
		default:
			r.Opened++
			delete(want, was.ID)
		}
	}
	for _, was := range want {
		if !was.Canary {
			r.Lost++
		}
	}
	r.Alive, r.Unseen = max(r.Alive, alive), d.state.Canaries-alive-dead
	if r.Unseen > 0 {
		r.fail("%d of %d records of the canary were not found in the restored copy: nothing shows that they are dead", r.Unseen, d.state.Canaries)
	}
	if r.Lost > 0 {
		r.fail("%d records that opened before do not, and nobody erased them", r.Lost)
	}
	return nil
}

// report leaves the entry for the control log.
func (d *drill) report(ctx context.Context, r *Result) error {
	if d.state.Reported {
		return nil
	}
	body := control.Drill{What: "erasure", OK: r.OK, Opened: uint64(r.Opened), Dead: uint64(r.Dead), Failed: uint64(r.Alive + r.Lost + r.Unseen)}
	if err := body.Erased.UnmarshalText([]byte(r.Erased)); err != nil {
		return err
	}
	scope := "a sample of the newest records"
	if r.All {
		scope = "all records that opened before"
	}
	body.Detail = strings.Join(append([]string{scope}, r.Found...), "; ")
	if len(body.Detail) > maxDetail {
		body.Detail = body.Detail[:maxDetail]
	}
	entry, err := control.Sign(d.trust.Archive, control.TypeDrill, time.Now(), body, d.signer)
	if err == nil {
		err = d.log.Drop(ctx, entry)
	}
	if err != nil {
		return fmt.Errorf("report of the drill: %w", err)
	}
	d.state.Reported = true
	return d.save()
}

// maxDetail bounds the words in the entry, in bytes.
const maxDetail = 2000
