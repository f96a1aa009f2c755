package chain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"testing"
)

// listed is a space that lists what it was given, as it is.
type listed []Object

var errList = errors.New("the listing broke off")

func (l listed) From(context.Context, uint64) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for _, o := range l {
			var err error
			if o.Key == "" {
				o, err = Object{}, errList
			}
			if !yield(o, err) || err != nil {
				return
			}
		}
	}
}

func (l listed) Create(context.Context, uint64, []byte) error { return fs.ErrExist }

func object(n uint64, data string) Object {
	return Object{N: n, Key: fmt.Sprintf("x/%020d", n), Data: []byte(data)}
}

func with(o Object, edit func(*Object)) Object { edit(&o); return o }

// TestReadOdd: what a store may show beside sound objects, from the number where a reader was.
func TestReadOdd(t *testing.T) {
	down := errors.New("the store is down")
	unread := func(err error) func(*Object) { return func(o *Object) { o.Err, o.Data = err, nil } }
	gone := fmt.Errorf("reading: %w", fs.ErrNotExist)
	for _, x := range []struct {
		name  string
		from  Tail
		space listed
		want  string
		tail  Tail
		found string // what is reported
		says  string // the error
	}{
		{"later versions", Tail{}, listed{with(object(0, "/a"), func(o *Object) { o.Newer = 2 })}, "a", Tail{Next: 1}, "0 version: 2 later versions", ""},
		{"markers", Tail{}, listed{with(object(0, "/a"), func(o *Object) { o.Markers = 1 })}, "a", Tail{Next: 1}, "0 marker: 1 delete markers", ""},
		{"both, on a squatter", Tail{}, listed{with(object(0, "x"), func(o *Object) { o.Newer, o.Markers = 1, 3 })}, "", Tail{1, []uint64{0}},
			"0 version: 1 later versions, 0 marker: 3 delete markers, 0 squat: rubbish", ""},
		{"gone before it was read", Tail{}, listed{object(0, "/a"), with(object(1, ""), unread(gone)), object(2, "a/b!1")}, "ab", Tail{Next: 3},
			"1 squat: reading: " + fs.ErrNotExist.Error(), ""},
		{"not to be read", Tail{}, listed{object(0, "/a"), with(object(1, ""), unread(down)), object(2, "a/b!1")}, "a", Tail{Next: 1}, "",
			"chain: reading x/00000000000000000001: the store is down"},
		{"the listing breaks off", Tail{}, listed{object(0, "/a"), {}, object(1, "a/b")}, "a", Tail{Next: 1}, "", errList.Error()},
		{"a listing from before", Tail{Next: 1}, listed{object(0, "x"), object(1, "/a")}, "a", Tail{Next: 2}, "", ""},
		{"burnt before", Tail{3, []uint64{1, 2}}, listed{object(3, "/a!1,2")}, "a", Tail{Next: 4}, "", ""},
		{"burnt before, and another declared", Tail{3, []uint64{1, 2}}, listed{object(3, "/a!1,3")}, "", Tail{4, []uint64{1, 2, 3}},
			"3 squat: declares burnt numbers [1 3], found [1 2]", ""},
		{"burnt before, and one more declared", Tail{3, []uint64{1, 2}}, listed{object(3, "/a!1,2,3")}, "", Tail{4, []uint64{1, 2, 3}},
			"3 squat: declares burnt numbers [1 2 3], found [1 2]", ""},
		{"burnt numbers that are gone", Tail{3, []uint64{2}}, listed{object(5, "/a!2,3,4")}, "a", Tail{Next: 6},
			"3 squat: number 3 was burnt; what lay there is gone, 4 squat: number 4 was burnt; what lay there is gone", ""},
		{"far ahead, with all that is between", Tail{}, listed{object(1<<63, "/a!0")}, "", Tail{}, "0 missing: " + ErrOrphan.Error() + ": number 0 does not exist, but 9223372036854775808 follows it (seen at number 9223372036854775808)", ""},
		{"an orphan", Tail{}, listed{object(0, "z/a")}, "", Tail{}, "0 missing: " + ErrOrphan.Error() + " (seen at number 0)", ""},
		{"a fork ahead", Tail{}, listed{object(0, "/a"), object(2, "/b")}, "a", Tail{Next: 1}, "2 fork: " + ErrFork.Error(), ""},
	} {
		var names, found []string
		tail, err := Read(t.Context(), x.space, x.from, judge(&names), func(f Finding) {
			found = append(found, fmt.Sprintf("%d %s: %v", f.N, f.Kind, f.Err))
		})
		if strings.Join(names, "") != x.want || tail.Next != x.tail.Next || !slices.Equal(tail.Burnt, x.tail.Burnt) || strings.Join(found, ", ") != x.found {
			t.Errorf("%s: %v %+v %q", x.name, names, tail, found)
		}
		if says := fmt.Sprint(err); x.says != "" && says != x.says || x.says == "" && err != nil {
			t.Errorf("%s: %s", x.name, says)
		}
	}
}

