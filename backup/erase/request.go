package erase

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
)

// Target is what is to be erased, or held. One of Tenant, Subject, Session, Class and Scopes is set; holds take one of
// the first three.
type Target struct {
	Tenant, Subject, Session, Class string
	Scopes                          [][16]byte // whole scopes, at most 10,000
	Asked                           string     // with Scopes: what was asked for, in words for who approves
	Reason                          string     // free text, at most 2,000 bytes; in the request file and sealed, never in the log
}

// Ask is a request to erase.
type Ask struct {
	Target
	Urgent bool          // a generation of its own, at once, instead of the next batch
	Open   time.Duration // how long it may wait for approvals; 0: as long as what it selects can be opened, at least 14 days
}

// Filed is an entry that was left for the control log.
type Filed struct {
	ID   string // hex, 64 digits
	File []byte // of a request to erase or a hold: the request file, for those who decide. Its content is personal data.
	Done bool   // it is in the log, and in effect: nobody else has to approve it
}

const requestFormat = "request/v1"

// requestFile is what who asks hands to those who approve.
type requestFile struct {
	Stele string `json:"stele"`
	Entry string `json:"entry"`
	Line  string `json:"line"`
}

// Request asks for an erasure. The selection goes to the key service sealed; the control log has a salted hash of it.
func (d *Desk) Request(ctx context.Context, ask Ask) (*Filed, error) {
	sel, line, err := d.seal(ctx, &ask.Target)
	if err != nil {
		return nil, err
	}
	until := sel.Dies()
	if ask.Open > 0 && d.now().Add(ask.Open).Before(until) {
		until = d.now().Add(ask.Open)
	}
	if !until.After(d.now()) {
		return nil, errors.New("the archive has no intake key that lives long enough: a key service makes those of the weeks to come; 'stele doctor' says more")
	}
	body := control.RequestBody{What: control.WhatErase, Until: until.UTC().Truncate(time.Second), Urgent: ask.Urgent, Select: sel}
	return d.filed(ctx, control.TypeRequest, body, line)
}

// Hold places a hold: what it selects is not erased until two approvers release it. It stands once it is in the log.
func (d *Desk) Hold(ctx context.Context, t Target) (*Filed, error) {
	if t.Class != "" || t.Scopes != nil {
		return nil, errors.New("holds are on a tenant, a subject or a session")
	}
	sel, line, err := d.seal(ctx, &t)
	if err != nil {
		return nil, err
	}
	return d.filed(ctx, control.TypeHold, control.HoldBody{Selection: *sel}, line)
}

// Release asks that a hold be released, which two approvers decide. It fails if it is released, or if somebody has asked for
// that and it waits.
func (d *Desk) Release(ctx context.Context, hold string) (*Filed, error) {
	id, err := d.find(ctx, "hold", hold, holdIDs)
	if err != nil {
		return nil, err
	}
	if err := d.asked(ctx, func(r *control.RequestBody) bool { return r.Hold != nil && *r.Hold == id }); err != nil {
		return nil, err
	}
	return d.filed(ctx, control.TypeRequest, control.RequestBody{What: control.WhatRelease, Until: d.inAMonth(), Hold: &id}, nil)
}

// asked fails if a request for the same waits for approvals, in the log or in the inbox.
func (d *Desk) asked(ctx context.Context, same func(*control.RequestBody) bool) error {
	var found commit.Hex32
	d.log.View(func(s *control.State) {
		for _, r := range s.Requests {
			if r.Standing == control.Pending && !r.Expired(d.now()) && same(&r.RequestBody) {
				found = r.ID
			}
		}
	})
	entries, _, err := d.log.Inbox(ctx)
	if err != nil {
		return fmt.Errorf("inbox of the control log: %w", err)
	}
	for _, entry := range entries {
		var body control.RequestBody
		if e, err := control.ParseEntry(entry); err == nil && e.Type == control.TypeRequest && e.Into(&body) == nil && same(&body) {
			found = commit.Hash([]byte(entry))
		}
	}
	if found == (commit.Hex32{}) {
		return nil
	}
	return fmt.Errorf("this was asked for already and waits for approvals: request %s; approve that one, 'stele erase status' shows it", found)
}

