package backup

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
)

// maxInCertificate bounds the list of erased keys that a certificate carries, with its proofs. Of a longer one there is the digest.
const maxInCertificate = 8 << 20

// NoErasureError says that the control log tells of no erasure for a request, and where that stands.
type NoErasureError struct{ Request, Standing string }

func (e *NoErasureError) Error() string {
	return fmt.Sprintf("request %s is %s, and nothing was erased for it: there is no certificate", e.Request, e.Standing)
}

// Certificate makes evidence of what was erased for a request: who asked and approved, which keys went and that no others
// did, and what custodians said. request is the hash of its entry in hex, or enough of its digits. With the request file,
// if that is not nil, the certificate names what was asked for.
func (a *Archive) Certificate(ctx context.Context, request string, requestFile []byte) (*Evidence, error) {
	if a.unfounded != nil {
		return nil, a.unfounded
	}
	var line []byte
	if requestFile != nil {
		var file struct{ Stele, Entry, Line string }
		if err := json.Unmarshal(requestFile, &file); err != nil || file.Stele != "request/v1" {
			return nil, errors.New("this is no request file; 'stele erase request' writes one")
		}
		line = []byte(file.Line)
	}
	p := &prover{a: a}
	log, err := p.replay(ctx)
	if err != nil {
		return nil, err
	}
	r, err := requestOf(log.state, request)
	if err != nil {
		return nil, err
	}
	if n := len(r.Outcomes); n > 0 && r.Outcomes[n-1].Left > 0 {
		return nil, fmt.Errorf("request %s is carried out in parts, and %d scopes are left: there is a certificate when all are erased", r.ID, r.Outcomes[n-1].Left)
	}
	c := certifier{p: p, log: log, depot: keydepot.Open(keydepot.Config{Store: a.store, Archive: a.trust.Archive})}
	for i := range log.state.Erasures {
		if e := &log.state.Erasures[i]; e.Index < log.size && erasedFor(e, r) {
			if err := c.erasure(ctx, e, r, line); err != nil {
				return nil, err
			}
		}
	}
	if len(log.more) == 0 {
		return nil, &NoErasureError{r.ID.String(), string(r.Standing)}
	}
	if err := log.entries(ctx, p); err != nil {
		return nil, err
	}
	file, err := evidence.Marshal(a.trust.Archive, p.parts)
	return &Evidence{File: file}, err
}

func requestOf(s *control.State, digits string) (found *control.Request, err error) {
	for _, r := range s.Requests {
		if digits == "" || !strings.HasPrefix(r.ID.String(), strings.ToLower(digits)) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("more than one request begins with %s; write more digits", digits)
		}
		found = r
	}
	if found == nil {
		return nil, fmt.Errorf("the control log has no request %q; 'stele erase status' lists them", digits)
	}
	return found, nil
}

func erasedFor(e *control.LoggedErasure, r *control.Request) bool {
	for i := range e.Requests {
		if e.Requests[i].Request == r.ID {
			return true
		}
	}
	return false
}

// certifier collects the entries of one certificate.
type certifier struct {
	p     *prover
	log   *controlProof
	depot *keydepot.Depot
}

// need adds an entry with the name of its author.
func (c *certifier) need(index uint64, parts ...evidence.Part) {
	if index >= c.log.size {
		return
	}
	if have, ok := c.log.more[index]; ok && len(parts) == 0 {
		parts = have.parts
	}
	c.log.more[index] = moreEntry{c.log.kept[index], parts}
	c.log.showKey(index, c.log.state.Listed[index].By)
}

func (c *certifier) erasure(ctx context.Context, e *control.LoggedErasure, asked *control.Request, line []byte) error {
	parts, by, err := c.keys(ctx, e)
	if err != nil {
		return err
	}
	return c.decided(e, parts, by, asked, line)
}

