package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/stelelog/stele/backup/worm"
)

// testList makes many keys, in random order, and lists them by prefix and from a position.
func testList(t *testing.T, s worm.Store, count int) {
	keys := trickyKeys(count)
	sizes := make(map[string]int64, len(keys))
	var g errgroup.Group
	g.SetLimit(16)
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(keys)) {
		data := make([]byte, i%7)
		sizes[keys[i]] = int64(len(data))
		g.Go(func() error {
			_, err := s.Create(t.Context(), keys[i], data, worm.Lock{})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)

	for _, v := range list(t, s, "", "") {
		if v.Size != sizes[v.Key] || v.Deleted || v.Modified.IsZero() {
			t.Errorf("version %+v, want size %d", v, sizes[v.Key])
		}
	}
	last, middle := keys[len(keys)-1], keys[len(keys)/2]
	for _, prefix := range []string{"", "a", "a/", "a-", "a.", "logs", "logs/", "logs/0", "logs/00000000000000000", "logs/x",
		"deep/", "deep/a/b", "deep/a/b/", "deep/a/b/c", "deep/a/b/c/", "z", "zz", middle, middle + "/", last} {
		for _, after := range []string{"", "a", "a-b", "a.b", "a/", "a/b", "a0", "deep/a/b", "deep/a/b/c",
			"logs", "logs/", "logs/00000000000000000010", "m", middle, last, "~"} {
			want := slices.DeleteFunc(slices.Clone(keys), func(key string) bool {
				return !strings.HasPrefix(key, prefix) || key <= after
			})
			mustListKeys(t, s, prefix, after, want)
		}
	}

	seen := 0
	for _, err := range s.Versions(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == 3 {
			break // must not go on, and must not panic
		}
	}
}

// trickyKeys returns about count keys, among them those whose byte order differs from the order in which
// a walk through folders meets them. No key is a folder of another one.
func trickyKeys(count int) []string {
	keys := []string{
		"a-b", "a.b", "a/b", "a0", "a_b", "aB", "a/b-c", "a/b.c", "a/b0", "A/b", "Z",
		"a--", "a-/x", "a./x", "a.0/x", "a-b0/x", "a-b-/x", "z", "z-/z", "z0/z/z",
		"deep/a/b-c/d", "deep/a/b/c/d", "deep/a/b.c/d", "deep/a/b/c-/d", "deep/a/b/c.d", "deep/a0/b", "deep/a-/b",
	}
	for i := 0; len(keys) < count; i++ {
		keys = append(keys, fmt.Sprintf("logs/%020d", i*i), fmt.Sprintf("logs/x%d/%c/%d", i%5, 'a'+i%26, i))
	}
	return keys
}

// testListWhileWriting: a key that was there before a listing began is in it, whatever is written during
// the listing, and nothing comes twice or out of order.
func testListWhileWriting(t *testing.T, s worm.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var old []string
	for i := range 50 {
		old = append(old, fmt.Sprintf("k/%02d/m", i))
		mustCreate(t, s, old[i], nil)
	}
	done := make(chan error, 1)
	go func() {
		for i := 0; ctx.Err() == nil && i < 500; i++ {
			_, err := s.Create(t.Context(), fmt.Sprintf("k/%02d/%c%d", i%50, 'a'+i%26, i), nil, worm.Lock{})
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range 5 {
		versions := list(t, s, "k/", "")
		for _, key := range old {
			if !slices.ContainsFunc(versions, func(v worm.Version) bool { return v.Key == key }) {
				t.Errorf("%s is missing", key)
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func mustListKeys(t *testing.T, s worm.Store, prefix, after string, want []string) {
	t.Helper()
	var got []string
	for _, v := range list(t, s, prefix, after) {
		got = append(got, v.Key)
	}
	if slices.Equal(got, want) {
		return
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	t.Errorf("prefix %q after %q: %d keys, want %d; first difference at %d: got %q, want %q", prefix, after,
		len(got), len(want), i, got[i:min(i+3, len(got))], want[i:min(i+3, len(want))])
}

// list returns all versions and fails the test if there is an error or if they are out of order.
func list(t *testing.T, s worm.Store, prefix, after string) []worm.Version {
	t.Helper()
	all, err := collect(t.Context(), s, prefix, after)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func collect(ctx context.Context, s worm.Store, prefix, after string) ([]worm.Version, error) {
	var all []worm.Version
	var errs []error
	for v, err := range s.Versions(ctx, prefix, after) {
		if len(errs) > 0 {
			errs = append(errs, errors.New("the listing goes on after an error"))
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if n := len(all); n > 0 && (v.Key < all[n-1].Key || v.Key == all[n-1].Key && v.ID == all[n-1].ID) {
			errs = append(errs, fmt.Errorf("%+v comes after %+v", v, all[n-1]))
		}
		all = append(all, v)
	}
	return all, errors.Join(errs...)
}
