package erase

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
)

// Policy is the access policy in force.
type Policy struct {
	JSON      []byte   // a draft: what only two approvers change, and what it is made from; see [Desk.Propose]
	Version   uint64   // of the whole
	Approvers []string // names
	Init      []string // those of them whose keys init made
	Single    bool     // not decided by two approvers with keys that init did not make
	Dual      bool     // there are two approvers: the policy root decides nothing alone
}

// Policy reads the access policy in force.
func (d *Desk) Policy(ctx context.Context) (*Policy, error) {
	if err := d.log.Refresh(ctx); err != nil {
		return nil, err
	}
	p := d.governed()
	out := &Policy{Approvers: []string{}, Init: []string{}}
	var err error
	if out.JSON, err = json.MarshalIndent(draft{draftFormat, p.Governed(), *p}, "", " "); err != nil {
		return nil, err
	}
	d.log.View(func(s *control.State) {
		out.Version, out.Single, out.Dual = s.Policy().Version, s.Single(), p.Dual()
		for _, a := range p.Approvers {
			out.Approvers = append(out.Approvers, a.Name)
			if s.MadeByInit(a) {
				out.Init = append(out.Init, a.Name)
			}
		}
	})
	return out, nil
}

const draftFormat = "policy/v1"

// draft is a policy for people to change.
type draft struct {
	Stele  string         `json:"stele"`
	Base   commit.Hex32   `json:"base"`
	Policy control.Policy `json:"policy"`
}

// governed is the policy in force without what two approvers do not decide.
func (d *Desk) governed() *control.Policy {
	p := *d.log.Policy()
	p.Version, p.Writers, p.Intake = 0, nil, nil
	return &p
}

// Propose asks that the access policy become what a draft says: the JSON of [Policy], with its member "policy" changed. Two
// approvers decide, or the policy root while there are not two. It fails if the policy has changed since the draft was made, or if just
// this was proposed and waits, and if the archive could not go on with it.
func (d *Desk) Propose(ctx context.Context, policy []byte) (*Filed, error) {
	var in draft
	if err := commit.UnmarshalLine(string(policy), draftFormat, &in); err != nil {
		return nil, fmt.Errorf("proposed policy: %w", err)
	}
	if err := d.log.Refresh(ctx); err != nil {
		return nil, err
	}
	p := &in.Policy
	p.Version, p.Writers, p.Intake = 0, nil, nil
	switch now := d.log.Policy().Governed(); now {
	case p.Governed():
		return nil, errors.New("the proposed policy is the one in force")
	case in.Base:
		return d.propose(ctx, p, nil)
	}
	return nil, errors.New("the policy has changed since this draft was made: make a new one from the policy in force")
}

func (d *Desk) propose(ctx context.Context, p *control.Policy, keys []control.ReadKey) (*Filed, error) {
	base := d.log.Policy().Governed()
	if err := lasting(d.log.Policy(), p); err != nil {
		return nil, fmt.Errorf("proposed policy: %w", err)
	}
	if err := d.asked(ctx, func(r *control.RequestBody) bool {
		return r.Policy != nil && r.Base != nil && *r.Base == base && r.Policy.Governed() == p.Governed() && slices.EqualFunc(r.ReadKeys, keys, sameWraps)
	}); err != nil {
		return nil, err
	}
	return d.filed(ctx, control.TypeRequest, control.RequestBody{What: control.WhatPolicy, Until: d.inAMonth(), Base: &base, Policy: p, ReadKeys: keys}, nil)
}

// sameWraps reports whether two read keys are of one year and wrapped to the same readers; each wrap is another.
func sameWraps(a, b control.ReadKey) bool {
	return a.Year == b.Year && slices.EqualFunc(a.Wraps, b.Wraps, func(a, b control.Wrap) bool { return a.Reader == b.Reader })
}

