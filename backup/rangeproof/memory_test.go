package rangeproof

import (
	"runtime"
	"testing"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/merkle"
)

// A file of a few kilobytes can hold a run of rows that repeat: what is kept of each is bounded, and no more for twice as many. 20,000 rows; a million with
// STELE_LONG.
func TestRepeatedRowsTakeLittle(t *testing.T) {
	n := 20_000
	if testbed.Long() {
		n = 1_000_000
	}
	small, large := keptPerRow(t, n/2), keptPerRow(t, n)
	t.Logf("%d and %d bytes a row are kept", small, large)
	if large > 420 || large > small*5/4 {
		t.Errorf("%d bytes are kept of each of %d rows, %d of half as many", large, n, small)
	}
}

// keptPerRow is what a run of n equal records keeps in memory of each.
func keptPerRow(t *testing.T, n int) uint64 {
	l := record.Leaf{Type: record.Plain, Kind: 1, Class: "default", Clear: record.Clear{"chat", "acme", "m-1", "stop", "", "1.0"}}
	leafdata := l.Append(nil)
	var f merkle.Frontier
	for range n {
		f.Append(merkle.LeafHash(leafdata))
	}
	text, err := merkle.Checkpoint{Origin: "acme/0/2026Q4", Size: uint64(n), Root: f.Root()}.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	x, err := NewLeaves(append(text, "\n"...), Query{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if err := x.Add(leafdata); err != nil {
			t.Fatal(err)
		}
	}
	data, err := x.Marshal(func([]merkle.Node, []merkle.Hash) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if len(r.Matches) != n {
		t.Errorf("%d matches of %d", len(r.Matches), n)
	}
	runtime.KeepAlive(data)
	return (after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc)) / uint64(n)
}
