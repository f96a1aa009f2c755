package evidence

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keytrie"
	"github.com/stelelog/stele/merkle"
)

// erasure is an erasure while it is checked.
type erasure struct {
	*entryGroup
	control.Erased
	about string
	by    string   // key of the key service, as it is printed
	said  []string // whose word each of Custody is
	last  string   // whose word the newest of it is
	list  *keyring.Erased
	sets  [][]string // who could open the generation that was left
}

// erasureParts are what stands behind an erased entry, and behind a request.
type erasureParts struct {
	roots   [][]byte // the record before, the one after
	list    []byte
	proofs  []*keytrie.Proof
	hasList bool
	removed []*removedPart
	line    []byte // of a request: what it selects
}

// removedPart is one of the erased paths, with its proof in the list.
type removedPart struct {
	number int
	index  uint64
	proof  []merkle.Hash
	path   []byte
	used   bool
}

// takeErasure takes a part that belongs to an erasure, or to a request.
func (g *entryGroup) takeErasure(n int, p Part) error {
	x := &g.erasure
	behind := g.entry.Type == control.TypeErased
	switch {
	case p.Kind == KindRoot && behind && len(x.roots) < 2 && !x.hasList:
		x.roots = append(x.roots, p.Data)
	case p.Kind == KindRemoved && behind && len(x.roots) == 2 && !x.hasList:
		return x.takeRemoved(n, p.Data)
	case p.Kind == KindErased && behind && len(x.roots) == 2 && !x.hasList && x.removed == nil:
		x.list, x.hasList = p.Data, true
	case p.Kind == KindTries && x.hasList && x.proofs == nil:
		return x.tries(p.Data)
	case p.Kind == KindSelect && g.entry.Type == control.TypeRequest && x.line == nil:
		x.line = p.Data
	default:
		return errMisplaced
	}
	return nil
}

// TriesPart makes the part that shows that nothing but the list went.
func TriesPart(proofs [][]byte) Part {
	data := appendUvarint(nil, uint64(len(proofs)))
	for _, p := range proofs {
		data = append(appendUvarint(data, uint64(len(p))), p...)
	}
	return Part{KindTries, data}
}

func (x *erasureParts) tries(data []byte) error {
	c := cursor{b: data}
	n := c.uv()
	if n > keyring.MaxRuns {
		return errPart
	}
	x.proofs = []*keytrie.Proof{}
	for range n {
		size := c.uv()
		if size > uint64(len(c.b)) {
			return errPart
		}
		p := new(keytrie.Proof)
		if err := p.UnmarshalBinary(c.bytes(size)); err != nil {
			return err
		}
		x.proofs = append(x.proofs, p)
	}
	return c.end()
}

// RemovedPart makes the part of one of the paths that an erasure removed: number index in the list, with its proof there.
func RemovedPart(index uint64, proof []merkle.Hash, path []byte) Part {
	return Part{KindRemoved, append(appendPath(appendUvarint(nil, index), proof), path...)}
}

func (x *erasureParts) takeRemoved(n int, data []byte) error {
	c := cursor{b: data}
	r := &removedPart{number: n, index: c.uv(), proof: c.path(), path: c.b}
	if c.broken {
		return errPart
	}
	if last := len(x.removed) - 1; last >= 0 && x.removed[last].index >= r.index {
		return errMisplaced
	}
	x.removed = append(x.removed, r)
	return nil
}

// erasures checks all erasures of the file.
func (c *checker) erasures() error {
	var all []*entryGroup
	for _, e := range c.entries {
		if e.proof != nil && e.entry.Type == control.TypeErased {
			all = append(all, e)
		}
	}
	if len(all) == 0 {
		return nil
	}
	if err := c.gatherErasures(); err != nil {
		return err
	}
	for _, e := range all {
		if err := c.erasureOf(e); err != nil {
			return &FailedError{e.number, false, err}
		}
	}
	c.gatherGone()
	return nil
}