func (d *Desk) inAMonth() time.Time {
	return d.now().UTC().Truncate(time.Second).Add(30 * 24 * time.Hour)
}

func (d *Desk) filed(ctx context.Context, kind string, body any, line []byte) (*Filed, error) {
	entry, err := d.say(ctx, kind, body)
	if err != nil {
		return nil, err
	}
	id := commit.Hash([]byte(entry))
	f := &Filed{ID: id.String()}
	if line != nil {
		if f.File, err = json.MarshalIndent(requestFile{requestFormat, entry, string(line)}, "", " "); err != nil {
			return nil, err
		}
		f.File = append(f.File, '\n')
	}
	d.log.View(func(s *control.State) { f.Done = s.Has(entry) && kind == control.TypeHold })
	return f, nil
}

// seal makes the selection of a target, and leaves it sealed for the key service.
func (d *Desk) seal(ctx context.Context, t *Target) (*control.Selection, []byte, error) {
	if err := d.log.Refresh(ctx); err != nil {
		return nil, nil, err
	}
	s, err := d.selector(t)
	if err != nil {
		return nil, nil, err
	}
	line, err := s.Line()
	if err != nil {
		return nil, nil, err
	}
	in, ok := d.log.Policy().IntakeOf(keyscope.Week(d.now()))
	if !ok {
		return nil, nil, errors.New("the archive has no intake key of this week or before: 'stele doctor' says more")
	}
	key, err := keyscope.KEM().NewPublicKey(in.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("intake key of week %d: %w", in.Week, err)
	}
	blob, err := keyscope.SealSelector(key, d.trust.Archive, in.Week, line)
	if err != nil {
		return nil, nil, err
	}
	sum := sha256.Sum256(blob)
	_, err = d.store.Create(ctx, fmt.Sprintf("%s%x", SealedPrefix, sum), blob, worm.Lock{Mode: worm.LockNone})
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, nil, fmt.Errorf("sealed selection: %w", err)
	}
	return &control.Selection{Kind: s.Kind, Salted: control.Salted(line), Week: in.Week, Sealed: sum}, line, nil
}

// SealedPrefix is where sealed selections lie in the store, by their SHA-256.
const SealedPrefix = "control/sealed/"

func (d *Desk) selector(t *Target) (*control.Selector, error) {
	s := &control.Selector{Archive: d.trust.Archive, Reason: t.Reason}
	rand.Read(s.Salt[:])
	n := 0
	for kind, value := range map[string]string{control.KindTenant: t.Tenant, control.KindSubject: t.Subject, control.KindSession: t.Session, control.KindClass: t.Class} {
		if value != "" {
			s.Kind, s.Value, n = kind, value, n+1
		}
	}
	if len(t.Scopes) > 0 {
		s.Kind, s.Asked, n = control.KindScopes, t.Asked, n+1
		for _, id := range t.Scopes {
			s.Scopes = append(s.Scopes, id)
		}
		slices.SortFunc(s.Scopes, func(a, b commit.Hex16) int { return slices.Compare(a[:], b[:]) })
		s.Scopes = slices.Compact(s.Scopes)
	}
	if n != 1 {
		return nil, errors.New("say one of tenant, subject, session, class or records")
	}
	if s.Kind == control.KindClass || s.Kind == control.KindScopes {
		return s, nil
	}
	if len(d.pepper) != 32 {
		return nil, fmt.Errorf("this role file has no pepper, without which no %s can be found: use one that has, such as a reader's, or make one with 'stele key new … --like READER'", s.Kind)
	}
	tag, err := control.TagOf((*[32]byte)(d.pepper), s.Kind, s.Value)
	s.Tag = &tag
	return s, err
}
