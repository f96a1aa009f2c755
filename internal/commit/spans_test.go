package commit

import (
	"testing"
	"time"
)

// The hash over times goes on from commit to commit; a commit without leaves repeats it, and one that says otherwise is refused.
func TestSpans(t *testing.T) {
	at := func(first, size uint64, times ...int64) *Commit {
		c := &Commit{Tree: Tree{First: first, Size: size}}
		if len(times) == 2 {
			from, until := time.Unix(0, times[0]).UTC(), time.Unix(0, times[1]).UTC()
			c.From, c.Until = &from, &until
		}
		return c
	}
	empty, a, b, none, final := at(0, 0), at(0, 5, -3, 9), at(5, 6, 7, 7), at(6, 8), at(8, 8)
	all := []*Commit{empty, a, b, none, final}
	var before *Commit
	var want Hex32
	for i, c := range all {
		c.Spans = c.SpansAfter(before)
		if err := c.CheckSpans(before); err != nil {
			t.Errorf("commit %d: %v", i, err)
		}
		if c.Tree.Size > c.Tree.First {
			want = c.Times().Chain(want)
		}
		if i == 0 != (c.Spans == nil) || i > 0 && *c.Spans != want {
			t.Errorf("commit %d has %v, want %v", i, c.Spans, want)
		}
		before = c
	}
	if x := none.Times(); x.From <= x.Until {
		t.Errorf("no records, and %+v", x)
	}
	lie := *b
	from := b.From.Add(-1)
	lie.From = &from
	for name, bad := range map[string]struct{ c, before *Commit }{"another time": {&lie, a}, "the one before left out": {b, nil}, "missing": {at(5, 6, 7, 7), a}, "out of nothing": {a, at(0, 5, 1, 1)}} {
		if bad.c.CheckSpans(bad.before) == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if old := at(5, 6, 7, 7); old.SpansAfter(at(0, 5, 1, 1)) != nil || old.CheckSpans(at(0, 5, 1, 1)) != nil {
		t.Error("a log that is older than the member is refused")
	}
}

// A commit that has one time alone has none.
func TestHalfATime(t *testing.T) {
	at := time.Unix(9, 0)
	for _, c := range []Commit{{}, {From: &at}, {Until: &at}} {
		if got := c.Times(); got.From != NoFrom || got.Until != NoUntil {
			t.Errorf("%v %v: %+v", c.From, c.Until, got)
		}
	}
	both := Commit{From: &at, Until: &at}
	if got := both.Times(); got.From != at.UnixNano() || got.Until != at.UnixNano() {
		t.Errorf("%+v", got)
	}
}
