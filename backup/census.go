package backup

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/logpipe"
)

// Census counts what an erasure takes. Scopes are the smallest unit that can be erased, so records go that nobody asked for.
type Census struct {
	Scopes  [][16]byte     `json:"-"`       // whole scopes, ascending
	Asked   int            `json:"asked"`   // records that were asked for
	Records int            `json:"records"` // in all of these scopes, those included
	Classes map[string]int `json:"classes"` // records by retention class; "" is default
	Missing int            `json:"missing"` // ids that no record has
}

// Census says what goes if whole scopes are erased for the records with the given ids, or for those captured from since on
// and before until if ids is nil. It reads the clear index of all commits, and needs no keys.
func (a *Archive) Census(ctx context.Context, ids []logpipe.ID, since, until time.Time) (*Census, error) {
	wanted := map[logpipe.ID]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	c := &Census{Classes: map[string]int{}}
	scopes, found := map[[16]byte]bool{}, map[logpipe.ID]bool{}
	err := a.rows(ctx, func(b *segment.Batch, i int) {
		at := time.Unix(0, b.Time(i))
		switch id := logpipe.ID(b.ID(i)); {
		case ids != nil && wanted[id]:
			found[id] = true
		case ids != nil, at.Before(since), !until.IsZero() && !at.Before(until):
			return
		}
		c.Asked++
		scopes[b.Scope(i)] = true
	})
	if err != nil {
		return nil, err
	}
	c.Missing = len(wanted) - len(found)
	return c, a.count(ctx, c, scopes)
}

// count counts the records of scopes.
func (a *Archive) count(ctx context.Context, c *Census, scopes map[[16]byte]bool) error {
	for id := range scopes {
		c.Scopes = append(c.Scopes, id)
	}
	slices.SortFunc(c.Scopes, func(a, b [16]byte) int { return slices.Compare(a[:], b[:]) })
	return a.rows(ctx, func(b *segment.Batch, i int) {
		if scopes[b.Scope(i)] {
			c.Records++
			c.Classes[b.Class(i)]++
		}
	})
}

// rows calls see for every record of the clear index.
func (a *Archive) rows(ctx context.Context, see func(b *segment.Batch, i int)) error {
	for _, l := range a.logs {
		for k := range l.commits {
			c := &l.commits[k]
			if c.Object(commit.KindIndex, "") == nil {
				continue
			}
			index, err := a.index(ctx, c.Commit)
			if errors.Is(err, errExpired) {
				continue
			}
			if err != nil {
				return err
			}
			for n := range index.Len() {
				if b, i := index.Row(n); b.Type(i) == record.Plain {
					see(b, i)
				}
			}
		}
	}
	return nil
}

// Census says what goes if everything is erased that carries a tenant, a subject or a session, of which one is given. It
// asks the key service for the scopes.
func (r *Reader) Census(ctx context.Context, tenant, subject, session string) (*Census, error) {
	scopes, err := r.living(ctx, tenant, subject, session)
	if err != nil {
		return nil, err
	}
	c := &Census{Classes: map[string]int{}}
	if err := r.a.count(ctx, c, scopes); err != nil {
		return nil, err
	}
	c.Asked = c.Records
	return c, nil
}

// Known is how many scopes with keys carry a tenant, a subject or a session, of which one is given, as the key service says:
// what an erasure would take now.
func (r *Reader) Known(ctx context.Context, tenant, subject, session string) (int, error) {
	scopes, err := r.living(ctx, tenant, subject, session)
	return len(scopes), err
}

func (r *Reader) living(ctx context.Context, tenant, subject, session string) (map[[16]byte]bool, error) {
	tags := keyscope.MakeTags((*[32]byte)(r.id.Pepper), []byte(tenant), []byte(subject), []byte(session))
	scopes := map[[16]byte]bool{}
	for _, tag := range [][16]byte{tags.Tenant, tags.Subject, tags.Session} {
		if tag == ([16]byte{}) {
			continue
		}
		found, err := r.request(ctx, nil, []commit.Hex16{tag})
		if err != nil {
			return nil, err
		}
		for _, id := range found {
			if o := r.scopes[id]; o == nil || o.state != stateErased {
				scopes[id] = true
			}
		}
	}
	return scopes, nil
}
