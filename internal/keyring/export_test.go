package keyring

import (
	"bytes"
	"context"
	"slices"

	"github.com/stelelog/stele/internal/keytrie"
)

// Admit judges grants alone.
func (r *Ring) Admit(ctx context.Context, scopes []Scope) ([]Verdict, error) {
	return r.Admission().Admit(ctx, scopes)
}

// Held reports for each scope whether a hold keeps it from being erased.
func (r *Ring) Held(ctx context.Context, scopes []Scope) ([]bool, error) {
	return r.marked(ctx, scopes, marks.held)
}

// Spent returns the grants that are remembered because their keys were erased.
func (r *Ring) Spent(ctx context.Context) (out []Spent, err error) {
	err = r.public(ctx, [][]byte{{spaceSpent}}, func(_ int, e keytrie.Entry) error {
		if len(e.Path) != scopePath {
			return corrupt("spent path %x", e.Path)
		}
		out = append(out, Spent{be16of(e.Path[1:]), [16]byte(e.Path[3:19]), [16]byte(e.Path[19:])})
		return nil
	})
	slices.SortFunc(out, func(a, b Spent) int { return bytes.Compare(a.path(), b.path()) })
	return out, err
}

// Day returns the live scopes of classes that expire with this path day.
func (r *Ring) Day(ctx context.Context, day uint16) (out []Located, err error) {
	return collect(r.EachOfDay(ctx, day))
}
