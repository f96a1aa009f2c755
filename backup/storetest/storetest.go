// Package storetest tests implementations of [worm.Store], and offers two that tests can play with: an
// in-memory store with an attacker's abilities, and a wrapper that fails calls by a script.
//
// It is a package for tests: nothing else may import it.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/worm"
)

// Options say what the store under test does beyond the least that the contract asks for.
type Options struct {
	// Lock is the mode that is asked for where a test needs a lock. Empty means that the store has no
	// locks; the tests of locks are then left out.
	Lock worm.LockMode

	// Reported is the mode that ReadLock returns when Lock was asked for. Empty means Lock.
	Reported worm.LockMode

	// Keys is how many keys the test of listings makes, 3000 if 0.
	Keys int
}

// Run tests that a store keeps the contract of [worm.Store]. open must return an empty store at every
// call; it is called once in every subtest. Run needs nothing that the contract does not offer, so what an
// attacker does to a store behind its back is for its own tests.
func Run(t *testing.T, open func(t *testing.T) worm.Store, options Options) {
	if options.Keys == 0 {
		options.Keys = 3000
	}
	if options.Reported == "" {
		options.Reported = options.Lock
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, worm.Store)
	}{
		{"CreateOnly", testCreateOnly},
		{"Race", testRace},
		{"ReadBack", testReadBack},
		{"Ranges", testRanges},
		{"Missing", testMissing},
		{"InvalidKeys", testInvalidKeys},
		{"Cancel", testCancel},
		{"Whole", testWhole},
		{"List", func(t *testing.T, s worm.Store) { testList(t, s, options.Keys) }},
		{"ListWhileWriting", testListWhileWriting},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
	if options.Lock != "" {
		t.Run("Locks", func(t *testing.T) { testLocks(t, open(t), options) })
		t.Run("BadLocks", func(t *testing.T) { testBadLocks(t, open(t), options) })
	}
}

func testCreateOnly(t *testing.T, s worm.Store) {
	ctx := t.Context()
	first := mustCreate(t, s, "folder/key", []byte("first"))
	if first.Key != "folder/key" || first.Size != 5 || first.Deleted {
		t.Errorf("version %+v", first)
	}
	if age := time.Since(first.Modified); age < -time.Hour || age > time.Hour {
		t.Errorf("modified %v", first.Modified)
	}
	for _, data := range []string{"first", "second, and longer", ""} {
		if _, err := s.Create(ctx, "folder/key", []byte(data), worm.Lock{}); !errors.Is(err, fs.ErrExist) {
			t.Errorf("second Create: %v, want fs.ErrExist", err)
		}
	}
	mustRead(t, s, "folder/key", "", []byte("first"))
	mustRead(t, s, "folder/key", first.ID, []byte("first"))
	if got := list(t, s, "", ""); len(got) != 1 || got[0].ID != first.ID || got[0].Size != 5 {
		t.Errorf("versions %+v, want only %+v", got, first)
	}
}

func testRace(t *testing.T, s worm.Store) {
	const racers = 16
	var wg sync.WaitGroup
	start := make(chan struct{})
	errs := make([]error, racers)
	for i := range racers {
		wg.Go(func() {
			<-start
			_, errs[i] = s.Create(t.Context(), "commits/1", fmt.Appendf(nil, "racer %d", i), worm.Lock{})
		})
	}
	close(start)
	wg.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			t.Errorf("%d and %d both won", winner, i)
		case err == nil:
			winner = i
		case !errors.Is(err, fs.ErrExist):
			t.Errorf("loser %d: %v, want fs.ErrExist", i, err)
		}
	}
	if winner < 0 {
		t.Fatal("nobody won")
	}
	mustRead(t, s, "commits/1", "", fmt.Appendf(nil, "racer %d", winner))
	if got := list(t, s, "", ""); len(got) != 1 {
		t.Errorf("versions %+v, want one", got)
	}
}

