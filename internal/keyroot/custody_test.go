package keyroot

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	single   = [][]string{{"a"}}
	either   = [][]string{{"a"}, {"b"}}
	both     = [][]string{{"a", "b"}}
	twoOf3   = [][]string{{"a", "b"}, {"a", "c"}, {"b", "c"}}
	withVeto = [][]string{{"a", "b"}, {"a", "c"}}
)

// subsets calls f for each subset of names.
func subsets(names string, f func(subset string, has func(string) bool)) {
	for mask := range 1 << len(names) {
		subset := ""
		for i := range names {
			if mask>>i&1 == 1 {
				subset += names[i : i+1]
			}
		}
		f(subset, func(name string) bool { return strings.Contains(subset, name) })
	}
}

// authorised reports whether some custodians together can open the generation.
func authorised(sets [][]string, can func(name string) bool) bool {
	return slices.ContainsFunc(sets, func(set []string) bool {
		return !slices.ContainsFunc(set, func(name string) bool { return !can(name) })
	})
}

// TestBlocking is the whole truth table of some policies.
func TestBlocking(t *testing.T) {
	for _, c := range []struct {
		sets     [][]string
		blocking string // subsets of abc that block
		can      string // subsets that can open
	}{
		{single, "a ab ac abc", "a ab ac abc"},
		{either, "ab abc", "a b ab ac bc abc"},
		{both, "a b ab ac bc abc", "ab abc"},
		{twoOf3, "ab ac bc abc", "ab ac bc abc"},
		{withVeto, "a ab ac bc abc", "ab ac abc"},
	} {
		subsets("abc", func(subset string, has func(string) bool) {
			if got, want := Blocking(c.sets, has), contained(c.blocking, subset); got != want {
				t.Errorf("%v: %q blocks: %v", c.sets, subset, got)
			}
			if got, want := authorised(c.sets, has), contained(c.can, subset); got != want {
				t.Errorf("%v: %q can open: %v", c.sets, subset, got)
			}
			if Blocking(c.sets, has) == authorised(c.sets, func(name string) bool { return !has(name) }) {
				t.Errorf("%v: %q blocks, and the others can open, or neither", c.sets, subset)
			}
		})
	}
}

func contained(list, subset string) bool {
	for _, x := range strings.Fields(list) {
		if x == subset {
			return true
		}
	}
	return false
}

// TestUnerasable: which policies can be erased when custodian c cannot erase at all, and from when on.
func TestUnerasable(t *testing.T) {
	at := func(h int) time.Time { return time.Date(2026, 1, 1, h, 0, 0, 0, time.UTC) }
	all := map[string]time.Time{"a": at(1), "b": at(5), "c": at(9)}
	for _, c := range []struct {
		name string
		sets [][]string
		when map[string]time.Time
		want int // hour, 0: never
	}{
		{"one", single, all, 1},
		{"one, not yet", single, map[string]time.Time{"b": at(1)}, 0},
		{"either", either, all, 5},
		{"both: one is enough", both, all, 1},
		{"two of three: the second one", twoOf3, all, 5},
		{"two of three, c never: a and b do it", twoOf3, map[string]time.Time{"a": at(1), "b": at(5)}, 5},
		{"two of three, c never, b late", twoOf3, map[string]time.Time{"a": at(1), "b": at(20)}, 20},
		{"two of three, b and c never", twoOf3, map[string]time.Time{"a": at(1)}, 0},
		{"a or c, c never", [][]string{{"a"}, {"c"}}, map[string]time.Time{"a": at(1), "b": at(1)}, 0},
		{"with c as escrow beside both: never", [][]string{{"a", "b"}, {"c"}}, map[string]time.Time{"a": at(1), "b": at(1)}, 0},
		{"with veto", withVeto, all, 1},
		{"with veto, a never", withVeto, map[string]time.Time{"b": at(5), "c": at(9)}, 9},
		{"nobody", twoOf3, nil, 0},
		{"at once", both, map[string]time.Time{"a": at(3), "b": at(3)}, 3},
	} {
		from, ok := DeadFrom(c.sets, c.when)
		if ok != (c.want > 0) || ok && !from.Equal(at(c.want)) {
			t.Errorf("%s: from %v, %v, want hour %d", c.name, from, ok, c.want)
		}
	}
}

// TestShares: every authorised set has the key, fewer have not, whichever shares they put together.
func TestShares(t *testing.T) {
	random := new(counting)
	for _, sets := range [][][]string{single, either, both, twoOf3, withVeto, {{"a", "b", "c"}}} {
		top, err := NewTop(random)
		if err != nil {
			t.Fatal(err)
		}
		pieces, err := Split(&top, sets, random)
		if err != nil {
			t.Fatal(err)
		}
		subsets("abc", func(subset string, has func(string) bool) {
			var shares [][32]byte
			for _, p := range pieces {
				if has(p.Custodian) {
					shares = append(shares, p.Share)
				}
			}
			found := false
			for mask := range 1 << len(shares) {
				var some [][32]byte
				for i := range shares {
					if mask>>i&1 == 1 {
						some = append(some, shares[i])
					}
				}
				found = found || Join(some...) == top
			}
			if found != authorised(sets, has) {
				t.Errorf("%v: %q has the key: %v", sets, subset, found)
			}
		})
		for n, set := range sets {
			var shares [][32]byte
			for _, p := range pieces {
				if p.Set == n {
					shares = append(shares, p.Share)
				}
			}
			if len(shares) != len(set) || Join(shares...) != top {
				t.Errorf("%v: set %d does not give the key", sets, n)
			}
		}
	}
	if _, err := NewTop(bytes.NewReader(nil)); err == nil {
		t.Error("a key of no random bytes")
	}
	if _, err := Split(new(Top), both, bytes.NewReader(nil)); err == nil {
		t.Error("shares of no random bytes")
	}
	if _, err := Split(new(Top), nil, random); err == nil {
		t.Error("shares of nobody")
	}
}

