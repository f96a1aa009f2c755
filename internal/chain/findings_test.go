package chain

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
)

// numbers are those of the listed findings of a kind.
func (f *Findings) numbers(kind Kind) (out []uint64) {
	for _, x := range f.List {
		if x.Kind == kind {
			out = append(out, x.N)
		}
	}
	return out
}

// TestFindings: each is listed once, by number and kind, as it was reported first.
func TestFindings(t *testing.T) {
	var f Findings
	if f.Unlisted(Squat) != 0 || len(slices.Collect(f.Kinds())) > 0 {
		t.Error("what has no findings has some")
	}
	first := Finding{N: 3, Key: "x/3", Kind: Squat}
	f.Add(first)
	f.Add(Finding{N: 3, Key: "x/3", Kind: Squat, Err: errors.New("again")})
	f.Add(Finding{N: 3, Kind: Marker})
	f.Add(Finding{N: 4, Kind: Squat})
	f.Add(Finding{N: 1, Kind: Squat})
	f.Add(Finding{N: 4, Kind: Squat})
	if !slices.Equal(f.numbers(Squat), []uint64{3, 4, 1}) || !slices.Equal(f.numbers(Marker), []uint64{3}) || len(f.List) != 4 || f.List[0] != first {
		t.Errorf("%v", f.List)
	}
	if kinds := slices.Sorted(f.Kinds()); !slices.Equal(kinds, []Kind{Marker, Squat}) {
		t.Errorf("%v", kinds)
	}
}

// TestManyFindings: the first of a kind are listed and the rest counted, each once, though a chain that is read again
// reports those behind its end again.
func TestManyFindings(t *testing.T) {
	var f Findings
	for range 2 {
		for n := range uint64(MaxListed) {
			f.Add(Finding{N: n, Kind: Squat})
		}
		if f.Unlisted(Squat) != 0 || len(f.List) != MaxListed {
			t.Fatalf("%d listed, %d not", len(f.List), f.Unlisted(Squat))
		}
	}
	for range 2 {
		for n := range uint64(MaxListed + 7) {
			f.Add(Finding{N: n, Kind: Squat})
		}
		f.Add(Finding{N: 5, Kind: Fork})
		if f.Unlisted(Squat) != 7 || f.Unlisted(Fork) != 0 || len(f.List) != MaxListed+1 {
			t.Fatalf("%d listed, %d not", len(f.List), f.Unlisted(Squat))
		}
	}
	f.Add(Finding{N: MaxListed + 7, Kind: Squat})
	if f.Unlisted(Squat) != 8 || f.n[Fork] != 1 {
		t.Errorf("%v", maps.Collect(maps.All(f.n)))
	}
}

func TestFindingSays(t *testing.T) {
	cause := errors.New("rubbish")
	for want, f := range map[string]Finding{"x/1: squat: rubbish": {N: 1, Key: "x/1", Kind: Squat, Err: cause}, "x/2: fork": {N: 2, Key: "x/2", Kind: Fork}} {
		if got := f.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if errors.Is(fmt.Errorf("more: %w", f), cause) != (f.Err != nil) {
			t.Errorf("%v does not lead to its cause", f)
		}
	}
}