func (c *checker) erasureOf(g *entryGroup) error {
	hash := commit.Hash([]byte(g.file))
	e := &erasure{entryGroup: g, about: "erasure " + hex.EncodeToString(hash[:8])}
	g.used = true
	if err := g.entry.Into(&e.Erased); err != nil {
		return err
	}
	key, err := c.signer(g, "keyservice")
	if err != nil {
		return err
	}
	if key == nil {
		c.missing(e.about, whatErased, "that the access policy names "+g.entry.By)
		return c.useUp(e, hash)
	}
	e.by = keyName(key)
	if e.To != e.From+1 || e.Root.N <= e.Before.N || e.Control > g.proof.Index {
		return fmt.Errorf("an erasure from generation %d to %d, record %d to %d", e.From, e.To, e.Before.N, e.Root.N)
	}
	asked := map[commit.Hex32]bool{}
	for _, o := range e.Requests {
		asked[o.Request] = true
	}
	if (e.Cause == control.CauseRequest) != (len(e.Requests) > 0) || len(asked) < len(e.Requests) {
		return fmt.Errorf("an erasure by %q with %d requests, %d of them different", e.Cause, len(e.Requests), len(asked))
	}
	c.holds(e.about, whatErased, e.by, fmt.Sprintf("%s, generation %d to %d, cause %s, %s, entry %d",
		count(e.Scopes, "scope"), e.From, e.To, e.Cause, stamp(g.entry.Time), g.proof.Index))
	for _, check := range []func() error{
		func() error { return c.requests(e) }, func() error { return c.rootRecords(e) }, func() error { return c.removed(e) },
		func() error { return c.later(e, hash) }, func() error { return c.custody(e) }, func() error { return c.late(e) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	c.erased = append(c.erased, e)
	c.times(e)
	return nil
}

// useUp takes what belongs to an erasure that cannot be judged.
func (c *checker) useUp(e *erasure, hash commit.Hex32) error {
	for _, o := range e.Requests {
		if r := c.about.requests[o.Request]; r != nil {
			r.used = true
		}
		for _, g := range c.about.approvals[o.Request] {
			g.used = true
		}
		for _, g := range c.about.supplements[o.Request] {
			g.used = true
		}
	}
	for _, g := range c.about.destroyed[hash] {
		g.used = true
	}
	return nil
}

// signer verifies that an entry is signed by who holds one of some roles, and returns their key; nil if nothing in the
// file names them.
func (c *checker) signer(g *entryGroup, roles ...string) (key note.Verifier, err error) {
	for _, role := range roles {
		if role == "root" && g.entry.By == c.rootKey.Name() {
			key = c.rootKey
		}
		if key == nil {
			key = c.named(role, g.entry.By, g.proof.Index)
		}
	}
	if key == nil {
		return nil, nil
	}
	return key, g.signedBy(key)
}

// requests checks who asked and who approved. A certificate is about one request, or some, of a batch.
func (c *checker) requests(e *erasure) error {
	var others []string
	for _, o := range e.Requests {
		r := c.about.requests[o.Request]
		if r == nil {
			others = append(others, o.Request.String())
			continue
		}
		r.used = true
		if err := c.request(e, r, &o); err != nil {
			return err
		}
	}
	if n := len(others); n > 0 && n < len(e.Requests) {
		c.report.Limits = append(c.report.Limits, fmt.Sprintf("%s took %d other requests with it, which are not in this file", e.about, n))
	} else if n > 0 {
		c.missing(e.about, whatRequest, "request "+others[0])
	}
	if e.Cause != control.CauseRequest {
		c.missing(e.about, whatApproved, fmt.Sprintf("that a policy lets keys go by %s, and that theirs was the time: 'stele verify' checks the first", e.Cause))
	}
	if e.Single {
		c.holds(e.about, whatSingle, e.by, "decided by fewer than two persons with keys of their own")
	}
	return nil
}

func (c *checker) request(e *erasure, r *entryGroup, o *control.Outcome) error {
	id := o.Request
	var body control.RequestBody
	if err := r.entry.Into(&body); err != nil {
		return err
	}
	other := body.Hold != nil || body.Base != nil || body.Policy != nil || body.ReadKeys != nil || body.Recovery != nil
	if body.What != control.WhatErase || body.Select == nil || other || r.proof.Index >= e.proof.Index {
		return fmt.Errorf("request %s is none that can have led to this", id)
	}
	key, err := c.signer(r, "root", "approver", "holder", "reader")
	if err != nil {
		return err
	}
	if key == nil {
		c.missing(e.about, whatRequest, "that the access policy names "+r.entry.By)
	} else {
		c.holds(e.about, whatRequest, keyName(key), fmt.Sprintf("request %s, by %s, %s, entry %d: %s",
			id, body.Select.Kind, stamp(r.entry.Time), r.proof.Index, went(o)))
	}
	c.stayed(e, o)
	if r.erasure.line != nil {
		s, err := control.ParseSelector(r.erasure.line, body.Select, c.trust.Archive)
		if err != nil {
			return err
		}
		c.holds(e.about, whatSelection, r.entry.By, strings.TrimSpace(fmt.Sprintf("%s %s", s.Kind, s.Value)))
	}
	return c.approvals(e, r, id, body.Until)
}

// went says how many scopes went for a request, and how many that it selects did not.
func went(o *control.Outcome) string {
	text := count(o.Erased, "scope")
	for _, part := range []struct {
		n    uint64
		what string
	}{{o.Whole, "whole"}, {o.Held, "held"}, {o.Retained, "retained"}, {o.Left, "left"}} {
		if part.n > 0 {
			text += fmt.Sprintf(", %d %s", part.n, part.what)
		}
		if part.what == "retained" && part.n > 0 && o.Until != nil {
			text += " until " + stamp(*o.Until)
		}
	}
	return text
}

// stayed notes what the last erasure of the file for a request did not take. Where only some paths are shown, whatOthers does.
func (c *checker) stayed(e *erasure, o *control.Outcome) {
	if c.about.last[o.Request] != e.entryGroup || len(e.erasure.removed) > 0 {
		return
	}
	if o.Left > 0 {
		c.missing(e.about, whatErased, fmt.Sprintf("what was left of request %s: %s to go in the erasures that follow", o.Request, count(o.Left, "scope")))
	}
	if n := o.Held + o.Retained; n > 0 {
		c.missing(e.about, whatOpen, fmt.Sprintf("%s of request %s that a hold or minimum retention kept", count(n, "scope"), o.Request))
	}
}

// approvals counts persons: each name, and each key under whatever name, once.
func (c *checker) approvals(e *erasure, r *entryGroup, id commit.Hex32, until time.Time) error {
	persons := map[string]bool{}
	root, approvers := false, 0
	for _, g := range c.about.approvals[id] {
		g.used = true
		if g.proof.Index <= r.proof.Index || g.proof.Index >= e.proof.Index || g.entry.Time.After(until) {
			return fmt.Errorf("an approval of request %s that came too early or too late", id)
		}
		key, err := c.signer(g, "root", "approver")
		if err != nil {
			return err
		}
		if key == nil {
			c.missing(e.about, whatApproved, "that the access policy names "+g.entry.By)
			continue
		}
		public := key.(*namedKey).public
		if persons[g.entry.By] || persons[public] {
			return fmt.Errorf("request %s is approved twice by %s", id, g.entry.By)
		}
		if persons[g.entry.By], persons[public] = true, true; key == c.rootKey {
			root = true
		} else {
			approvers++
		}
		c.holds(e.about, whatApproved, keyName(key), fmt.Sprintf("request %s, %s, entry %d", id, stamp(g.entry.Time), g.proof.Index))
	}
	switch {
	case approvers >= 2:
		return nil
	case root && !e.Single:
		return fmt.Errorf("request %s is approved by the policy root and no two approvers, and the erasure does not say so", id)
	case !root:
		c.missing(e.about, whatApproved, "two approvers of request "+id.String())
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
