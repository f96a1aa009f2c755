package keyring

import (
	"bytes"
	"context"
	"testing"

	"github.com/stelelog/stele/internal/keytrie"
)

// TestPublic checks an erasure with commitments, list and proofs alone.
func TestPublic(t *testing.T) {
	ctx := context.Background()
	w, _ := filled(t, 240)
	before := w.Ring
	list := w.erase(t, Erasure{Scopes: w.tagged(t, tag("subject", 3)), Days: []uint16{firstDay + 5}})
	mustList(t, list, w.Archive)
	if err := AuditErasure(ctx, before.bare(), w.Ring.bare(), list); err != nil {
		t.Fatal(err)
	}
	proofs, err := ProveErasure(ctx, before.bare(), list)
	if err != nil {
		t.Fatal(err)
	}
	commitments := func(r *Ring) *Ring {
		out := &Ring{}
		for _, run := range r.Runs {
			out.Runs = append(out.Runs, Run{Keys: keytrie.Root{Commitment: run.Keys.Commitment}})
		}
		return out
	}
	was, is := commitments(before), commitments(w.Ring)
	if err := VerifyErasure(was, is, list, proofs); err != nil {
		t.Fatal(err)
	}
	full := list.Marshal(w.Archive)
	for i := range full {
		bad := bytes.Clone(full)
		bad[i] ^= 1 << (i % 8)
		other, err := ParseErased(w.Archive, bad)
		if err == nil && VerifyErasure(was, is, other, proofs) == nil {
			t.Fatalf("byte %d of the list was changed: it verifies", i)
		}
	}
	for name, change := range map[string]func(was, is *Ring, list *Erased){
		"another commitment before": func(was, _ *Ring, _ *Erased) { was.Runs[0].Keys.Hash[3]++ },
		"another count before":      func(was, _ *Ring, _ *Erased) { was.Runs[0].Keys.Count++ },
		"another commitment after":  func(_, is *Ring, _ *Erased) { is.Runs[1].Keys.Hash[3]++ },
		"another count after":       func(_, is *Ring, _ *Erased) { is.Runs[1].Keys.Count++ },
		"another run was added":     func(_, is *Ring, _ *Erased) { is.Runs[3].Keys.Hash[3]++ },
		"a run is missing":          func(_, is *Ring, _ *Erased) { is.Runs = is.Runs[:2] },
		"no run was added":          func(_, is *Ring, _ *Erased) { is.Runs = is.Runs[:3] },
		"the list lacks a run":      func(_, _ *Ring, l *Erased) { l.Removed = l.Removed[1:] },
		"what is spent is no grant": func(_, _ *Ring, l *Erased) { l.Spent = [][]byte{{spaceIntake}} },
	} {
		was, is, l := commitments(before), commitments(w.Ring), &Erased{Removed: list.Removed, Spent: list.Spent}
		change(was, is, l)
		if err := VerifyErasure(was, is, l, proofs); err == nil {
			t.Errorf("%s: verifies", name)
		}
	}
}

// bare is what an auditor has: no keys, no index.
func (r *Ring) bare() *Ring {
	out := &Ring{Archive: r.Archive, Packs: r.Packs}
	for _, run := range r.Runs {
		run.Keys.Key, run.Index = [32]byte{}, keytrie.Root{}
		out.Runs = append(out.Runs, run)
	}
	return out
}