// TestReadLeavesTails: a tail that a reader keeps does not change when it reads on from it twice.
func TestReadLeavesTails(t *testing.T) {
	from := Tail{Next: 2, Burnt: make([]uint64, 1, 8)}
	for _, next := range []uint64{2, 3} {
		space := listed{object(2, "x")}
		if next == 3 {
			space = append(space, object(3, "y"))
		}
		tail, err := Read(t.Context(), space, from, judge(new([]string)), func(Finding) {})
		if err != nil || tail.Next != next+1 || from.Burnt[:2][1] != 0 {
			t.Errorf("%+v, %v; %v", tail, err, from.Burnt[:2])
		}
	}
}

// counted counts how often it is listed.
type counted struct {
	listed
	times int
}

func (c *counted) From(ctx context.Context, n uint64) iter.Seq2[Object, error] {
	c.times++
	return c.listed.From(ctx, n)
}

// TestHolesAreLookedAtAgain: only where a number is missing below what was seen, and once.
func TestHolesAreLookedAtAgain(t *testing.T) {
	for name, x := range map[string]struct {
		space listed
		times int
	}{
		"a hole":                     {listed{object(0, "/a"), object(2, "b/c")}, 2},
		"nothing is missing":         {listed{object(0, "/a"), object(1, "a/b")}, 1},
		"an orphan at the next one":  {listed{object(0, "/a"), object(1, "z/b")}, 1},
		"a squatter ahead of a hole": {listed{object(0, "/a"), object(2, "x")}, 1},
	} {
		c := &counted{listed: x.space}
		if _, err := Read(t.Context(), c, Tail{}, judge(new([]string)), func(Finding) {}); err != nil || c.times != x.times {
			t.Errorf("%s: listed %d times, %v", name, c.times, err)
		}
	}
}

func TestKeyOf(t *testing.T) {
	for key, want := range map[string]string{"x/00000000000000000007": "x/00000000000000000009", "x/00000000000000000017": "x/00000000000000000017", "seven": "seven"} {
		if got := keyOf(Object{N: 7, Key: key}, 9); got != want {
			t.Errorf("%s became %s", key, got)
		}
	}
}

// TestAppendReadsBack: who cannot read back what he wrote, or finds it gone, has not won.
func TestAppendReadsBack(t *testing.T) {
	down := errors.New("the store is down")
	for name, x := range map[string]struct {
		space Space
		says  string
	}{
		"not to be read":          {listed{with(object(0, ""), func(o *Object) { o.Err = down })}, fs.ErrExist.Error() + "\nthe store is down"},
		"its bytes, and not read": {listed{with(object(0, "mine"), func(o *Object) { o.Err = down })}, fs.ErrExist.Error() + "\nthe store is down"},
		"the listing broke off":   {listed{{}}, fs.ErrExist.Error() + "\n" + errList.Error()},
		"taken, and gone":         {forgetful{}, "chain: number 0 was written but cannot be found"},
		"taken, and elsewhere":    {forgetful{object(1, "mine")}, "chain: number 0 was written but cannot be found"},
	} {
		won, err := Append(t.Context(), x.space, Tail{}, []byte("mine"))
		if won || fmt.Sprint(err) != x.says {
			t.Errorf("%s: won %v, %q", name, won, err)
		}
	}
}

// forgetful takes everything, and shows what it was made with.
type forgetful []Object

func (f forgetful) From(ctx context.Context, n uint64) iter.Seq2[Object, error] {
	return listed(f).From(ctx, n)
}

func (f forgetful) Create(context.Context, uint64, []byte) error { return nil }