func TestSets(t *testing.T) {
	var many [][]string
	for i := range 17 {
		many = append(many, []string{fmt.Sprintf("c%02d", i)})
	}
	full := [][]string{{"a", "b", "c", "d", "e", "f", "g", "h"}}
	for _, sets := range [][][]string{single, either, both, twoOf3, withVeto, {{"hsm-1", "vault"}}, {{"0-9az", strings.Repeat("z", 32)}}, many[:16], full} {
		if err := CheckSets(sets); err != nil {
			t.Errorf("%v: %v", sets, err)
		}
	}
	for name, sets := range map[string][][]string{
		"none":                {},
		"an empty one":        {{}},
		"not sorted":          {{"b", "a"}},
		"the same twice":      {{"a", "a"}},
		"sets not sorted":     {{"b"}, {"a"}},
		"the same set twice":  {{"a"}, {"a"}},
		"not minimal":         {{"a"}, {"a", "b"}},
		"not minimal, behind": {{"a", "b"}, {"b"}},
		"capitals":            {{"A"}},
		"a curly bracket":     {{"a{b"}},
		"a slash":             {{"a/b"}},
		"a colon":             {{"a:b"}},
		"no name":             {{""}},
		"a long name":         {{strings.Repeat("a", 33)}},
		"a hyphen in front":   {{"-a"}},
		"a hyphen behind":     {{"a-"}},
		"too many":            many,
		"too large":           {append(full[0], "i")},
	} {
		if CheckSets(sets) == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestCustody: shares that are not one for each member in order.
func TestCustody(t *testing.T) {
	blob := []byte{1}
	good := Custody{Sets: withVeto, Shares: []Share{{0, "a", blob}, {0, "b", blob}, {1, "a", blob}, {1, "c", blob}}}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, shares := range map[string][]Share{
		"none":          nil,
		"one missing":   good.Shares[:3],
		"one more":      append(good.Shares[:4:4], Share{2, "a", blob}),
		"another order": {good.Shares[1], good.Shares[0], good.Shares[2], good.Shares[3]},
		"another name":  {{0, "x", blob}, good.Shares[1], good.Shares[2], good.Shares[3]},
		"empty":         {{0, "a", nil}, good.Shares[1], good.Shares[2], good.Shares[3]},
		"too large":     {{0, "a", make([]byte, 1025)}, good.Shares[1], good.Shares[2], good.Shares[3]},
	} {
		c := Custody{withVeto, shares}
		if c.check() == nil {
			t.Errorf("%s: taken", name)
		}
		if c.equal(&good) {
			t.Errorf("%s: the same", name)
		}
	}
}

// TestDeadFromIsEarliest holds DeadFrom against its definition.
func TestDeadFromIsEarliest(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		sets := rapid.SampledFrom([][][]string{single, either, both, twoOf3, withVeto, {{"a", "b", "c"}}, {{"a"}, {"b", "c"}}}).Draw(rt, "sets")
		when := map[string]time.Time{}
		for _, name := range []string{"a", "b", "c"} {
			if hour := rapid.IntRange(0, 5).Draw(rt, name); hour > 0 {
				when[name] = time.Unix(int64(hour), 0)
			}
		}
		want := int64(0)
		for hour := int64(5); hour > 0; hour-- {
			if Blocking(sets, func(name string) bool { at, ok := when[name]; return ok && at.Unix() <= hour }) {
				want = hour
			}
		}
		from, ok := DeadFrom(sets, when)
		if ok != (want > 0) || ok && from.Unix() != want {
			rt.Fatalf("%v %v: from %v, %v, want %d", sets, when, from, ok, want)
		}
	})
}

// TestWatermark: a generation behind one that lives does not count as dead, and the newest one never does.
func TestWatermark(t *testing.T) {
	var gens []Generation
	for n := range uint64(6) {
		gens = append(gens, Generation{Number: n + 1, Sets: single})
	}
	for dead, want := range map[string]uint64{ // numbers of dead generations
		"":       1,
		"12":     3,
		"2":      1, // the classic mistake: 1 can still be opened
		"123":    4,
		"1245":   3,
		"12345":  6,
		"123456": 6, // whatever custodians say
	} {
		got := Watermark(gens, func(g *Generation) bool { return strings.Contains(dead, fmt.Sprint(g.Number)) })
		if got != want {
			t.Errorf("%q dead: watermark %d, want %d", dead, got, want)
		}
	}
	if Watermark(nil, nil) != 0 {
		t.Error("a watermark of nothing")
	}
}

func TestErrTop(t *testing.T) {
	s := newService(t)
	s.fold(t, 3)
	last, _ := s.state.Last()
	pieces := func(names string) (out [][32]byte) {
		for _, sh := range last.Custody.Shares {
			if sh.Set == 0 && strings.Contains(names, sh.Custodian) {
				out = append(out, [32]byte(sh.Share))
			}
		}
		return out
	}
	whole := Join(pieces("ab")...)
	if _, err := last.Open(&whole, s.packs); err != nil {
		t.Error(err)
	}
	for _, names := range []string{"a", "b", ""} {
		part := Join(pieces(names)...)
		if _, err := last.Open(&part, s.packs); !errors.Is(err, ErrTop) {
			t.Errorf("%q: %v", names, err)
		}
	}
}