func testReadBack(t *testing.T, s worm.Store) {
	for i, size := range []int{0, 1, 4095, 8 << 20} {
		key := fmt.Sprintf("objects/%d", i)
		data := random(size)
		keep := bytes.Clone(data)
		v := mustCreate(t, s, key, data)
		if v.Size != int64(size) {
			t.Errorf("size %d, want %d", v.Size, size)
		}
		for j := range data {
			data[j] ^= 0xff // the store must not have kept it
		}
		mustRead(t, s, key, v.ID, keep)
		got, err := s.Read(t.Context(), key, "", worm.Range{})
		if err != nil {
			t.Fatal(err)
		}
		for j := range got {
			got[j] ^= 0xff // it is ours
		}
		mustRead(t, s, key, "", keep)
	}
}

func testRanges(t *testing.T, s worm.Store) {
	data := random(100_000)
	size := int64(len(data))
	v := mustCreate(t, s, "object", data)
	mustCreate(t, s, "empty", nil)
	for _, r := range []worm.Range{
		{Off: 0, Len: 1},
		{Off: 0, Len: size},
		{Off: 1, Len: size - 1},
		{Off: size - 1, Len: 1},
		{Off: 65_535, Len: 4096},
	} {
		got, err := s.Read(t.Context(), "object", v.ID, r)
		if err != nil || !bytes.Equal(got, data[r.Off:r.Off+r.Len]) {
			t.Errorf("range %+v: %d bytes, %v", r, len(got), err)
		}
	}
	for _, bad := range []struct {
		key string
		r   worm.Range
	}{
		{"object", worm.Range{Off: 0, Len: size + 1}},
		{"object", worm.Range{Off: size, Len: 1}},
		{"object", worm.Range{Off: size - 1, Len: 2}},
		{"object", worm.Range{Off: size + 1, Len: 1}},
		{"object", worm.Range{Off: -1, Len: 1}},
		{"object", worm.Range{Off: -1, Len: 0}},
		{"object", worm.Range{Off: 1, Len: 0}},
		{"object", worm.Range{Off: 0, Len: -1}},
		{"object", worm.Range{Off: 1, Len: 1<<63 - 1}},
		{"empty", worm.Range{Off: 0, Len: 1}},
	} {
		got, err := s.Read(t.Context(), bad.key, "", bad.r)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s, range %+v: %d bytes, %v; want a plain error", bad.key, bad.r, len(got), err)
		}
	}
}

func testMissing(t *testing.T, s worm.Store) {
	ctx := t.Context()
	mustCreate(t, s, "a/present", []byte("x"))
	lock := worm.Lock{Mode: worm.LockGovernance, Until: time.Now().Add(time.Hour)}
	for _, at := range []struct{ key, id string }{
		{"a/missing", ""},
		{"missing/at/all", ""},
		{"a", ""},
		{"a/present", "no-such-version"},
		{"a/present", "6f1ed002-ab5d-4c3b-9d0e-3f2a1b0c9d8e"},
		{"a/missing", "6f1ed002-ab5d-4c3b-9d0e-3f2a1b0c9d8e"},
	} {
		if _, err := s.Read(ctx, at.key, at.id, worm.Range{}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Read %+v: %v, want fs.ErrNotExist", at, err)
		}
		if _, err := s.Read(ctx, at.key, at.id, worm.Range{Off: 0, Len: 1}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Read a range of %+v: %v, want fs.ErrNotExist", at, err)
		}
		if err := s.Extend(ctx, at.key, at.id, lock); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Extend %+v: %v, want fs.ErrNotExist", at, err)
		}
		if r, ok := s.(worm.LockReader); ok {
			if _, err := r.ReadLock(ctx, at.key, at.id); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("ReadLock %+v: %v, want fs.ErrNotExist", at, err)
			}
		}
	}
	if got := list(t, s, "missing", ""); len(got) != 0 {
		t.Errorf("listed %v", got)
	}
}