// AddKey enters the public half of a role file, made with [NewKey], into the access policy. The policy root does it alone
// while there are fewer than two approvers; otherwise it is a request that two approve. For a reader it takes the
// identity of another reader, who alone can wrap the read keys to them, and in any case an approval. role is what the
// caller takes the key for: "approver", "holder" or "reader".
func (d *Desk) AddKey(ctx context.Context, role string, public []byte) (*Filed, error) {
	pub, err := identity.ParsePublic(public)
	if err != nil {
		return nil, err
	}
	if pub.Role != role {
		return nil, fmt.Errorf("this is a key for the role %s, not %s", pub.Role, role)
	}
	if pub.Archive != identity.ID(d.trust.Archive) {
		return nil, fmt.Errorf("the key of %s %s is for another archive", pub.Role, pub.Name)
	}
	if err := d.log.Refresh(ctx); err != nil {
		return nil, err
	}
	p := d.governed()
	named := control.Named{Name: pub.Name, Key: pub.Key}
	var keys []control.ReadKey
	switch pub.Role {
	case control.RoleApprover:
		p.Approvers = append(slices.Clone(p.Approvers), named)
	case control.RoleHolder:
		p.Holders = append(slices.Clone(p.Holders), named)
	case control.RoleReader:
		p.Readers = append(slices.Clone(p.Readers), control.Reader{Name: pub.Name, Key: pub.HPKE, Sign: pub.Key})
		if keys, err = d.rewrap(pub); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("a key of the role %q cannot be added this way", pub.Role)
	}
	if err := p.Check(&d.trust); err != nil {
		return nil, fmt.Errorf("%s %s cannot be added: %w", pub.Role, pub.Name, err)
	}
	if len(keys) > 0 {
		return d.propose(ctx, p, keys)
	}
	return d.enact(ctx, p)
}

// enact makes a policy the next one where the policy root may alone, and proposes it otherwise.
func (d *Desk) enact(ctx context.Context, p *control.Policy) (*Filed, error) {
	if d.sealer == nil || d.log.Policy().Dual() {
		return d.propose(ctx, p, nil)
	}
	now := d.log.Policy()
	p.Version, p.Writers, p.Intake = now.Version+1, now.Writers, now.Intake
	entry, err := d.say(ctx, control.TypePolicy, p)
	if err == nil {
		err = d.log.Effective(entry)
	}
	if err != nil {
		return nil, err
	}
	return &Filed{Done: true}, d.Roster(ctx)
}

// Roster has the policy root commit to the names in the policy in force, so that evidence can show one of them without the
// policy: after two approvers have decided on it. It does nothing if that is in the log already.
func (d *Desk) Roster(ctx context.Context) error {
	if d.sealer == nil {
		return errors.New("a roster is the word of the policy root: use the admin folder")
	}
	if err := d.log.Refresh(ctx); err != nil {
		return err
	}
	want, there := control.NewRoster(d.log.Policy()), false
	d.log.View(func(s *control.State) {
		for i := range s.Listed {
			var r control.Roster
			there = there || s.Listed[i].Type == control.TypeRoster && s.Listed[i].Unauthorised == nil && s.Listed[i].Into(&r) == nil && r == want
		}
	})
	if there {
		return nil
	}
	_, err := d.say(ctx, control.TypeRoster, want)
	return err
}

// rewrap wraps all read keys that this reader has to another.
func (d *Desk) rewrap(pub *identity.Public) (out []control.ReadKey, err error) {
	if d.reading == nil {
		return nil, errors.New("a reader is added by another reader, who alone can open the read keys: use the identity of one")
	}
	to, err := keyscope.KEM().NewPublicKey(pub.HPKE)
	if err != nil {
		return nil, fmt.Errorf("key of reader %s: %w", pub.Name, err)
	}
	var keys []control.ReadKey
	d.log.View(func(s *control.State) { keys = slices.Clone(s.ReadKeys) })
	done := map[uint16]bool{}
	for _, k := range keys {
		for i := range k.Wraps {
			w := &k.Wraps[i]
			if done[k.Year] || identity.KeyName(d.trust.Name, control.RoleReader, w.Reader) != d.me.Name() {
				continue
			}
			seed, err := w.Open(d.reading, d.trust.Archive, k.Year)
			if err != nil {
				return nil, fmt.Errorf("read key of %d: %w", k.Year, err)
			}
			wrap, err := control.NewWrap(pub.Name, to, d.trust.Archive, k.Year, seed)
			if err != nil {
				return nil, err
			}
			done[k.Year] = true
			out = append(out, control.ReadKey{Year: k.Year, Key: k.Key, Wraps: []control.Wrap{wrap}})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no read key of this archive is wrapped to %s", d.me.Name())
	}
	return out, nil
}
