package keyring

import (
	"context"
	"crypto/sha256"
	"encoding/binary"

	"github.com/stelelog/stele/internal/keytrie"
)

// Verify reads everything and checks that it is consistent: each key gives its check, and moved paths and index paths
// are just those of the scopes that there are. It needs memory for the streams of one run. Nothing in public shows a lost
// tag, by which an erasure would miss a key: this does.
func (r *Ring) Verify(ctx context.Context) error {
	for i := range r.Runs {
		if err := r.verify(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func (r *Ring) verify(ctx context.Context, i int) error {
	var want, got sum
	near := ""
	group := map[string]bool{} // tags of the scopes that an index path cannot tell apart
	one := Ring{Archive: r.Archive, Packs: r.Packs, Runs: r.Runs[i : i+1]}
	for s, err := range one.All(ctx) {
		if err != nil {
			return err
		}
		if n := string(s.near()); n != near {
			near = n
			clear(group)
		}
		for _, path := range s.tagPaths() {
			if !group[string(path)] {
				group[string(path)] = true
				want.add(path)
			}
		}
		if moved := s.moved(); moved != nil {
			want.add(moved)
		}
	}
	add := func(e keytrie.Entry) error { got.add(e.Path); return nil }
	if err := r.keys().Visit(ctx, r.Runs[i].Keys, [][]byte{{spaceMoved}}, add); err != nil {
		return err
	}
	if err := r.index().Visit(ctx, r.Runs[i].Index, [][]byte{{indexStay}, {indexExpire}}, add); err != nil {
		return err
	}
	if want != got {
		return corrupt("run %d: %d index and moved paths, its scopes have %d, or other ones", i, got.count, want.count)
	}
	return nil
}

// sum stands for a set of paths: how many, and the sum of their hashes. Orders do not matter to it.
type sum struct {
	count uint64
	words [4]uint64
}

func (s *sum) add(path []byte) {
	h := sha256.Sum256(path)
	s.count++
	for i := range s.words {
		s.words[i] += binary.LittleEndian.Uint64(h[8*i:])
	}
}