func testInvalidKeys(t *testing.T, s worm.Store) {
	ctx := t.Context()
	long := string(bytes.Repeat([]byte("part/"), 300)) + "end"
	wide := string(bytes.Repeat([]byte("w"), 300))
	for _, key := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/.", ".stele/locks/a",
		"a b", "a\\b", "a\x00b", "a\nb", "ü", "a?b", "a%2fb", "a*", "~a", long, wide} {
		if _, err := s.Create(ctx, key, nil, worm.Lock{}); err == nil || errors.Is(err, fs.ErrExist) {
			t.Errorf("Create %.40q: %v, want a plain error", key, err)
		}
		if _, err := s.Read(ctx, key, "", worm.Range{}); err == nil {
			t.Errorf("Read %.40q succeeded", key)
		}
		if err := s.Extend(ctx, key, "", worm.Lock{Mode: worm.LockGovernance, Until: time.Now().Add(time.Hour)}); err == nil {
			t.Errorf("Extend %.40q succeeded", key)
		}
	}
	for _, prefix := range []string{"/", "../", "a//", ".stele/", "a b"} {
		if _, err := collect(ctx, s, prefix, ""); err == nil {
			t.Errorf("listing with prefix %q succeeded", prefix)
		}
	}
	if got := list(t, s, "", ""); len(got) != 0 {
		t.Errorf("listed %v", got)
	}
}

func testCancel(t *testing.T, s worm.Store) {
	for i := range 10 {
		mustCreate(t, s, fmt.Sprintf("a/%d", i), []byte("x"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := 0
	var listErr error
	for _, err := range s.Versions(ctx, "", "") {
		if err != nil {
			listErr = err
			break
		}
		if seen++; seen == 1 {
			cancel()
		}
	}
	// A store may have had the rest at hand, but a listing that is cut short must say so.
	if listErr == nil && seen != 10 {
		t.Errorf("cancelled listing ended after %d of 10 keys without an error", seen)
	}
	if _, err := collect(ctx, s, "", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("Versions: %v", err)
	}
	lock := worm.Lock{Mode: worm.LockGovernance, Until: time.Now().Add(time.Hour)}
	if _, err := s.Create(ctx, "b", []byte("x"), worm.Lock{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Create: %v", err)
	}
	if _, err := s.Read(ctx, "a/1", "", worm.Range{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Read: %v", err)
	}
	if err := s.Extend(ctx, "a/1", "", lock); !errors.Is(err, context.Canceled) {
		t.Errorf("Extend: %v", err)
	}
	if _, err := s.Read(t.Context(), "b", "", worm.Range{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("cancelled Create left an object: %v", err)
	}
}

// testWhole watches a key while an object appears there: it is missing or whole, never anything between.
func testWhole(t *testing.T, s worm.Store) {
	data := random(8 << 20)
	done := make(chan error, 1)
	go func() {
		_, err := s.Create(t.Context(), "big/object", data, worm.Lock{})
		done <- err
	}()
	for created := false; ; {
		got, err := s.Read(t.Context(), "big/object", "", worm.Range{})
		switch {
		case err == nil && !bytes.Equal(got, data):
			t.Fatalf("%d of %d bytes are visible", len(got), len(data))
		case err != nil && (created || !errors.Is(err, fs.ErrNotExist)):
			t.Fatal(err)
		}
		for _, v := range list(t, s, "big/", "") {
			if v.Size != int64(len(data)) {
				t.Fatalf("version %+v is visible", v)
			}
		}
		if created {
			return
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			created = true
		default:
		}
	}
}

func mustCreate(t *testing.T, s worm.Store, key string, data []byte) worm.Version {
	t.Helper()
	v, err := s.Create(t.Context(), key, data, worm.Lock{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mustRead(t *testing.T, s worm.Store, key, id string, want []byte) {
	t.Helper()
	got, err := s.Read(t.Context(), key, id, worm.Range{})
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("Read %s %q: %d bytes, %v; want %d bytes", key, id, len(got), err, len(want))
	}
}

// random returns size reproducible bytes.
func random(size int) []byte {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size)}).Read(data)
	return data
}
