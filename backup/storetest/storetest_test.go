package storetest_test

import (
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
)

func TestMemory(t *testing.T) {
	open := func(*testing.T) worm.Store { return storetest.NewMemory() }
	storetest.Run(t, open, storetest.Options{Lock: worm.LockCompliance})
}

// TestFaultyPasses: without a script the wrapper is as good as what it wraps.
func TestFaultyPasses(t *testing.T) {
	open := func(*testing.T) worm.Store { return &storetest.Faulty{Store: storetest.NewMemory()} }
	storetest.Run(t, open, storetest.Options{Lock: worm.LockCompliance, Keys: 200})
}

func TestMemoryAttacker(t *testing.T) {
	ctx := t.Context()
	m := storetest.NewMemory()
	first, err := m.Create(ctx, "k", []byte("honest"), worm.Lock{})
	if err != nil {
		t.Fatal(err)
	}
	second := m.Overwrite("k", []byte("forged"))
	marker := m.Mark("k")
	if _, err := m.Read(ctx, "k", "", worm.Range{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("marked key: %v", err)
	}
	if _, err := m.Read(ctx, "k", marker.ID, worm.Range{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("marker: %v", err)
	}
	third, err := m.Create(ctx, "k", []byte("after the marker"), worm.Lock{})
	if err != nil {
		t.Fatal(err)
	}
	var got []worm.Version
	for v, err := range m.Versions(ctx, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, v)
	}
	if !slices.Equal(got, []worm.Version{first, second, marker, third}) || !got[2].Deleted {
		t.Errorf("versions %+v", got)
	}
	if data, err := m.Read(ctx, "k", first.ID, worm.Range{}); err != nil || string(data) != "honest" {
		t.Errorf("first version: %q, %v", data, err)
	}
	if !m.Remove("k", first.ID) || m.Remove("k", first.ID) {
		t.Error("Remove removes once")
	}
	if _, err := m.Read(ctx, "k", first.ID, worm.Range{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed version: %v", err)
	}
	if !m.Remove("k", "") {
		t.Error("Remove of all")
	}
}

func TestFaulty(t *testing.T) {
	ctx := t.Context()
	m := storetest.NewMemory()
	fault := storetest.None
	var before, after []storetest.Call
	f := &storetest.Faulty{
		Store:  m,
		Script: func(storetest.Call) storetest.Fault { return fault },
		Before: func(c storetest.Call) { before = append(before, c) },
		After:  func(c storetest.Call) { after = append(after, c) },
	}

	fault = storetest.Lost
	if _, err := f.Create(ctx, "a", nil, worm.Lock{}); !errors.Is(err, storetest.ErrFault) {
		t.Errorf("lost: %v", err)
	}
	if _, err := m.Read(ctx, "a", "", worm.Range{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("lost call had an effect: %v", err)
	}
	fault = storetest.ReplyLost
	if _, err := f.Create(ctx, "a", nil, worm.Lock{}); !errors.Is(err, storetest.ErrFault) {
		t.Errorf("reply lost: %v", err)
	}
	if _, err := m.Read(ctx, "a", "", worm.Range{}); err != nil {
		t.Errorf("call with a lost reply had no effect: %v", err)
	}
	if _, err := f.Create(ctx, "a", nil, worm.Lock{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("an error of the store itself is passed on: %v", err)
	}
	shown := 0
	for _, err := range f.Versions(ctx, "", "") {
		if err == nil {
			shown++
		} else if !errors.Is(err, storetest.ErrFault) || shown != 1 {
			t.Errorf("after %d versions: %v", shown, err)
		}
	}
	want := []storetest.Call{
		{N: 1, Op: "Create", Key: "a"}, {N: 2, Op: "Create", Key: "a"}, {N: 3, Op: "Create", Key: "a"}, {N: 4, Op: "Versions"},
	}
	if !slices.Equal(before, want) || !slices.Equal(after, want) {
		t.Errorf("calls before %v, after %v", before, after)
	}
}
