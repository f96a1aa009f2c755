package keyring

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/stelelog/stele/internal/keytrie"
)

// What follows needs no key: it reads the public parts of nodes only.

// ErrPublic is wrapped by errors about versions of which one does not follow from the other.
var ErrPublic = errors.New("keyring: the public part does not follow from what was there")

// open reads key tries without their keys.
func (r *Ring) open() *keytrie.Trie {
	return &keytrie.Trie{Archive: r.Archive, Sealed: true, Source: r.Packs}
}

// scopePrefixes is prefixesOf of many ids, as a sorted set. An id begins with its day, so sorting ids is enough.
func scopePrefixes(ids [][16]byte) [][]byte {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b [16]byte) int {
		if c := cmp.Compare(binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(b[:8])); c != 0 {
			return c
		}
		return cmp.Compare(binary.BigEndian.Uint64(a[8:]), binary.BigEndian.Uint64(b[8:]))
	})
	ids = slices.Compact(ids)
	each := [3][][]byte{}
	for _, id := range ids {
		for i, p := range prefixesOf(id) {
			each[i] = append(each[i], p)
		}
	}
	return slices.Concat(each[0], each[1], each[2])
}

// Checks returns, for each id, the checks of the keys that are there.
func (r *Ring) Checks(ctx context.Context, ids [][16]byte) (map[[16]byte][][16]byte, error) {
	prefixes := scopePrefixes(ids)
	out := make(map[[16]byte][][16]byte, len(ids))
	for i := range r.Runs {
		err := r.open().Visit(ctx, r.Runs[i].Keys, prefixes, func(e keytrie.Entry) error {
			path := e.Path
			if to := movedTo(path); to != nil {
				path = to
			} else if !IsScope(path) {
				return corrupt("path %x", path)
			}
			id := [16]byte(path[3:])
			out[id] = append(out[id], [16]byte(path[19:]))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// IntakeWeeks lists the weeks whose intake keys are there, run by run.
func (r *Ring) IntakeWeeks(ctx context.Context) (weeks []uint16, err error) {
	for i := range r.Runs {
		err := r.open().Visit(ctx, r.Runs[i].Keys, [][]byte{{spaceIntake}}, func(e keytrie.Entry) error {
			if week, ok := IntakeWeek(e.Path); ok {
				weeks = append(weeks, week)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return weeks, nil
}

// Buried calls see with the scope and check of each key that was buried, or erased while its intake key lives.
func (r *Ring) Buried(ctx context.Context, see func(id, check [16]byte)) error {
	for i := range r.Runs {
		err := r.open().Visit(ctx, r.Runs[i].Keys, [][]byte{{spaceSpent}}, func(e keytrie.Entry) error {
			if id, check, ok := SpentScope(e.Path); ok {
				see(id, check)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// SpentScope reads a spent path.
func SpentScope(path []byte) (id, check [16]byte, ok bool) {
	if len(path) != scopePath || path[0] != spaceSpent {
		return id, check, false
	}
	return [16]byte(path[3:]), [16]byte(path[19:]), true
}

// ExpiryDay is the day after which a key goes by itself; ok is false if it stays, or path is none of a key.
func ExpiryDay(path []byte) (day uint16, ok bool) {
	if !IsScope(path) || path[0] != spaceExpire {
		return 0, false
	}
	return uint16(path[1])<<8 | uint16(path[2]), true
}

// IntakeWeek reads the path of an intake key.
func IntakeWeek(path []byte) (week uint16, ok bool) {
	if len(path) < 3 || path[0] != spaceIntake {
		return 0, false
	}
	return uint16(path[1])<<8 | uint16(path[2]), true
}

// AuditErasure checks that the key tries of after are those of before without what the list says is gone, and with the
// run that it says was added.
func AuditErasure(ctx context.Context, before, after *Ring, list *Erased) error {
	if err := list.follows(before, after); err != nil {
		return err
	}
	if err := list.forgets(ctx, after); err != nil {
		return err
	}
	for i := range before.Runs {
		want := list.Removed[i]
		err := keytrie.Compare(ctx, before.open(), before.Runs[i].Keys, after.open(), after.Runs[i].Keys, nil, func(was, is keytrie.Entry) error {
			if was.Path == nil || len(want) == 0 || !bytes.Equal(want[0], was.Path) {
				return fmt.Errorf("%w: run %d, path %x%x", ErrPublic, i, was.Path, is.Path)
			}
			want = want[1:]
			return nil
		})
		if err != nil {
			return err
		}
		if len(want) > 0 {
			return fmt.Errorf("%w: run %d, path %x is not gone", ErrPublic, i, want[0])
		}
	}
	return nil
}

// forgets checks that no spent path is gone of a week that an intake key is left of: a copied grant would bring its key back.
func (e *Erased) forgets(ctx context.Context, after *Ring) error {
	weeks, err := after.IntakeWeeks(ctx)
	for _, paths := range e.Removed {
		for _, p := range paths {
			if p[0] == spaceSpent && len(p) == scopePath && slices.Contains(weeks, be16of(p[1:])) {
				return errors.Join(err, fmt.Errorf("%w: path %x is gone, and an intake key of its week is not", ErrPublic, p))
			}
		}
	}
	return err
}

// follows checks the number of runs, and the one that was added.
func (e *Erased) follows(before, after *Ring) error {
	n, added := len(before.Runs), len(after.Runs)-len(before.Runs)
	if len(e.Removed) != n || added < 0 || added > 1 || added == 0 && len(e.Spent) > 0 {
		return fmt.Errorf("%w: %d runs became %d, with a list of %d", ErrPublic, n, len(after.Runs), len(e.Removed))
	}
	for _, p := range e.Spent {
		if p[0] != spaceSpent || len(p) != scopePath {
			return fmt.Errorf("%w: path %x is no spent path", ErrPublic, p)
		}
	}
	if added == 0 {
		return nil
	}
	c, err := keytrie.CommitPaths(e.Spent)
	if err == nil && c != after.Runs[n].Keys.Commitment {
		err = fmt.Errorf("%w: the run that was added has other paths", ErrPublic)
	}
	return err
}

// ProveErasure makes proofs for [VerifyErasure], one for each run.
func ProveErasure(ctx context.Context, before *Ring, list *Erased) (proofs []*keytrie.Proof, err error) {
	if len(list.Removed) != len(before.Runs) {
		return nil, fmt.Errorf("%w: the list has %d runs, the version before has %d", ErrPublic, len(list.Removed), len(before.Runs))
	}
	for i := range before.Runs {
		p, err := before.open().ProveRemove(ctx, before.Runs[i].Keys, list.Removed[i])
		if err != nil {
			return nil, err
		}
		proofs = append(proofs, p)
	}
	return proofs, nil
}

// VerifyErasure checks what AuditErasure checks with nothing but the commitments of two versions, the list and proofs.
func VerifyErasure(before, after *Ring, list *Erased, proofs []*keytrie.Proof) error {
	if err := list.follows(before, after); err != nil {
		return err
	}
	if len(proofs) != len(before.Runs) {
		return fmt.Errorf("%w: %d proofs for %d runs", ErrPublic, len(proofs), len(before.Runs))
	}
	for i := range before.Runs {
		left, hits, err := proofs[i].Remove(before.Runs[i].Keys.Commitment, list.Removed[i])
		if err != nil {
			return fmt.Errorf("run %d: %w", i, err)
		}
		for k, n := range hits {
			if n != 1 {
				return fmt.Errorf("%w: run %d, path %x of the list stands for %d", ErrPublic, i, list.Removed[i][k], n)
			}
		}
		if left != after.Runs[i].Keys.Commitment {
			return fmt.Errorf("%w: run %d lost other paths than those of the list", ErrPublic, i)
		}
	}
	return nil
}