// decided notes an erasure, who asked for it and approved it, and what came later.
func (c *certifier) decided(e *control.LoggedErasure, parts []evidence.Part, by []string, asked *control.Request, line []byte) error {
	c.need(e.Index, parts...)
	for _, name := range by {
		c.log.showKey(e.Index, name)
	}
	for i := range e.Requests {
		r := c.log.state.Request(e.Requests[i].Request)
		switch {
		case r == nil || !about(r.ID, asked):
		case r == asked && line != nil:
			if control.Salted(line) != r.Select.Salted {
				return fmt.Errorf("the request file is not that of request %s", r.ID)
			}
			c.need(r.Index, evidence.Part{Kind: evidence.KindSelect, Data: line})
		default:
			c.need(r.Index)
		}
	}
	for i := range c.log.state.Supplements {
		u := &c.log.state.Supplements[i]
		if u.Request == nil || u.Undone || !about(*u.Request, asked) {
			continue
		}
		if slices.ContainsFunc(e.Requests, func(o control.Outcome) bool { return o.Request == *u.Request }) {
			c.need(u.Index)
		}
	}
	for index := range c.log.kept {
		l := &c.log.state.Listed[index]
		var decision control.Decision
		var later control.Destroyed
		switch {
		case l.Type == control.TypeApprove && index < e.Index && l.Into(&decision) == nil:
			for i := range e.Requests {
				if r := c.log.state.Request(decision.Request); r != nil && e.Requests[i].Request == r.ID && about(r.ID, asked) && stillCounts(r, l) {
					c.need(index)
				}
			}
		case l.Type == control.TypeDestroyed && l.Into(&later) == nil && later.Erased == e.Entry:
			c.need(index)
		}
	}
	return nil
}

// about reports whether what is said of a request belongs into the file: others of the same batch are others' business.
func about(id commit.Hex32, asked *control.Request) bool { return asked == nil || id == asked.ID }

// stillCounts reports whether an approval is one that stands.
func stillCounts(r *control.Request, l *control.Listed) bool {
	for _, v := range r.Yes {
		if v.Entry == l.Hash {
			return true
		}
	}
	return false
}

// keys are the parts of the key store: the records before and after, and if it is not too long the list with its proofs.
func (c *certifier) keys(ctx context.Context, e *control.LoggedErasure) (parts []evidence.Part, by []string, err error) {
	parts, records, err := c.records(ctx, e)
	if err != nil {
		return nil, nil, err
	}
	by = []string{records[0].By, records[1].By}
	x := records[1].Erased
	if x == nil || x.Size > maxInCertificate {
		return parts, by, nil
	}
	list, err := c.depot.List(ctx, x)
	if err != nil {
		return nil, nil, fmt.Errorf("list of what was erased: %w", err)
	}
	raw := list.Marshal(c.p.a.trust.Archive)
	if sha256.Sum256(raw) != x.List {
		return nil, nil, fmt.Errorf("list %s is not written as it must be", x.List)
	}
	parts = append(parts, evidence.Part{Kind: evidence.KindErased, Data: raw})
	tries, err := c.tries(ctx, records[0], list)
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	if err == nil { // packs of the generation before may be gone when their locks have ended
		parts = append(parts, tries)
	}
	return parts, by, nil
}

// records are the root records before and after an erasure.
func (c *certifier) records(ctx context.Context, e *control.LoggedErasure) (parts []evidence.Part, records []*keyroot.Record, err error) {
	for _, ref := range []control.RootRef{e.Before, e.Root} {
		file, err := c.depot.File(ctx, ref.N, ref.Hash)
		if err != nil {
			return nil, nil, fmt.Errorf("root record %d: %w", ref.N, err)
		}
		r, err := keyroot.Peek(file)
		if err != nil {
			return nil, nil, err
		}
		parts, records = append(parts, evidence.Part{Kind: evidence.KindRoot, Data: file}), append(records, r)
	}
	return parts, records, nil
}

func (c *certifier) tries(ctx context.Context, before *keyroot.Record, list *keyring.Erased) (evidence.Part, error) {
	proofs, err := keyring.ProveErasure(ctx, before.Public(c.depot.Source(before.Packs)), list)
	if err != nil {
		return evidence.Part{}, err
	}
	raw, size := make([][]byte, len(proofs)), 0
	for i, p := range proofs {
		if raw[i], err = p.MarshalBinary(); err != nil {
			return evidence.Part{}, err
		}
		size += len(raw[i])
	}
	if size > 2*maxInCertificate {
		return evidence.Part{}, fmt.Errorf("proofs of %d bytes", size)
	}
	return evidence.TriesPart(raw), nil
}

// moreEntry is an entry of a certificate, with the parts behind it.
type moreEntry struct {
	entry string
	parts []evidence.Part
}

// showKey shows the name of whoever holds a key name.
func (log *controlProof) showKey(before uint64, by string) {
	log.show(before, func(line string) bool {
		role, vkey, _ := strings.Cut(line, " ")
		if role == "writer" {
			return false
		}
		v, err := note.NewVerifier(vkey)
		return err == nil && v.Name() == by
	})
}
